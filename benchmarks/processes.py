"""Run a process with limits; its wall-clock time and peak memory are its own, imports included."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TICK = 0.05


@dataclass(frozen=True)
class Cost:
    """What a process took: seconds of wall clock, peak resident memory in GB, and why it failed, if it did."""

    seconds: float
    memory: float
    failure: str = ""


def on_cpus(count: int) -> None:
    """Keep this process and all that it starts on ``count`` processors, and tell their thread pools."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)


def run(
    arguments: Sequence[str | Path], log: Path, minutes: float = 60, gigabytes: float = 16, folder: Path | None = None
) -> Cost:
    """Run a process to its end, or until it passes a limit; an interrupt ends it as well.

    Args:
        arguments: The program and what it is given.
        log: Where its output goes.
        minutes: Limit of wall-clock time.
        gigabytes: Limit of resident memory.
        folder: Where it runs, None for the current folder.
    """
    begun = time.perf_counter()
    with log.open("wb") as stream:
        command = [str(item) for item in arguments]
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True, cwd=folder)
    failure = ""
    try:
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            if failure := failure or _over(process.pid, time.perf_counter() - begun, minutes, gigabytes):
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(TICK)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        os.wait4(process.pid, 0)
        raise
    _, status, usage = ended
    # Popen did not see the end that wait4 took.
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not failure:
        failure = _last_line(log) or f"ended with status {process.returncode}"
    return Cost(time.perf_counter() - begun, usage.ru_maxrss * 1024 / 1e9, failure)


def _over(pid: int, seconds: float, minutes: float, gigabytes: float) -> str:
    if seconds > 60 * minutes:
        return f"not done after {minutes:g} minutes"
    if _resident(pid) > gigabytes:
        return f"took more than {gigabytes:g} GB"
    return ""


def _resident(pid: int) -> float:
    """Return the resident memory of a process in GB, 0 once it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
