"""``edgecnn demo``: the whole of it in one command, with nothing attached."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecnn.cli import console, watching
from edgecnn.errors import OptionError

if TYPE_CHECKING:
    from edgecnn.runtime.loop.loop import LoopSettings
    from edgecnn.runtime.loop.observation import Observation
    from edgecnn.runtime.sources import Image

EXAMPLES = (
    "edgecnn demo",
    "edgecnn demo --task lane",
    "edgecnn demo tile-rpi --source 0",
    "edgecnn demo --headless --seconds 20 -o build/demo",
)
SOURCES = {"defect": "conveyor:?fps=30&defects=0.3&faults=0.2", "lane": "road:?fps=30&seed=5"}
"""What is watched without ``--source``, by task."""
PAGE = "127.0.0.1:8080"
RECIPE = "fast"
FILL = 0.98
"""Share of the picture that a part covers when it has stopped."""
GAP, PASSING, GOOD = "gap", "passing", "good"
STILLS, STANDING, CALIBRATION_SEED = 160, 0.5, 1
"""Calibration frames, taken when the part stands in the middle of its second. Another seed than what is inspected."""
ROADS, METRES = 8, 45.0
"""Drawn roads that calibration frames are of, and metres between two of them."""
DEPARTURE = 0.25
"""Widths of the lane from its middle at which a car of half its width is on the line."""


def command(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle; without one the built-in model of the task is exported first.")
    ] = None,
    task: Annotated[str, typer.Option(help="defect: a drawn conveyor; lane: a drawn road.")] = "defect",
    source: Annotated[
        str | None,
        typer.Option(help="What to watch: a camera (0) and all that 'run' takes; default: what the task is shown on."),
    ] = None,
    serve: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the web page is.")] = PAGE,
    headless: Annotated[bool, typer.Option("--headless", help="No web page.")] = False,
    seconds: Annotated[float | None, typer.Option(help="End after so many seconds; default: with Ctrl-C.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the annotated clip, events and the log.")
    ] = None,
) -> None:
    """Inspect a drawn conveyor: parts with and without defects, and camera faults thrown in; or drive on a drawn road.

    Shows live verdicts, a web page, recorded events and an annotated clip, and counts at the end what was right: who
    draws knows what is there.
    """
    from edgecnn.runtime.model import load

    if task not in SOURCES:
        raise OptionError(f"--task must be one of {', '.join(SOURCES)}, got '{task}'.")
    watched = source or SOURCES[task]
    with (
        _bundle(bundle, output, task) as path,
        load(path) as model,
        model.watch(watched, sinks=_records(output), settings=_settings(watched)) as loop,
    ):
        score = LaneScore() if model.manifest.task == "lane" else Score()
        loop.add("score", score)
        if not headless:
            watching.serve_page(loop, serve)
        interrupted = watching.drive(loop, quiet=False, seconds=seconds)
        watching.summarise(loop.snapshot())
    score.show()
    if output is not None:
        _show_files(output)
    if interrupted and seconds is not None:
        raise typer.Exit(console.INTERRUPTED)


class Score:
    """Compares verdicts with what a synthetic source drew. A sink."""

    every_turn = True
    images = False

    def __init__(self) -> None:
        self._parts: Counter[tuple[str, str]] = Counter()
        self._faults: Counter[tuple[str, str]] = Counter()
        self._seen: Counter[str] = Counter()

    def send(self, observation: Observation) -> None:
        """Count one turn."""
        from edgecnn.runtime.sources.conveyor import FAULTS

        truth, verdict = observation.truth, observation.verdict
        if truth in FAULTS:
            self._faults[truth, "NONE" if verdict is None else verdict.value] += 1
        if truth is not None and truth not in (GAP, PASSING):
            self._seen[truth] += 1
        if observation.part is not None and self._seen:
            self._parts[self._kind(FAULTS), observation.part.verdict.value] += 1
            self._seen.clear()

    def idle(self) -> None:
        """Nothing is due."""

    def close(self) -> None:
        """Nothing to close."""

    def show(self) -> None:
        """Print what was drawn beside what was said; nothing where the source told nothing."""
        verdicts = ("PASS", "REJECT", "INVALID")
        kinds = sorted({kind for kind, _ in self._parts})
        columns = ("drawn", *(f">{name}" for name in verdicts))
        if kinds:
            rows = [(kind, *(str(self._parts[kind, name]) for name in verdicts)) for kind in kinds]
            console.table("parts", columns, rows)
        faults = sorted({fault for fault, _ in self._faults})
        if faults:
            found = [(fault, *(str(self._faults[fault, name]) for name in (*verdicts, "NONE"))) for fault in faults]
            console.table("camera faults, in frames", (*columns, ">no part in view"), found)

    def _kind(self, faults: tuple[str, ...]) -> str:
        """Return what the part that just went was: its defect, good, or seen through a faulty camera."""
        kinds = [kind for kind in self._seen if kind not in faults]
        if any(kind in faults for kind in self._seen):
            return "during a fault"
        return next((kind for kind in kinds if kind != GOOD), GOOD)


class LaneScore:
    """Compares lines with how a synthetic source drew them: ``dashed/solid`` is a dashed left and a solid right one."""

    every_turn = True
    images = False

    def __init__(self) -> None:
        self._turns: Counter[str] = Counter()
        self._both: Counter[str] = Counter()
        self._right: Counter[str] = Counter()

    def send(self, observation: Observation) -> None:
        """Count one turn."""
        truth, result = observation.truth, observation.result
        if truth is None or result is None:
            return
        kinds = [lane.kind for lane in result.decision.lanes]
        self._turns[truth] += 1
        self._both[truth] += len(kinds) == 2
        self._right[truth] += "/".join(kinds) == truth

    def idle(self) -> None:
        """Nothing is due."""

    def close(self) -> None:
        """Nothing to close."""

    def show(self) -> None:
        """Print in how many frames the lines were found; nothing where the source told nothing."""
        rows = [
            (kinds, str(count), str(self._both[kinds]), str(self._right[kinds]))
            for kinds, count in sorted(self._turns.items())
        ]
        if rows:
            console.table("lines, in frames", ("drawn (left/right)", ">frames", ">both found", ">kinds right"), rows)


@contextmanager
def _bundle(given: Path | None, output: Path | None, task: str) -> Iterator[Path]:
    """Give the bundle, or export the built-in one: into the output folder, else into a temporary one.

    Raises:
        MissingEngineError: If there is none, and this machine cannot export.
    """
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="edgecnn-demo-") as scratch:
        console.note(
            f"no bundle given: exporting the built-in {task} model for what is drawn, which takes some seconds"
        )
        path = (output or Path(scratch)) / "bundle"
        with console.needing_packages("The demo without a bundle"):
            _export(path, task)
        yield path


def _export(path: Path, task: str) -> None:
    """Export a built-in model, calibrated on what the drawn camera sees, as one's own camera should be."""
    from edgecnn.composer import Request, build, open_model
    from edgecnn.vision.frames import Frames

    model, stills = open_model(task), {"defect": _parts, "lane": _roads}[task]
    build(Request(model, model.expects, ("rpi",), Frames(stills()), RECIPE, overwrite=True), path)


