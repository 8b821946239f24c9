"""``edgecnn verify``: repeat a bundle's proof on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecnn.cli import console
from edgecnn.errors import VerificationError

if TYPE_CHECKING:
    from edgecnn.integer_graph import Array, IntegerGraph
    from edgecnn.runtime.bundle import Bundle
    from edgecnn.runtime.verify import EngineReport, GridReport, OpReport, Verification
    from edgecnn.tensor import QuantParams

EXAMPLES = (
    "edgecnn verify tile-rpi",
    "edgecnn verify tile-rpi --engine onnxruntime --json",
    "edgecnn verify tile-rpi --per-op",
)


def command(
    bundle: Annotated[Path, typer.Argument(help="The bundle: a folder or a .zip.")],
    engine: Annotated[str | None, typer.Option(help="Only this engine; default: all that are installed.")] = None,
    per_op: Annotated[
        bool, typer.Option("--per-op", help="Also run every operator alone; needs edgecnn[export].")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="Threads for one inference; default: all processors.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Check digests and grids, run the golden frames through the engines, and compare.

    Exit code 0 if everything agrees, 1 if anything does not.
    """
    from edgecnn.runtime.bundle import Bundle

    with Bundle.open(bundle) as opened:
        found = _verify(opened, engine, threads, per_op)
    if as_json:
        console.emit_json(found.as_json())
    else:
        _show(found)
    if not found.passed:
        raise VerificationError(_verdict(found))


def _verify(bundle: Bundle, engine: str | None, threads: int | None, per_op: bool) -> Verification:
    from edgecnn.runtime.verify import Verification, entries_to_check, verify_engines, verify_grids

    entries = entries_to_check(bundle, engine)
    reports = console.progress(verify_engines(bundle, engine, threads), "golden frames", len(entries))
    engines = tuple(reports)
    grids = tuple(verify_grids(bundle, _read_grids, entries))
    return Verification(engines, grids, _verify_ops(bundle, engine) if per_op else ())


def _verify_ops(bundle: Bundle, engine: str | None) -> tuple[OpReport, ...]:
    from edgecnn.integer_graph import IntegerGraph
    from edgecnn.runtime.verify import entries_to_check, verify_ops

    graph = IntegerGraph.load(bundle.path_of(bundle.manifest.graph))
    names = list(dict.fromkeys(entry.name for entry in entries_to_check(bundle, engine) if entry.name != "reference"))
    frame = bundle.golden().frames[:1]
    reports = verify_ops(graph, frame, names, _run_single)
    return tuple(console.progress(reports, "operators", len(graph.nodes) * len(names)))


def _read_grids(engine: str, path: Path) -> dict[str, QuantParams]:
    """Read grids with the desk half; ImportError where that is not installed."""
    from edgecnn.export import artefact

    return artefact.read_grids(engine, path)


def _run_single(engine: str, graph: IntegerGraph, inputs: Sequence[Array]) -> Array:
    """Lower one operator with the desk half and run it."""
    from edgecnn.errors import MissingEngineError
    from edgecnn.export import artefact

    try:
        with artefact.opened(engine, graph) as opened:
            return opened.run(inputs)[0]
    except ImportError as error:
        raise MissingEngineError(
            f"--per-op lowers single operators: pip install 'edgecnn[export]' ({error})"
        ) from error


def _show(found: Verification) -> None:
    columns = ("engine", "output", ">equal", ">0", ">1", ">2", ">>2 LSB", ">max", ">SQNR", "decisions", ">ms", "")
    console.table("end to end, against the golden outputs", columns, [row for e in found.engines for row in _rows(e)])
    console.table("grids", ("file", ">compared", "", "remark"), [_grid_row(item) for item in found.grids])
    if found.ops:
        headings = ("engine", ">operators", ">exact", ">within 1", ">failed", "first that failed")
        console.table("operators alone", headings, _op_rows(found.ops))
    for report in found.engines:
        for remark in filter(None, (report.reason,)):
            console.note(f"{report.engine}: {remark}")
    if found.passed:
        console.out().print("PASS", style="bold green")


def _rows(report: EngineReport) -> list[tuple[str, ...]]:
    status = report.status.upper()
    if not report.outputs:
        return [(report.engine, *("-",) * 10, status)]
    agreed = report.agreement
    decisions = "" if agreed is None else f"{agreed.share:.1%} {agreed.kind}"
    if agreed is not None and agreed.iou is not None:
        decisions += f", IoU {agreed.iou:.3f}"
    rows = []
    for index, item in enumerate(report.outputs):
        counts = [str(count) for count in item.histogram]
        sqnr = "-" if item.sqnr_db is None else f"{item.sqnr_db:.1f} dB"
        numbers = (item.name, f"{item.equal:.2%}", *counts, str(item.max_lsb), sqnr)
        first = index == 0
        ends = (decisions, f"{report.milliseconds or 0:.2f}", status) if first else ("", "", "")
        rows.append((report.engine if first else "", *numbers, *ends))
    return rows


def _grid_row(report: GridReport) -> tuple[str, ...]:
    return report.file, str(report.checked), report.status.upper(), report.reason


def _op_rows(reports: Sequence[OpReport]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for engine in dict.fromkeys(report.engine for report in reports):
        mine = [report for report in reports if report.engine == engine]
        failed = [report for report in mine if report.status == "fail"]
        exact = sum(report.max_lsb == 0 for report in mine)
        near = sum(report.status == "pass" for report in mine) - exact
        remark = _op_remark(failed[0]) if failed else next((item.reason for item in mine if item.reason), "")
        rows.append((engine, str(len(mine)), str(exact), str(near), str(len(failed)), remark))
    return rows


def _op_remark(report: OpReport) -> str:
    reason = report.reason or f"{report.max_lsb} LSB, {report.off:.2%} of the elements differ"
    return f"{report.op} '{report.node}': {reason}"


def _verdict(found: Verification) -> str:
    """Say in one sentence what failed."""
    engines = [item for item in found.engines if item.status == "fail"]
    failed = [f"{item.engine}: {item.reason}" for item in engines]
    failed += [f"{item.file}: {item.reason}" for item in found.grids if item.status == "fail"]
    failed += [f"{engine}: {_op_remark(report)}" for engine, report in found.first_diverging().items()]
    return "FAIL: " + "; ".join(failed)
