"""A page fed by hand, and a browser."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from edgecnn.manifest import EngineEntry, InputContract, Manifest, OutputContract, Provenance
from edgecnn.runtime.loop.observation import Observation, Part
from edgecnn.runtime.loop.parts import PartSettings
from edgecnn.runtime.loop.rules import Rules
from edgecnn.runtime.loop.run import Run
from edgecnn.runtime.loop.statistics import Histogram, SinkFigures, Snapshot
from edgecnn.runtime.sinks import SinkContext
from edgecnn.runtime.web.page import Page
from edgecnn.tensor import QuantParams, TensorSpec
from edgecnn.vision.results import Decision, Finding, Result, Verdict
from tests.waiting import PATIENCE

pytest.importorskip("starlette", reason="needs edgecnn[serve]")
pytest.importorskip("uvicorn", reason="needs edgecnn[serve]")

BLACK = Finding("black", "the picture is almost black: mean 2 of 255")
LATENCY = Histogram((0, 0, 50, 40, 10, 0, 0, 0, 0, 0, 0, 0, 0), 0.8)
FIGURES = Snapshot(
    started=1_900_000_000.25,
    uptime=7260.0,
    connected=True,
    source_error="",
    connects=1,
    stuck=0,
    frames=1234,
    dropped=34,
    turns=1200,
    verdicts={"PASS": 1000, "REJECT": 150, "INVALID": 50, "NONE": 0},
    parts={"PASS": 90, "REJECT": 8, "INVALID": 2},
    findings={"black": 50},
    state="PASS",
    age=LATENCY,
    inference=LATENCY,
    fps=24.9,
    sinks=(SinkFigures("mqtt://broker/line", 1000, 200, 3, "the broker does not answer", LATENCY),),
)


def manifest() -> Manifest:
    """A bundle that rejects scratches from 0.5 on."""
    frame = TensorSpec("frame", (1, 64, 64, 3), "uint8", QuantParams.per_tensor(1 / 255))
    scores = TensorSpec("scores", (1, 2), "uint8", QuantParams.per_tensor(1 / 255))
    return Manifest(
        name="tile",
        task="defect",
        input=InputContract(frame, "bgr"),
        outputs=(OutputContract(scores, "NC", "probabilities"),),
        engines=(EngineEntry("reference", "rpi", ("model.onnx",)),),
        provenance=Provenance("0.1.0", "tile", "0" * 64, "fast", "1" * 64, 6),
        labels=("good", "scratch"),
        thresholds={"scratch": 0.5},
    )


@dataclass
class Line:
    """What a loop would be: figures that tests change, and the observations it makes of them."""

    figures: Snapshot = FIGURES
    parts: bool = False
    number: int = 0
    state: Verdict | None = None
    image: np.ndarray = field(
        default_factory=lambda: np.random.default_rng(0).integers(60, 200, (90, 120, 3), dtype=np.uint8)
    )

    def context(self) -> SinkContext:
        """What a sink is told."""
        rules = Rules(parts=PartSettings("frame" if self.parts else "none"))
        run = Run(manifest(), "line 3", "20300317T174640.125Z-0123abcd")
        return SinkContext(run.manifest, "reference", "rtsp://***@cam/1", lambda: self.figures, rules, run=run)

    def see(self, verdict: Verdict, score: float = 0.2, part: Part | None = None, frame: bool = True) -> Observation:
        """Return the next turn."""
        self.number += 1
        changed, self.state = verdict is not self.state, verdict
        self.figures = replace(self.figures, state=verdict.value, turns=self.number)
        result = None
        if verdict is not Verdict.INVALID:
            result = Result(Decision("scratch", score, {"scratch": score}, verdict), ())
        return Observation(
            number=self.number,
            verdict=verdict,
            state=verdict,
            changed=changed,
            captured=time.monotonic(),
            time=time.time(),
            timestamp=0.0,
            age=0.008,
            part=part,
            findings=() if verdict is not Verdict.INVALID else (BLACK,),
            result=result,
            image=self.image if frame else None,
            name=f"frame-{self.number}",
        )


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def serve(line: Line) -> Iterator[Callable[..., Page]]:
    """Return a function that starts a page; closed after the test."""
    pages: list[Page] = []

    def start(**options: object) -> Page:
        pages.append(Page(line.context(), **{"token": "", **options}))
        pages[-1].start()
        return pages[-1]

    yield start
    for page in pages:
        page.close()


@dataclass(frozen=True)
class Answer:
    """What a server answered; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def port_of(page: Page) -> int:
    """Return the port that a page listens on."""
    return int(page.url.rstrip("/").rpartition(":")[2])


def ask(page: Page, path: str, method: str = "GET", **headers: str) -> Answer:
    """Ask a page for something; underscores in names of headers become dashes."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(page), timeout=PATIENCE)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read())
    finally:
        connection.close()
