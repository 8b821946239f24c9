"""``edgecnn bench``: how fast a bundle is on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecnn.cli import console

if TYPE_CHECKING:
    from edgecnn.runtime.bench import Bench

EXAMPLES = ("edgecnn bench tile-rpi", "edgecnn bench tile-rpi --threads 1 --runs 500 --json")


def command(
    bundle: Annotated[Path, typer.Argument(help="The bundle: a folder or a .zip.")],
    engine: Annotated[str | None, typer.Option(help="Another engine than the bundle's own.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads for one inference; default: all processors.")] = None,
    runs: Annotated[int, typer.Option(help="Frames to measure.")] = 100,
    as_json: console.JsonOption = False,
) -> None:
    """Measure a bundle from a 720p frame to the decision: median, p95, p99, first result, memory."""
    from edgecnn.runtime.bench import bench

    found = bench(bundle, engine, threads, runs)
    if as_json:
        console.emit_json(found.as_json())
    else:
        _show(found)


def _show(found: Bench) -> None:
    rows = [
        (name, *(f"{value:.2f}" for value in (timing.median, timing.p95, timing.p99, timing.best)))
        for name, timing in (
            ("preprocess", found.preprocess),
            ("inference", found.inference),
            ("frame to decision", found.total),
        )
    ]
    height, width = found.frame
    title = f"{found.bundle} on {found.engine}, {found.threads} thread(s), {found.runs} frames of {width}x{height}"
    console.table(title, ("milliseconds", ">median", ">p95", ">p99", ">best"), rows)
    if found.first_result is not None:
        memory = found.first_result.peak_mib
        peak = "" if memory is None else f", {memory:.0f} MiB at most"
        console.table("", (f"first result in a fresh process: {found.first_result.milliseconds:.0f} ms{peak}",), ())
    console.note(f"proof of {found.engine} on golden frames: {found.proof.upper()}")
    machine = found.machine
    console.note(f"{machine['processor']} ({machine['architecture']}), {machine['processors']} usable processor(s)")
