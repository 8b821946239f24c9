"""Observations and contexts for tests of sinks, and a check that nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgecnn.manifest import Manifest
from edgecnn.runtime.loop.observation import Observation, Part
from edgecnn.runtime.loop.parts import PartSettings
from edgecnn.runtime.loop.rules import Rules
from edgecnn.runtime.loop.run import Run
from edgecnn.runtime.loop.statistics import Histogram, SinkFigures, Snapshot
from edgecnn.runtime.sinks import SinkContext
from edgecnn.vision.results import Decision, Finding, Output, Result, Verdict
from tests.runtime.conftest import tiny_graph, tiny_manifest
from tests.waiting import until

PASS, REJECT, INVALID = Verdict.PASS, Verdict.REJECT, Verdict.INVALID
TIME = 1_900_000_000.125
"""2030-03-17T17:46:40.125Z"""
MANIFEST: Manifest = tiny_manifest(tiny_graph())
RUN = Run(MANIFEST, "line 3", "20300317T174640.125Z-0123abcd")


def figures(**changed: object) -> Snapshot:
    """Return a loop's figures."""
    values: dict[str, object] = {
        "started": TIME,
        "uptime": 12.5,
        "connected": True,
        "source_error": "",
        "connects": 2,
        "stuck": 1,
        "frames": 300,
        "dropped": 20,
        "turns": 280,
        "verdicts": {"PASS": 270, "REJECT": 8, "INVALID": 2},
        "parts": {"PASS": 30},
        "findings": {"black": 2},
        "state": "PASS",
        "age": Histogram((0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1), 6.0015),
        "inference": Histogram(),
        "fps": 29.97,
        "sinks": (SinkFigures("jsonl:a", 5, 1, 2), SinkFigures("jsonl:a", 7)),
    }
    return Snapshot(**(values | changed))


def context(parts: bool = False) -> SinkContext:
    """Return what a sink is told of a loop around the tiny classifier."""
    rules = Rules(parts=PartSettings("frame" if parts else "none"))
    return SinkContext(MANIFEST, "reference", "synthetic:conveyor", figures, rules, run=RUN)


def result(label: str = "scratch", score: float = 0.75, logits: tuple[int, ...] = (1, 2, 3, 4)) -> Result:
    """Return what the tiny classifier could say."""
    outputs = (Output(MANIFEST.outputs[0], np.array([logits], np.uint8)),)
    return Result(Decision(label, score, {label: score, "good": 1 - score}), outputs)


def observed(number: int = 1, verdict: Verdict | None = PASS, **changed: object) -> Observation:
    """Return a turn of the loop, by default one without news that was read just now."""
    values: dict[str, object] = {
        "state": verdict,
        "changed": False,
        "captured": time.monotonic(),
        "time": TIME + number,
        "timestamp": float(number),
        "age": 0.0125,
    }
    return Observation(number=number, verdict=verdict, **(values | changed))


def turned(number: int = 1, verdict: Verdict = REJECT, **changed: object) -> Observation:
    """Return a turn with which the state becomes ``verdict``."""
    return observed(number, verdict, **({"changed": True} | changed))


def judged(number: int = 1, verdict: Verdict = REJECT, **changed: object) -> Observation:
    """Return a turn with which a part is complete."""
    return observed(number, verdict, **({"part": Part(number, verdict, 3, 2, 0, 0.75)} | changed))


BLACK = Finding("black", "the picture is black: mean 0.3, expected at least 8.")


def started(script: str) -> subprocess.Popen[str]:
    """Start a Python script that may import this project and its tests."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def nothing_left() -> Iterator[None]:
    """Check that threads and descriptors are as many as before."""
    threads, files = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    yield
    until(lambda: set(threading.enumerate()) <= threads, "the threads' end")
    # A server in the test closes its side of a connection a little later.
    until(lambda: len(os.listdir("/proc/self/fd")) <= files, "the descriptors' end")
