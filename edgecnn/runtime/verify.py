"""The proof in a bundle, repeated on the machine at hand. The words are those of `edgecnn.proof`.

Three rules: (a) scales and zero points are the same in every artefact; (b) every operator alone, from equal inputs,
gives what the reference engine gives; (c) end to end, so does every engine, on every golden frame and output.

Reading grids from files (a) and lowering single operators (b) is the desk's work: both come in as callables.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.boundary import boundary, described
from edgecnn.errors import BundleError, EdgecnnError, MissingEngineError
from edgecnn.integer_graph import Array, IntegerGraph, IntegerNode
from edgecnn.manifest import EngineEntry, Manifest
from edgecnn.ops import op_file
from edgecnn.proof import EQUIVALENT, EXACT, FAILED, SKIPPED, worst
from edgecnn.runtime import engines, processor
from edgecnn.runtime.bundle import Bundle, Golden
from edgecnn.runtime.compare import Differences, Judgement, check_contract, compare, differences
from edgecnn.runtime.engines import reference
from edgecnn.runtime.model import REFERENCE, choose_entry, limits_for, load_entry, reference_entry
from edgecnn.tensor import QuantParams

GridReader = Callable[[str, Path], Mapping[str, QuantParams]]
RunSingle = Callable[[str, IntegerGraph, Sequence[Array]], Array]
Opener = Callable[[], AbstractContextManager[engines.Engine]]

ELEVEN_BITS = "XNNPACK weights the pixels of a bilinear Resize with 11 bits."


@dataclass(frozen=True)
class EngineReport:
    """One engine against the golden outputs.

    Attributes:
        engine: The engine's name.
        target: The target that its artefact was lowered for.
        status: A word of the proof, or ``"skipped"`` (not installed).
        reason: Why it is not exact; empty if it is.
        outputs: Differences per output, over all golden frames.
        judgements: What each output means, then the verdict where the task gives one.
        milliseconds: Median time of one inference, the first left out where there are more.
    """

    engine: str
    target: str
    status: str
    reason: str = ""
    outputs: tuple[Differences, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    milliseconds: float | None = None


@dataclass(frozen=True)
class GridReport:
    """Grids read back from one artefact against those of the canonical graph.

    Attributes:
        file: The artefact.
        status: ``"exact"``, ``"failed"`` or ``"skipped"`` (nothing here can read it).
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
        status: A word of the proof (``"equivalent"``: one step off, see `inexact`), or ``"skipped"`` (the
            engine is not installed).
        max_lsb: Largest difference, None if it did not run.
        off: Share of elements that differ.
        reason: Why it did not run, or cannot be exact.
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
        processor: What all this holds for.
    """

    engines: tuple[EngineReport, ...]
    grids: tuple[GridReport, ...] = ()
    ops: tuple[OpReport, ...] = ()
    processor: str = field(default_factory=lambda: str(processor.here()))

    @property
    def status(self) -> str:
        """The worst word of all engines; ``"failed"`` too if the grids of an artefact or a single operator failed."""
        parts = [item.status for item in self.grids] + [item.status for item in self.ops]
        return worst([*(item.status for item in self.engines), *(word for word in parts if word == FAILED)])

    def first_diverging(self) -> dict[str, OpReport]:
        """Return, per engine, the first operator in order of execution that failed."""
        found: dict[str, OpReport] = {}
        for report in self.ops:
            if report.status == FAILED:
                found.setdefault(report.engine, report)
        return found

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        first = {engine: dataclasses.asdict(report) for engine, report in self.first_diverging().items()}
        return {"status": self.status, **dataclasses.asdict(self), "first_diverging_op": first}


def entries_to_check(bundle: Bundle, engine: str | None) -> list[EngineEntry]:
    """Return the artefacts to run: that of ``engine``, or all; and the reference engine.

    Raises:
        OptionError: If the bundle has nothing for ``engine``.
    """
    wanted = bundle.engines if engine is None else [choose_entry(bundle.manifest, engine)]
    return list(dict.fromkeys([*wanted, reference_entry(bundle.manifest)]))


def verify_engines(bundle: Bundle, engine: str | None = None, threads: int | None = None) -> Iterator[EngineReport]:
    """Run the golden frames through every engine that is installed, rule (c), and through the reference engine.

    Args:
        bundle: Opened, so its digests were compared.
        engine: Only this one beside the reference; then it must be installed.
        threads: Threads for one inference.

    Raises:
        OptionError: If the bundle has nothing for ``engine``.
        MissingEngineError: If ``engine`` is not installed, or if no engine but the reference is: then nothing about
            this machine was proven.
    """
    golden, absent = bundle.golden(), list[str]()
    entries = entries_to_check(bundle, engine)
    for entry in entries:
        report = prove(bundle.manifest, entry, golden, functools.partial(load_entry, bundle, entry, threads))
        if report.status == SKIPPED:
            absent.append(report.reason)
            if engine is not None:
                raise MissingEngineError(report.reason)
        yield report
    if absent and len(absent) == len(entries) - 1:
        raise MissingEngineError(f"no engine of this bundle is installed, so nothing was proven: {absent[0]}")


def prove(manifest: Manifest, entry: EngineEntry, golden: Golden, opened: Opener) -> EngineReport:
    """Run the golden frames through one engine and say which word of the proof it gets.

    Args:
        manifest: The bundle's contract.
        entry: The artefact.
        golden: Frames, and the outputs expected for them.
        opened: Loads the artefact with its engine. That it cannot, or fails later, is in the report.

    Raises:
        BundleError: If the bundle is damaged or hostile.
    """
    report = functools.partial(EngineReport, entry.name, entry.target)
    try:
        with opened() as engine:
            got, milliseconds = _timed_run(manifest, engine, golden)
            with boundary(BundleError, "the golden outputs cannot be judged"):
                found = compare(manifest, golden.outputs, got, limits_for(entry, engine))
    except MissingEngineError as error:
        return report(SKIPPED, str(error))
    except BundleError:
        raise  # nothing of a damaged or hostile bundle is worth a word of the proof
    except EdgecnnError as error:
        return report(FAILED, str(error))
    reason = found.reason
    if entry.name == REFERENCE and found.status == FAILED:
        reason = f"the integer graph does not give the golden outputs, one of them was changed: {reason}"
    return report(found.status, reason, found.outputs, found.judgements, milliseconds)


def _timed_run(manifest: Manifest, engine: engines.Engine, golden: Golden) -> tuple[list[Array], float]:
    """Run all golden frames; return the outputs and the median time in ms."""
    rows, times = [], []
    for index in range(len(golden.frames)):
        begun = time.perf_counter()
        row = engine.run([golden.frames[index : index + 1]])
        times.append(1e3 * (time.perf_counter() - begun))
        check_contract(manifest, row)
        rows.append(row)
    stacked: list[Array] = [np.concatenate(column) for column in zip(*rows, strict=True)]
    return stacked, statistics.median(times[1:] or times)


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
    except Exception as error:  # the file is not ours
        return GridReport(name, FAILED, f"its grids cannot be read: {described(error)}")


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
        return GridReport(file, FAILED, reason, len(shared))
    if lost:
        return GridReport(file, FAILED, f"{len(lost)} activation(s) have no grid, first '{lost[0]}'", len(shared))
    return GridReport(file, EXACT, "", len(shared))


def _same_grid(got: QuantParams, wanted: QuantParams, is_constant: bool) -> bool:
    """Compare two grids; a format may lay out the channels of a constant in another order and along another axis."""
    if is_constant:
        return set(got.scale) == set(wanted.scale) and got.zero_point == wanted.zero_point
    return got == wanted


def _op_module(node: IntegerNode) -> str:
    return f"edgecnn.ops.{op_file(node.op)}"


def verify_ops(graph: IntegerGraph, frame: Array, names: Sequence[str], run_single: RunSingle) -> Iterator[OpReport]:
    """Run every operator alone on every engine, fed with the reference engine's values, rule (b).

    Args:
        graph: The canonical graph.
        frame: Its input: uint8 (1, H, W, C).
        names: Names of the engines.
        run_single: ``run_single(engine name, graph of one node, its inputs) -> output``: lowers and runs it.

    Yields:
        One report per operator and engine, operators in order of execution.
    """
    values = reference.run_graph(graph, [frame])
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
                yield OpReport(engine, node.name, node.op, FAILED, reason=str(error))
            else:
                yield _op_report(engine, node, values[node.output], got)


def inexact(engine: str, node: IntegerNode) -> str:
    """Say why an engine cannot give an operator exactly, only within one step; empty for all that must be exact."""
    is_bilinear = node.op == "Resize" and node.text("mode") != "nearest"
    return ELEVEN_BITS if engine == "litert" and is_bilinear else ""


def _op_report(engine: str, node: IntegerNode, expected: Array, got: Array) -> OpReport:
    if got.shape != expected.shape:
        reason = f"expected shape {expected.shape}, got {got.shape}"
        return OpReport(engine, node.name, node.op, FAILED, reason=reason)
    found = differences(node.output, expected, got)
    reason = inexact(engine, node) if found.max_lsb == 1 else ""
    status = EQUIVALENT if reason else FAILED if found.max_lsb else EXACT
    return OpReport(engine, node.name, node.op, status, found.max_lsb, 1.0 - found.equal, reason)
