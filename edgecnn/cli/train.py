"""``edgecnn train``: a folder of labelled pictures in, a file that ``edgecnn export`` takes as it is out."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecnn.cli import console
from edgecnn.errors import OptionError

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from edgecnn.train.run import Request, Result
    from edgecnn.train.trainer import Progress

EXAMPLES = (
    "edgecnn train --task defect --data parts/",
    "edgecnn train --task defect --data parts/ --time 15m -o parts.safetensors",
    "edgecnn train --task anomaly --data parts/ --good sound --validation parts-of-june/",
    "edgecnn train --task lane --data roads/ --size 192x320 --seed 1",
)
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[hms])+")


def command(
    task: Annotated[str, typer.Option(help="What to learn: defect, anomaly (from good parts alone) or lane.")],
    data: Annotated[Path, typer.Option(help="Folder of pictures: a folder per class, with or without masks, ...")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The trained file, .safetensors; default: TASK.safetensors.")
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="Time to train, e.g. 15m or 1h30m: as many steps as fit; default: all steps.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; the same steps and seed, the same file.")] = None,
    seed: Annotated[int, typer.Option(help="Decides first weights, batches and the split.")] = 0,
    validation: Annotated[
        str, typer.Option(help="Folder of pictures to validate on, or the share of --data to hold out for that.")
    ] = "0.2",
    good: Annotated[
        list[str] | None, typer.Option(help="Folder of sound parts, where its name does not say so (repeatable).")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Pixels of the network's input: one side, or rows x columns like 192x320.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Pictures a step; default: the task's own.")] = None,
    rate: Annotated[float | None, typer.Option(help="Highest learning rate; default: the task's own.")] = None,
    backbone: Annotated[
        Path | None, typer.Option(help="File of weights to begin from; default: those of the task's built-in network.")
    ] = None,
    false_rejects: Annotated[
        float, typer.Option(help="For anomaly: share of good parts that may be rejected; sets the threshold.")
    ] = 0.01,
    turns: Annotated[
        bool, typer.Option("--turns", help="Parts lie any way up under the camera: learn from quarter turns as well.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads that learn; default: all processors.")] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--fresh", help="Go on with the checkpoint, or begin anew; default: go on if there is one."
        ),
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Train a network on labelled pictures; Ctrl-C keeps a checkpoint, and the same command goes on with it.

    Beside the trained file, a folder gets the checkpoint, the curves and training.json.
    """
    with console.needing_packages("training"):
        from edgecnn.train.job import Plan
        from edgecnn.train.run import Request, run

        share, folder = _validation(validation)
        plan = Plan(
            seed=seed,
            steps=steps,
            seconds=None if time is None else _seconds(time),
            size=None if size is None else _size(size),
            batch=batch,
            rate=rate,
            share=share,
            threads=threads or len(os.sched_getaffinity(0)),
            backbone=backbone,
            false_rejects=false_rejects,
            turns=turns,
        )
        mode = {None: "auto", True: "resume", False: "fresh"}[resume]
        request = Request(
            task, data, output or Path(f"{task}.safetensors"), plan, folder, tuple(good or ()), device, mode
        )
        with _screen(request) as screen:
            result = run(request, screen.watch, screen.stop, screen.checking, screen.warn)
    if as_json:
        console.emit_json({"file": str(result.output), "folder": str(result.folder), **result.document})
    else:
        _show(result)


@dataclass
class _Screen:
    """Shows on stderr where the training stands: a bar on a terminal, and a line for every validation."""

    bar: Bar
    stop: Callable[[], bool]
    task: Any
    stage: str = ""
    warned: list[str] = field(default_factory=list)

    def checking(self, done: int, count: int) -> None:
        """Show how many pictures were looked at."""
        if self.stop():
            raise KeyboardInterrupt
        self._move("looking at the pictures", done, count, "")

    def warn(self, text: str) -> None:
        """Show what is odd about the data."""
        self._say(f"warning: {text}")

    def watch(self, progress: Progress) -> None:
        """Show a step or a validation."""
        loss = "" if math.isnan(progress.loss) else f"loss {progress.loss:.4f}"
        best = "" if progress.best is None else f"best {progress.best:.4f}"
        self._move(progress.stage, progress.done, progress.steps, f"{loss}  {best}".strip())
        if progress.remark:
            self._say(progress.remark)
        if progress.row is not None:
            score = progress.row.validation.score
            mark = "  *" if score == progress.best else ""
            self._say(f"step {progress.done}/{progress.steps}  loss {progress.row.loss:.4f}  score {score:.4f}{mark}")

    def _move(self, stage: str, done: int, count: int, figures: str) -> None:
        # Measuring and training count their own steps; a validation pauses the training's.
        group = "training" if stage == "validating" else stage
        if group != self.stage:
            self.stage = group
            self.bar.reset(self.task, total=count, completed=done)
        self.bar.update(self.task, description=stage, total=count, completed=done, figures=figures)

    def _say(self, text: str) -> None:
        self.bar.console.print(console.printable(text), markup=False, soft_wrap=True)


@contextmanager
def _screen(request: Request) -> Iterator[_Screen]:
    """Show progress; after Ctrl-C, say how to go on."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from edgecnn.train.checkpoint import Store

    terminal = console.err()
    columns = (
        TextColumn("{task.description:24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    hidden = not terminal.is_terminal
    try:
        with (
            console.interrupts(patient=True) as interrupted,
            Progress(*columns, console=terminal, disable=hidden, transient=True) as bar,
        ):
            yield _Screen(bar, interrupted.is_set, bar.add_task("", total=None, figures=""))
    except KeyboardInterrupt:
        if Store(request.folder, {}).exists:
            console.note(f"interrupted; the same command goes on with the checkpoint in {request.folder}")
        raise


def _show(result: Result) -> None:
    found = result.document
    best, steps = found["best"], found["steps"]
    shown = {name: "-" if value is None else f"{value:.4g}" for name, value in best["figures"].items()}
    title = f"{result.output}: {steps['done']} steps in {found['seconds']:.0f} s, the best weights at {best['step']}"
    console.say(title)
    console.table("", ("on the validation data", ">"), [("score", f"{best['score']:.4f}"), *shown.items()])
    console.note(f"curves, checkpoint and training.json: {result.folder}")
    console.note(f"next: edgecnn export {result.output} --target rpi")


def _validation(text: str) -> tuple[float, Path | None]:
    """Return the share to hold out, and the folder to validate on if one is named."""
    try:
        return float(text), None
    except ValueError:
        pass
    folder = Path(text)
    if not folder.is_dir():
        raise OptionError(f"--validation takes a folder of pictures, or a share like 0.2; got '{text}'.")
    return 0.2, folder


def _seconds(text: str) -> float:
    if not _DURATION.fullmatch(text):
        raise OptionError(f"--time takes a duration like 15m, 90s or 1h30m; got '{text}'.")
    return sum(float(part[:-1]) * UNITS[part[-1]] for part in re.findall(r"[\d.]+[hms]", text))


def _size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise OptionError(f"--size takes one side in pixels, or rows x columns like 192x320; got '{text}'.")
    return int(sides[0]), int(sides[-1])
