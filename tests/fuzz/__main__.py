"""Fuzz all parsers: ``python -m tests.fuzz --inputs 1000000 --jobs 2``; ``--only npy``; or one: ``--only npy:4711``."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.fuzz import harness
from tests.fuzz.targets import TARGETS

PIECE = 2000
"""Inputs that one process of Python is given."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs of all targets together")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--seed", type=int, default=0, help="number of the first input of every target")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing new after so long")
    parser.add_argument("--only", help="a target, or target:number for one input, in this process")
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.piece:
        return _piece(options.piece)
    name, _, number = (options.only or "").partition(":")
    if number:
        return _one(name, int(number))
    return _all([name] if name else list(TARGETS), options)


def _one(name: str, number: int) -> int:
    """Read one input here, where a debugger sees it."""
    with tempfile.TemporaryDirectory() as folder:
        target = TARGETS[name](Path(folder))
        data = harness.made(name, number, target)
        print(f"{name}:{number}: {len(data)} bytes, {data[:200]!r}")
        target.read(data, Path(folder))
    return 0


def _piece(text: str) -> int:
    """Be one process: print what became of a range of inputs, one line for each that must not be, then the count."""
    name, start, stop = text.split(":")
    for found in list(harness.run(name, range(int(start), int(stop))))[-1:]:
        kinds = {"crash": found.crashes, "hang": found.hangs, "memory": found.memory, "raw": found.raw}
        for kind, rows in kinds.items():
            for number, what in rows:
                print(f"{kind}\t{name}:{number}\t{what[-400:]}")
        print(f"done\t{found.done}\t{found.tried}")
    return 0


def _all(names: Sequence[str], options: argparse.Namespace) -> int:
    pieces = _pieces(names, options.inputs, options.seed)
    counts = dict.fromkeys(("inputs", "crash", "hang", "memory", "raw", "caught by a trial"), 0)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    running: list[tuple[str, subprocess.Popen[str]]] = []
    end = time.monotonic() + options.seconds
    with suppress(KeyboardInterrupt), Progress(*columns) as bar:
        task = bar.add_task("fuzzing", total=sum(int(b) - int(a) for _, a, b in map(_split, pieces)))
        while pieces or running:
            while pieces and len(running) < options.jobs and time.monotonic() < end:
                running.append((pieces[0], _started(pieces.pop(0))))
            if not running:
                break
            piece, process = running.pop(0)
            text, _ = process.communicate()
            for line in text.splitlines():
                bar.advance(task, _count(counts, line, bar))
            if process.returncode or "done\t" not in text:
                bar.console.print(f"the process of {piece} ended with {process.returncode}", markup=False)
                counts["crash"] += 1
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return int(any(counts[kind] for kind in ("crash", "hang", "memory", "raw")))


def _pieces(names: Sequence[str], inputs: int, seed: int) -> list[str]:
    """Divide the inputs among the targets by their shares, the targets one after the other in every round."""
    with tempfile.TemporaryDirectory() as folder:
        shares = {}
        for name in names:
            (work := Path(folder) / name).mkdir()
            shares[name] = TARGETS[name](work).share
    whole = sum(shares.values())
    pieces: list[tuple[int, str]] = []
    for name, share in shares.items():
        count = max(1, inputs * share // whole)
        for round_, start in enumerate(range(seed, seed + count, PIECE)):
            pieces.append((round_ // share, f"{name}:{start}:{min(start + PIECE, seed + count)}"))
    return [piece for _, piece in sorted(pieces, key=lambda item: item[0])]


def _split(piece: str) -> tuple[str, str, str]:
    name, start, stop = piece.split(":")
    return name, start, stop


def _started(piece: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.fuzz", "--piece", piece]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _count(counts: dict[str, int], line: str, bar: Progress) -> int:
    """Count one line of a process; return how many inputs it says are done."""
    kind, _, rest = line.partition("\t")
    if kind == "done":
        done, tried = map(int, rest.split("\t"))
        counts["inputs"] += done
        counts["caught by a trial"] += tried
        return done
    counts[kind] += 1
    bar.console.print(line, markup=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
