"""The proof in a bundle, repeated on the machine at hand.

Three rules, because one least significant bit per operator cannot be avoided between engines and adds up:
(a) scales and zero points are the same in every artefact; (b) every operator alone, from equal inputs, is within one
LSB of the reference engine; (c) end to end, the distribution of differences is reported and the decisions agree.

Reading grids from files (a) and lowering single operators (b) is the desk's work: both come in as callables.
"""

from __future__ import annotations

import dataclasses
import importlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.errors import EdgecnnError, MissingEngineError
from edgecnn.integer_graph import Array, IntegerGraph, IntegerNode
from edgecnn.manifest import EngineEntry
from edgecnn.ops import op_file
from edgecnn.runtime import engines
from edgecnn.runtime.bundle import Bundle, Golden
from edgecnn.runtime.compare import Acceptance, Agreement, Differences, agreement, check_contract, differences
from edgecnn.runtime.engines import reference
from edgecnn.runtime.model import REFERENCE, choose_entry, load_entry, reference_entry
from edgecnn.tensor import QuantParams

GridReader = Callable[[str, Path], Mapping[str, QuantParams]]
RunSingle = Callable[[str, IntegerGraph, Sequence[Array]], Array]

PASS, FAIL, SKIPPED = "pass", "fail", "skipped"


@dataclass(frozen=True)
class EngineReport:
    """One engine against the golden outputs.

    Attributes:
        engine: The engine's name.
        target: The target that its artefact was lowered for.
        status: ``"pass"``, ``"fail"`` or ``"skipped"`` (not installed).
        reason: Why it failed or was skipped; empty if it passed.
        outputs: Differences per output, over all golden frames.
        agreement: Decisions.
        milliseconds: Median time of one inference, the first left out where there are more.
    """

    engine: str
    target: str
    status: str
    reason: str = ""
    outputs: tuple[Differences, ...] = ()
    agreement: Agreement | None = None
    milliseconds: float | None = None


@dataclass(frozen=True)
class GridReport:
    """Grids read back from one artefact against those of the canonical graph.

    Attributes:
        file: The artefact.
        status: ``"pass"``, ``"fail"`` or ``"skipped"`` (nothing here can read it).
        reason: What differs, or why nothing was read.
        checked: Number of grids compared.
    """

    file: str
    status: str
    reason: str = ""
    checked: int = 0


