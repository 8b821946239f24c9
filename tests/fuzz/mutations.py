"""Hostile inputs out of good ones: always the same for the same chance."""

from __future__ import annotations

import random
import struct

BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)
NUMBERS = (0, 1, -1, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WORDS = (
    b"1e400",
    b"-1",
    b"0",
    b"1e-320",
    b"9" * 5000,
    b"NaN",
    b"Infinity",
    b"null",
    b"true",
    b'"\\ud800"',
    b'"\\u0000"',
    b"[]",
    b"{}",
    b"[" * 3000,
    b"(" * 300,
    b"-" * 300,
    b'"' + b"x" * 3000 + b'"',
    b"'",
    b'"',
    b",",
    b"\n",
    b"\xff",
    b"\xed\xa0\x80",
    b"../../etc/passwd",
    b"1000000000000",
    b"4294967296",
    b"\x1b]0;owned\x07",
)
LONGEST = 1 << 20


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return ``data`` after one to six changes."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        chance.choice(_CHANGES)(changed, chance)
    return bytes(changed[:LONGEST])


def _at(data: bytearray, chance: random.Random) -> int:
    """Draw a place: half of the time near the beginning or the end, where headers stand."""
    end = len(data) + 1
    near = min(end, 200)
    return chance.choice((chance.randrange(end), chance.randrange(near), end - 1 - chance.randrange(near)))


def _flip(data: bytearray, chance: random.Random) -> None:
    if data:
        data[min(_at(data, chance), len(data) - 1)] ^= 1 << chance.randrange(8)


def _byte(data: bytearray, chance: random.Random) -> None:
    if data:
        data[min(_at(data, chance), len(data) - 1)] = chance.choice((*BYTES, chance.randrange(256)))


def _number(data: bytearray, chance: random.Random) -> None:
    form = chance.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    packed = struct.pack(form, chance.choice(NUMBERS) % (1 << 8 * struct.calcsize(form)))
    at = _at(data, chance)
    data[at : at + len(packed)] = packed


def _word(data: bytearray, chance: random.Random) -> None:
    """Put a word where another one was."""
    at = _at(data, chance)
    end = at
    while end < len(data) and chr(data[end]).isalnum() and end - at < 40:
        end += 1
    data[at:end] = chance.choice(WORDS)


def _cut(data: bytearray, chance: random.Random) -> None:
    at = _at(data, chance)
    del data[at : at + chance.choice((1, 2, 4, 16, 100, len(data)))]


def _repeat(data: bytearray, chance: random.Random) -> None:
    at, size = _at(data, chance), chance.choice((1, 4, 16, 64, 300))
    data[at:at] = bytes(data[at : at + size]) * chance.choice((1, 2, 50))


def _move(data: bytearray, chance: random.Random) -> None:
    at, to, size = _at(data, chance), _at(data, chance), chance.choice((1, 4, 16, 64))
    data[to : to + size] = data[at : at + size]


_CHANGES = (_flip, _byte, _byte, _number, _number, _word, _cut, _repeat, _move)
