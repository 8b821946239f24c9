"""A short soak: would a leak of 100 bytes a frame be noticed? The long one is ``benchmarks/loop_soak.py``."""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.model import load
from edgecnn.runtime.sources import Frame
from tests.waiting import until

WARM_UP, COUNTED = 3_000, 8_000
SHORT = "before=0.02&memory_mb=0.2&max_per_minute=1&repeat=100000"
LEAK = 100
LIMIT = COUNTED * LEAK // 2
"""Bytes of growth that are noise: half of what a leak of 100 bytes a frame would be."""


class Memory:
    """A source of frames that differ, and cost nothing to make."""

    LIVE = False

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._frames = [rng.integers(50, 200, (16, 16, 3), np.uint8) for _ in range(16)]
        self._frames[5] = np.zeros((16, 16, 3), np.uint8)
        self._next = 0

    def open(self) -> None:
        pass

    def read(self) -> Frame | None:
        self._next += 1
        return None if self._next > WARM_UP + COUNTED + 100 else Frame(self._frames[self._next % 16])

    def close(self) -> None:
        pass


class Leak:
    """A sink that never forgets."""

    every_turn, images = True, False

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def send(self, observation: Observation) -> None:
        self.kept.append(os.urandom(LEAK))

    def idle(self) -> None:
        pass

    def close(self) -> None:
        pass


def held() -> int:
    """Return the bytes that Python and numpy hold, to the byte; what the system counts is off by megabytes."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def figures_along(bundle: Path, folder: Path, leak: Leak | None) -> Iterator[tuple[int, int, int]]:
    """Yield (memory, threads, descriptors) behind the warm-up and at the end."""
    sinks = [f"jsonl:{folder}/log.jsonl?max_mb=0.1&keep=2", f"recorder:{folder}/events?{SHORT}"]
    tracemalloc.start()
    with load(bundle, threads=1) as model, model.watch(Memory(), sinks=sinks) as loop:
        if leak is not None:
            loop.add("leak", leak)
        for seen in loop:
            if seen.number in (WARM_UP, WARM_UP + COUNTED):
                del seen
                until(lambda: all(sink.waiting == 0 for sink in loop.snapshot().sinks), "the sinks have all")
                yield held(), threading.active_count(), len(os.listdir("/proc/self/fd"))
    tracemalloc.stop()


def test_memory_threads_and_descriptors_do_not_grow(defect_bundle: Path, tmp_path: Path) -> None:
    first, last = figures_along(defect_bundle, tmp_path, None)

    assert last[0] - first[0] < LIMIT
    assert last[1] <= first[1]
    assert last[2] <= first[2]


def test_a_leak_of_a_hundred_bytes_a_frame_would_be_seen(defect_bundle: Path, tmp_path: Path) -> None:
    first, last = figures_along(defect_bundle, tmp_path, Leak())

    assert last[0] - first[0] > LIMIT