def _roads() -> Iterator[Image]:
    """Yield frames of such roads."""
    from edgecnn.runtime.sources.road import DEFAULT_SIZE
    from edgecnn.vision.synthetic.conveyor import camera_noise, with_noise
    from edgecnn.vision.synthetic.roads import Road

    noise = camera_noise(DEFAULT_SIZE, CALIBRATION_SEED)
    for seed in range(ROADS):
        road = Road(DEFAULT_SIZE, 1000 + seed)
        for number in range(STILLS // ROADS):
            yield with_noise(road.at(number * METRES, labels=False).frame, noise, number)


def _parts() -> Iterator[Image]:
    """Yield frames of such a conveyor, each with a part in full view; many different parts, or all others look odd."""
    from edgecnn.runtime.sources.conveyor import DEFAULT_SIZE
    from edgecnn.vision.synthetic.conveyor import Conveyor, camera_noise, with_noise

    belt = Conveyor(DEFAULT_SIZE, CALIBRATION_SEED, defects=0.3, variety=STILLS)
    noise = camera_noise(DEFAULT_SIZE, CALIBRATION_SEED)
    for number in range(STILLS):
        yield with_noise(belt.at(number + STANDING).frame, noise, number)


def _records(output: Path | None) -> list[str]:
    """Return the sinks that leave something to look at."""
    if output is None:
        return []
    output.mkdir(parents=True, exist_ok=True)
    return [f"video:{output}/demo.mp4", f"recorder:{output}/events?budget_mb=200", f"jsonl:{output}/verdicts.jsonl"]


def _settings(source: str) -> LoopSettings:
    """Return the rules of the demo: one verdict a part where the place between two parts is known, or of leaving."""
    from edgecnn.runtime.address import Address
    from edgecnn.runtime.loop.lanes import LaneSettings
    from edgecnn.runtime.loop.loop import LoopSettings
    from edgecnn.runtime.loop.parts import PartSettings
    from edgecnn.runtime.loop.rules import Rules
    from edgecnn.runtime.sources import conveyor
    from edgecnn.vision.synthetic.roads import FOCAL, LANE

    address = Address.parse(source)
    how: dict[str, Any] = {"on_stuck": watching.give_up, "on_alive": watching.alive}
    if address.scheme == "road":
        lanes = LaneSettings(departure=DEPARTURE, lane_width=LANE, focal=FOCAL)
        return LoopSettings(rules=Rules(lanes=lanes), **how)
    if address.scheme != "conveyor":
        return LoopSettings(**how)
    # Two frames must agree: one frame while the part still moves is no reason to throw it away.
    parts = PartSettings(mode="gap", reject=2, window=2, fill=FILL)
    return LoopSettings(rules=Rules(parts=parts, empty=conveyor.source(address).empty), **how)


def _show_files(output: Path) -> None:
    for name in ("bundle", "demo.mp4", "verdicts.jsonl", "events"):
        if (output / name).exists():
            console.note(f"written: {output / name}")