@dataclass(frozen=True)
class OpReport:
    """One operator alone, lowered for one engine, against the reference engine from equal inputs.

    Attributes:
        engine: The engine's name.
        node: The node's name in the integer graph.
        op: Its operator.
        status: ``"pass"``, ``"fail"`` or ``"skipped"`` (the engine is not installed).
        max_lsb: Largest difference, None if it did not run.
        off: Share of elements that differ.
        reason: Why it did not run.
    """

    engine: str
    node: str
    op: str
    status: str
    max_lsb: int | None = None
    off: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Verification:
    """Everything that was found.

    Attributes:
        engines: End to end, one entry per engine.
        grids: One entry per artefact.
        ops: One entry per engine and operator; empty if they were not asked for.
    """

    engines: tuple[EngineReport, ...]
    grids: tuple[GridReport, ...] = ()
    ops: tuple[OpReport, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        statuses = [item.status for item in self.engines]
        statuses += [item.status for item in self.grids] + [item.status for item in self.ops]
        return FAIL not in statuses

    def first_diverging(self) -> dict[str, OpReport]:
        """Return, per engine, the first operator in order of execution that failed."""
        found: dict[str, OpReport] = {}
        for report in self.ops:
            if report.status == FAIL:
                found.setdefault(report.engine, report)
        return found

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        first = {engine: dataclasses.asdict(report) for engine, report in self.first_diverging().items()}
        return {"passed": self.passed, **dataclasses.asdict(self), "first_diverging_op": first}


def entries_to_check(bundle: Bundle, engine: str | None) -> list[EngineEntry]:
    """Return the artefacts to run: that of ``engine``, or all and the reference engine.

    Raises:
        OptionError: If the bundle has nothing for ``engine``.
    """
    if engine is not None:
        return [choose_entry(bundle.manifest, engine)]
    return [*bundle.engines, reference_entry(bundle.manifest)]


def verify_engines(
    bundle: Bundle, engine: str | None = None, threads: int | None = None, acceptance: Acceptance | None = None
) -> Iterator[EngineReport]:
    """Run the golden frames through every engine that is installed, rule (c).

    Args:
        bundle: Opened, so its digests were compared.
        engine: Only this one; then it must be installed.
        threads: Threads for one inference.
        acceptance: What passes.

    Raises:
        OptionError: If the bundle has nothing for ``engine``.
        MissingEngineError: If ``engine`` is not installed, or if no engine but the reference is: then nothing about
            this machine was proven.
    """
    golden, limits = bundle.golden(), acceptance or Acceptance()
    reports = []
    for entry in entries_to_check(bundle, engine):
        try:
            report = check_engine(bundle, entry, golden, limits, threads)
        except MissingEngineError as error:
            if engine is not None:
                raise
            report = EngineReport(entry.name, entry.target, SKIPPED, str(error))
        reports.append(report)
        yield report
    ran = [item for item in reports if item.status != SKIPPED and item.engine != REFERENCE]
    if engine is None and not ran:
        raise MissingEngineError(f"no engine of this bundle is installed, so nothing was proven: {reports[0].reason}")


def check_engine(
    bundle: Bundle, entry: EngineEntry, golden: Golden, acceptance: Acceptance, threads: int | None = None
) -> EngineReport:
    """Run the golden frames through one engine and compare.

    Raises:
        MissingEngineError: If it is not installed. That it fails in another way is in the report.
    """
    try:
        with load_entry(bundle, entry, threads) as engine:
            got, milliseconds = _timed_run(bundle, engine, golden)
    except MissingEngineError:
        raise
    except EdgecnnError as error:
        return EngineReport(entry.name, entry.target, FAIL, str(error))
    names = [output.tensor.name for output in bundle.manifest.outputs]
    found = tuple(differences(*item) for item in zip(names, golden.outputs, got, strict=True))
    agreed = agreement(bundle.manifest, golden.outputs, got, acceptance)
    reason = _complaint(entry, found, agreed)
    return EngineReport(entry.name, entry.target, FAIL if reason else PASS, reason, found, agreed, milliseconds)


def _timed_run(bundle: Bundle, engine: engines.Engine, golden: Golden) -> tuple[list[Array], float]:
    """Run all golden frames; return the outputs and the median time in ms."""
    rows, times = [], []
    for index in range(len(golden.frames)):
        begun = time.perf_counter()
        row = engine.run([golden.frames[index : index + 1]])
        times.append(1e3 * (time.perf_counter() - begun))
        check_contract(bundle.manifest, row)
        rows.append(row)
    stacked: list[Array] = [np.concatenate(column) for column in zip(*rows, strict=True)]
    return stacked, statistics.median(times[1:] or times)


def _complaint(entry: EngineEntry, found: Sequence[Differences], agreed: Agreement) -> str:
    """Say what is wrong, empty if nothing is."""
    if entry.name == REFERENCE and any(item.max_lsb for item in found):
        return "the reference engine itself does not repeat the golden outputs bit by bit"
    if not agreed.passed:
        return f"only {agreed.share:.1%} agree ({agreed.kind})"
    return ""


def verify_grids(bundle: Bundle, read_grids: GridReader, entries: Sequence[EngineEntry]) -> list[GridReport]:
    """Compare the grids inside each artefact with the canonical graph, rule (a).

    Args:
        bundle: Opened.
        read_grids: ``read_grids(engine name, file) -> grid by tensor name``, on the canonical integers (activations
            uint8). An ImportError says that nothing here can read the file; it is reported as not checked.
        entries: The artefacts.
    """
    graph = IntegerGraph.load(bundle.path_of(bundle.manifest.graph))
    files = {entry.files[0]: entry.name for entry in entries if entry.name != REFERENCE}
    return [_check_grids(engine, bundle.path_of(name), name, graph, read_grids) for name, engine in files.items()]


def _check_grids(engine: str, path: Path, name: str, graph: IntegerGraph, read_grids: GridReader) -> GridReport:
    try:
        return compare_grids(name, graph, read_grids(engine, path))
    except ImportError as error:
        return GridReport(name, SKIPPED, f"not checked: needs edgecnn[export] ({error})")
    except (EdgecnnError, ValueError, LookupError) as error:
        return GridReport(name, FAIL, f"its grids cannot be read: {error}")


def compare_grids(file: str, graph: IntegerGraph, grids: Mapping[str, QuantParams]) -> GridReport:
    """Compare grids by tensor name, bit by bit.

    Every activation that an operator puts on a grid of its own must be in the file; where an operator keeps its
    input's grid, a format need not say it again.

    Args:
        file: Name for the report.
        graph: The canonical graph.
        grids: What was read; tensors that the graph does not know (lowering added them) are left out.
    """
    wanted = {name: spec.quant for name, spec in graph.tensors.items() if spec.quant is not None}
    shared = [name for name in wanted if name in grids]
    wrong = [name for name in shared if not _same_grid(grids[name], wanted[name], name in graph.constants)]
    own = [node.output for node in graph.nodes if importlib.import_module(_op_module(node)).GRID in ("own", "fixed")]
    lost = [name for name in own if name not in grids]
    if wrong:
        name = wrong[0]
        reason = f"{len(wrong)} grid(s) differ, first '{name}': expected {wanted[name]}, got {grids[name]}"
        return GridReport(file, FAIL, reason, len(shared))
    if lost:
        return GridReport(file, FAIL, f"{len(lost)} activation(s) have no grid, first '{lost[0]}'", len(shared))
    return GridReport(file, PASS, "", len(shared))


def _same_grid(got: QuantParams, wanted: QuantParams, is_constant: bool) -> bool:
    """Compare two grids; a format may lay out the channels of a constant in another order and along another axis."""
    if is_constant:
        return set(got.scale) == set(wanted.scale) and got.zero_point == wanted.zero_point
    return got == wanted


def _op_module(node: IntegerNode) -> str:
    return f"edgecnn.ops.{op_file(node.op)}"


def verify_ops(
    graph: IntegerGraph,
    frame: Array,
    names: Sequence[str],
    run_single: RunSingle,
    acceptance: Acceptance | None = None,
) -> Iterator[OpReport]:
    """Run every operator alone on every engine, fed with the reference engine's values, rule (b).

    Args:
        graph: The canonical graph.
        frame: Its input: uint8 (1, H, W, C).
        names: Names of the engines.
        run_single: ``run_single(engine name, graph of one node, its inputs) -> output``: lowers and runs it.
        acceptance: What passes.

    Yields:
        One report per operator and engine, operators in order of execution.
    """
    limits, values = acceptance or Acceptance(), reference.run_graph(graph, [frame])
    absent: set[str] = set()
    for node in graph.nodes:
        single = graph.single(node)
        inputs = [values[name] for name in single.inputs]
        for engine in names:
            if engine in absent:
                continue
            try:
                got = run_single(engine, single, inputs)
            except MissingEngineError as error:
                absent.add(engine)
                yield OpReport(engine, node.name, node.op, SKIPPED, reason=str(error))
            except EdgecnnError as error:
                yield OpReport(engine, node.name, node.op, FAIL, reason=str(error))
            else:
                yield _op_report(engine, single, values[node.output], got, limits)


def _op_report(engine: str, single: IntegerGraph, expected: Array, got: Array, limits: Acceptance) -> OpReport:
    node = single.nodes[0]
    if got.shape != expected.shape:
        reason = f"expected shape {expected.shape}, got {got.shape}"
        return OpReport(engine, node.name, node.op, FAIL, reason=reason)
    found = differences(node.output, expected, got)
    limit = limits.op_lsb if single.spec(node.output).quant is not None else 0
    status = PASS if found.max_lsb <= limit else FAIL
    return OpReport(engine, node.name, node.op, status, found.max_lsb, 1.0 - found.equal)
