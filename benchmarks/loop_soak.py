"""Does the loop run for weeks? Many frames at full speed, with recording and serving on.

    python benchmarks/loop_soak.py --frames 200000

The drawn conveyor as fast as it is read, camera faults thrown in, every frame judged; events recorded into a small
disk budget, a log, a web page with a viewer that keeps asking. Memory, threads and descriptors are those of the whole
process (``/proc/self``). Growth counts from 5 % of the frames on; a pass means at most 5 MB and not one thread or
descriptor. While an event is written, some 20 MB more are in use: the least of the last rows counts. What is free, but
kept by the C library for the next request, is given back before it is counted: it comes and goes by 10 to 20 MB.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
from loop_overhead import TARGETS, export_built_in

import edgecnn
from edgecnn.runtime.web.page import Page

SOURCE = "conveyor:?fps=0&size=320x240&defects=0.3&faults=0.1"
GROWTH_LIMIT = 5 << 20
ROWS, LAST = 20, 4
LIBC = ctypes.CDLL(None)


def memory() -> int:
    """Return the process's resident memory in bytes, without what is free. Sources: proc(5), malloc_trim(3)."""
    if hasattr(LIBC, "malloc_trim"):
        LIBC.malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def descriptors() -> int:
    """Return how many files and sockets are open."""
    return len(os.listdir("/proc/self/fd"))


class Viewer(threading.Thread):
    """Somebody who looks at the page all the time."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url, self.stopping, self.seen = url.rstrip("/"), threading.Event(), 0

    def run(self) -> None:
        """Fetch figures and the picture, twice a second."""
        while not self.stopping.wait(0.5):
            for path in ("/state.json", "/live.jpg", "/metrics"):
                try:
                    with urllib.request.urlopen(self._url + path, timeout=10) as answer:
                        self.seen += len(answer.read()) > 0
                except urllib.error.HTTPError:
                    continue


def main() -> int:
    """Run, print a row now and then, and say whether it passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200_000)
    frames = parser.parse_args().frames
    with tempfile.TemporaryDirectory() as scratch:
        bundle = export_built_in(Path(scratch) / "bundle", TARGETS[:2])
        with edgecnn.load(bundle, threads=1) as model:
            return soak(model, frames, Path(scratch))


def soak(model: edgecnn.runtime.model.Model, frames: int, scratch: Path) -> int:
    """Watch so many frames; return the exit code."""
    sinks = [f"recorder:{scratch}/events?budget_mb=50&repeat=5", f"jsonl:{scratch}/log.jsonl?max_mb=1&keep=2"]
    ages, rows = np.zeros(frames, np.float32), []
    print(f"{'frames':>9}{'minutes':>9}{'fps':>7}{'MB':>9}{'threads':>9}{'files':>7}{'p50 ms':>8}{'p99 ms':>8}")
    with model.watch(SOURCE, every="frame", sinks=sinks) as loop:
        page = Page(loop.context, "127.0.0.1", 0)
        page.start()
        loop.add("page", page)
        viewer = Viewer(page.url)
        viewer.start()
        begun = time.monotonic()
        for number, seen in enumerate(loop):
            ages[number] = 1e3 * seen.age
            done = number + 1
            if done % (frames // ROWS) == 0:
                last = ages[done - frames // ROWS : done]
                rows.append((memory(), threading.active_count(), descriptors()))
                middle, most = np.percentile(last, (50, 99))
                minutes = (time.monotonic() - begun) / 60
                figures = f"{rows[-1][0] / 1e6:9.1f}{rows[-1][1]:9}{rows[-1][2]:7}{middle:8.2f}{most:8.2f}"
                print(f"{done:9}{minutes:9.1f}{done / minutes / 60:7.0f}{figures}", flush=True)
            if done == frames:
                break
        viewer.stopping.set()
        viewer.join()
        found = loop.snapshot()
    return judge(rows, ages, found, viewer.seen)


def judge(
    rows: list[tuple[int, int, int]], ages: np.ndarray, found: edgecnn.runtime.loop.statistics.Snapshot, seen: int
) -> int:
    """Print what was found; return the exit code. The first row stands at 5 % of the frames."""
    first = rows[0]
    grown = min(row[0] for row in rows[-LAST:]) - first[0]
    middle, most = np.percentile(ages, (50, 99))
    print(f"verdicts {found.verdicts}; findings {found.findings}; source opened {found.connects} times")
    for sink in found.sinks:
        print(f"{sink.address}: {sink.delivered} delivered, {sink.lost} lost {sink.error}")
    print(f"the viewer got {seen} answers; age p50 {middle:.2f} ms, p99 {most:.2f} ms, p99/p50 {most / middle:.2f}")
    threads, files = (min(row[at] for row in rows[-LAST:]) - first[at] for at in (1, 2))
    passed = grown <= GROWTH_LIMIT and threads <= 0 and files <= 0
    print(f"growth after 5 %: {grown / 1e6:.2f} MB, {threads} threads, {files} files")
    print("PASS" if passed else "FAIL")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
