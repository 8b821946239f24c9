"""``edgecnn verify``: repeat a bundle's proof on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecnn.cli import console
from edgecnn.errors import VerificationError
from edgecnn.proof import EQUIVALENT, EXACT, FAILED, SKIPPED

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
    engine: Annotated[
        str | None, typer.Option(help="Only this engine and the reference; default: all that are installed.")
    ] = None,
    per_op: Annotated[
        bool, typer.Option("--per-op", help="Also run every operator alone; needs edgecnn[export].")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="Threads for one inference; default: all processors.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Check digests and grids, run the golden frames through the engines, and compare every integer of every output.

    EXACT, exit code 0: all are equal. EQUIVALENT, exit code 9: not, but an accelerator that cannot be exact keeps its
    target's limits on every output. FAILED, exit code 1: all else, also an engine that cannot run the model. The word
    is the worst of all engines that are installed and the reference engine.
    """
    from edgecnn.runtime.bundle import Bundle

    with Bundle.open(bundle) as opened:
        found = _verify(opened, engine, threads, per_op)
        opened.check_unchanged()
    if as_json:
        console.emit_json(found.as_json())
    else:
        _show(found)
    if found.status == FAILED:
        raise VerificationError(_complaint(found))
    if found.status == EQUIVALENT:
        raise typer.Exit(console.EQUIVALENT)


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
    columns = ("engine", "output", ">equal", ">0", ">1", ">2", ">>2 LSB", ">max", ">SQNR", ">meaning", ">ms", "proof")
    console.table("end to end, against the golden outputs", columns, [row for e in found.engines for row in _rows(e)])
    console.table("grids", ("file", ">compared", "proof", "remark"), [_grid_row(item) for item in found.grids])
    if found.ops:
        headings = ("engine", ">operators", ">exact", ">one off", ">failed", "remark")
        console.table("operators alone", headings, _op_rows(found.ops))
    for report in found.engines:
        if report.status in (EQUIVALENT, SKIPPED):
            console.note(f"{report.engine}: {report.reason}")
    named = [item.engine for item in found.engines if item.status == found.status]
    word = f"{found.status.upper()}: {', '.join([*named, f'on this processor ({found.processor})'])}"
    console.say(word, console.WORD_STYLES[found.status])


def _rows(report: EngineReport) -> list[tuple[str, ...]]:
    """Return one row an output, and one more for the verdict where there is one."""
    word = report.status.upper()
    if not report.outputs:
        return [(report.engine, *("-",) * 10, word)]
    rows = []
    for index, judged in enumerate(report.judgements):
        starts, ends = ((report.engine, (f"{report.milliseconds:.2f}", word)), ("", ("", "")))[index > 0]
        rows.append((starts, judged.of, *_numbers(report, index), str(judged), *ends))
    return rows


def _numbers(report: EngineReport, index: int) -> tuple[str, ...]:
    if index >= len(report.outputs):
        return ("",) * 7
    item = report.outputs[index]
    noise = "-" if item.sqnr_db is None else f"{item.sqnr_db:.1f} dB"
    return console.share(item.equal), *map(str, item.histogram), str(item.max_lsb), noise


def _grid_row(report: GridReport) -> tuple[str, ...]:
    return report.file, str(report.checked), report.status.upper(), report.reason


def _op_rows(reports: Sequence[OpReport]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for engine in dict.fromkeys(report.engine for report in reports):
        mine = [report for report in reports if report.engine == engine]
        count = [sum(report.status == word for report in mine) for word in (EXACT, EQUIVALENT, FAILED)]
        remark = min(mine, key=lambda report: (FAILED, EQUIVALENT, SKIPPED, EXACT).index(report.status))
        text = "" if remark.status == EXACT else _op_remark(remark)
        rows.append((engine, str(len(mine)), *map(str, count), text))
    return rows


def _op_remark(report: OpReport) -> str:
    if report.max_lsb is None:
        return f"{report.op} '{report.node}': {report.reason}"
    off = f"{report.op} '{report.node}': {report.max_lsb} LSB, {report.off:.2%} of the elements differ"
    return f"{off}. {report.reason}" if report.reason else off


def _complaint(found: Verification) -> str:
    """Say in one sentence what failed."""
    failed = [f"{item.engine}: {item.reason}" for item in found.engines if item.status == FAILED]
    failed += [f"{item.file}: {item.reason}" for item in found.grids if item.status == FAILED]
    failed += [f"{engine}: {_op_remark(report)}" for engine, report in found.first_diverging().items()]
    return f"the proof FAILED on this processor ({found.processor}): " + "; ".join(failed)
