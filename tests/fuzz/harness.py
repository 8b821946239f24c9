"""Runs a target on many inputs in processes that may die: crashes, hangs, memory and raw tracebacks are counted.

Input number ``n`` of a target is always the same, so whatever is found can be read again: ``--only TARGET:n``.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgecnn.errors import EdgecnnError
from tests.fuzz.targets import TARGETS, Target

CPU_SECONDS, MEMORY = 2.0, 500 << 20
"""Processor time of one input above which it hangs, and memory above what the process had before."""
PATIENCE = 120.0
"""Seconds after which an input that waits for something will wait for ever."""
_BACKSTOP = 3 << 30
_STEP = 8


@dataclass
class Found:
    """What became of a target's inputs; lists hold ``(number of the input, what happened)``."""

    name: str
    done: int = 0
    crashes: list[tuple[int, str]] = field(default_factory=list)
    hangs: list[tuple[int, str]] = field(default_factory=list)
    memory: list[tuple[int, str]] = field(default_factory=list)
    raw: list[tuple[int, str]] = field(default_factory=list)
    tried: int = 0

    @property
    def bad(self) -> list[tuple[int, str]]:
        """Everything that must not happen."""
        return [*self.crashes, *self.hangs, *self.memory, *self.raw]


def made(name: str, number: int, target: Target) -> bytes:
    """Return one input."""
    chance = random.Random(f"{name}/{number}")
    return target.mutate(chance.choice(list(target.seeds)), chance)


def run(name: str, numbers: range) -> Iterator[Found]:
    """Give the inputs to a target; yield what was found so far, every now and then, and at the end."""
    found = Found(name)
    with tempfile.TemporaryDirectory(prefix="edgecnn-fuzz-") as folder, mmap.mmap(-1, _STEP) as place:
        work = Path(folder)
        (work / "seeds").mkdir()
        target = TARGETS[name](work / "seeds")
        start = numbers.start
        while start < numbers.stop:
            _write(place, start)
            reports = work / "reports"
            reports.write_text("")
            status = _in_a_process(name, target, range(start, numbers.stop), place, work)
            found.raw += _read(reports, "raw")
            found.memory += _read(reports, "memory")
            last = _where(place)
            if status:
                _note_death(found, target, last, status)
            start = last + 1 if status else numbers.stop
            found.done = start - numbers.start
            yield found


def _in_a_process(name: str, target: Target, numbers: range, place: mmap.mmap, work: Path) -> int:
    """Read the inputs in a copy of this process; return how it ended, 0 for well."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        _be_the_child(name, target, numbers, place, work)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _be_the_child(name: str, target: Target, numbers: range, place: mmap.mmap, work: Path) -> None:
    """Read the inputs; a timer that runs out ends the process, whatever native code it is in."""
    _silence()
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (_BACKSTOP, _BACKSTOP))
    reports = (work / "reports").open("a")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    folder = work / "input"
    shutil.rmtree(folder, ignore_errors=True)  # of an input at which a process died
    for number in numbers:
        _write(place, number)
        folder.mkdir()
        data = made(name, number, target)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        try:
            target.read(data, folder)
        except EdgecnnError:
            pass
        except BaseException:
            print(f"raw\t{number}\t{traceback.format_exc()!r}", file=reports, flush=True)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if (now - peak) * 1024 > MEMORY:
            print(f"memory\t{number}\t{now - peak} KiB", file=reports, flush=True)
            peak = now
        shutil.rmtree(folder)


def _silence() -> None:
    """Let native libraries write what they like, to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _note_death(found: Found, target: Target, number: int, status: int) -> None:
    number_of_signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if target.tried:
        found.tried += 1
    elif number_of_signal in (signal.SIGPROF, signal.SIGALRM):
        found.hangs.append((number, f"more than {CPU_SECONDS:g} s of processor time, or {PATIENCE:g} s of waiting"))
    else:
        found.crashes.append((number, f"signal {number_of_signal}" if number_of_signal else "ended by itself"))


def _write(place: mmap.mmap, number: int) -> None:
    place[:_STEP] = number.to_bytes(_STEP, "little")


def _where(place: mmap.mmap) -> int:
    return int.from_bytes(place[:_STEP], "little")


def _read(reports: Path, kind: str) -> list[tuple[int, str]]:
    rows = [line.split("\t", 2) for line in reports.read_text().splitlines()]
    return [(int(row[1]), row[2]) for row in rows if row[0] == kind]
