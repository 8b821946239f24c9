"""How large a picture is, from its first bytes, before a decoder allocates what they ask for.

Formats that are not listed here are not decoded at all: OpenCV knows more of them, and nobody looks after all of these.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

Size = tuple[int, int]

NONE: Size = (0, 0)
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PORTABLE = re.compile(rb"P[2356](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257


def size_of(data: bytes) -> Size:
    """Return width and height in pixels that a JPEG, PNG, BMP, WebP, TIFF, PGM or PPM asks for; `NONE` for all else.

    Raises:
        ValueError: If what says so is cut off.
    """
    found = next((reader for mark, reader in _READERS.items() if data.startswith(mark)), None)
    try:
        return NONE if found is None else found(data)
    except struct.error as error:
        raise ValueError("it is cut off") from error


def _jpeg(data: bytes) -> Size:
    """Walk from segment to segment (ITU-T T.81, annex B); of several frame headers the largest counts."""
    at, largest = 2, NONE
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            at = data.find(b"\xff", at)
            if at < 0:
                break
            continue
        marker = data[at + 1]
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 5)
            largest = max(largest, (width, height), key=lambda size: size[0] * size[1])
        bare = marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD9
        at += (1 if marker == 0xFF else 2) if bare else 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return largest


def _png(data: bytes) -> Size:
    """Read the header chunk (PNG specification, 5.3), and walk on: a decoder allocates what a chunk says it has.

    Raises:
        ValueError: If the header is another, or a chunk ends behind the file.
    """
    length, kind, width, height = struct.unpack_from(">I4sII", data, 8)
    if (length, kind) != (13, b"IHDR"):
        raise ValueError("the PNG has no header chunk")
    at = 8
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        at += length + 12
        if at > len(data):
            raise ValueError("the PNG is cut off")
    return width, height


def _bmp(data: bytes) -> Size:
    """Read either header: that of OS/2 has 16 bits a side, all others 32; a negative height is top-down."""
    if struct.unpack_from("<I", data, 14)[0] == 12:
        return tuple[int, int](struct.unpack_from("<HH", data, 18))
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)


def _webp(data: bytes) -> Size:
    """Read the canvas, or the frame where there is no canvas (RFC 9649)."""
    if data[8:12] != b"WEBP":
        return NONE
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _tiff(data: bytes) -> Size:
    """Read the first directory (TIFF 6.0, section 2); of a tag that comes twice the largest value counts."""
    order = "<" if data.startswith(b"II") else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    sides = {_TIFF_WIDTH: 0, _TIFF_HEIGHT: 0}
    for place in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", data, place)
        if tag in sides:
            (value,) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, place + 8)
            sides[tag] = max(sides[tag], value)
    return sides[_TIFF_WIDTH], sides[_TIFF_HEIGHT]


def _portable(data: bytes) -> Size:
    found = _PORTABLE.match(data[:4096])
    return NONE if found is None else (int(found[1]), int(found[2]))


_READERS: dict[bytes, Callable[[bytes], Size]] = {
    b"\xff\xd8\xff": _jpeg,
    b"\x89PNG\r\n\x1a\n": _png,
    b"BM": _bmp,
    b"RIFF": _webp,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
    b"P2": _portable,
    b"P3": _portable,
    b"P5": _portable,
    b"P6": _portable,
}
