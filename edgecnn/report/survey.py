"""Everything `inspect` shows: layers, pitfalls, and what becomes of a model on each target, without any calibration.

A model that is not quantised is turned to integers with made-up ranges (-1 to 1 everywhere). What can be lowered and
what maps depends on shapes and operators, not on ranges; so the made-up grids are used for that and never shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from edgecnn.errors import MissingEngineError, ModelError, Refusal, UnsupportedError
from edgecnn.integer_graph import IntegerGraph
from edgecnn.profile import EdgeTpu, TargetProfile
from edgecnn.report.document import EdgeTpuRow
from edgecnn.report.layers import LayerTable, layer_table
from edgecnn.report.network import Network, read_integers
from edgecnn.report.pitfalls import Knowledge, Verdict, judge
from edgecnn.report.sensitivity import Culprit

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgecnn.passes.fold_batch_norm import FoldReport

NEEDS_DESK = "not judged: it needs the desk half, pip install 'edgecnn[export]'"


@dataclass(frozen=True)
class Outlook:
    """What becomes of a model on one target.

    Attributes:
        target: The target's name.
        engine: The engine that runs there.
        lowers: Whether every node can be written for it; None where that could not be judged.
        refusals: The nodes that cannot, all of them.
        edge_tpu: One row a node for a target with an Edge TPU, empty for others.
        remark: What else is to be said, empty if nothing is.
    """

    target: str
    engine: str
    lowers: bool | None
    refusals: tuple[Refusal, ...] = ()
    edge_tpu: tuple[EdgeTpuRow, ...] = ()
    remark: str = ""


@dataclass(frozen=True)
class Survey:
    """What is known of a model.

    Attributes:
        name: The model's name.
        quantised: Whether its grids are real ones.
        table: Its layers.
        verdict: Its pitfalls.
        outlooks: One for every target that was asked for.
        notes: What else is to be said, one sentence each.
        noise: The layers of a bundle that make most of the noise, the worst first; empty where it was not measured.
    """

    name: str
    quantised: bool
    table: LayerTable
    verdict: Verdict
    outlooks: tuple[Outlook, ...]
    notes: tuple[str, ...] = ()
    noise: tuple[Culprit, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the survey as plain JSON values."""
        table = self.table
        return {
            "model": self.name,
            "quantised": self.quantised,
            "input": list(table.input_shape),
            "parameters": table.parameters,
            "macs": table.macs,
            "peak_activation_bytes": table.peak_bytes,
            "peak_layer": table.peak_layer,
            "layers": table.rows(),
            "pitfalls": [asdict(finding) for finding in self.verdict.findings],
            "not_judged": self.verdict.unjudged,
            "targets": [asdict(outlook) for outlook in self.outlooks],
            "notes": list(self.notes),
            "noise": [asdict(culprit) for culprit in self.noise],
        }


def survey_integers(name: str, graph: IntegerGraph, knowledge: Knowledge, profiles: Sequence[TargetProfile]) -> Survey:
    """Look at a quantised graph and call it ``name``; see `survey_model` for the rest."""
    network = read_integers(graph)
    outlooks = tuple(outlook(graph, profile) for profile in profiles)
    return Survey(name, True, layer_table(network), judge(network, knowledge), outlooks)


def survey_model(name: str, model: ir.Model, knowledge: Knowledge, profiles: Sequence[TargetProfile]) -> Survey:
    """Look at an imported model, which is brought into normal form in place.

    Pitfalls are judged on the model as it came; the layers are those of the integer graph, or of the model as it came
    where that cannot be made.

    Args:
        name: What to call it.
        model: As imported; see `edgecnn.graph`.
        knowledge: What the graph does not say.
        profiles: Targets to judge it for.

    Raises:
        OptionError: If the mean or standard deviation in ``knowledge`` does not fit the model.
    """
    from edgecnn.graph import notes
    from edgecnn.report.imported import read_model

    imported = read_model(model)
    verdict, table = judge(imported, knowledge), layer_table(imported)
    try:
        graph, remarks = _made_up(model, imported, knowledge)
    except UnsupportedError as error:
        outlooks = tuple(Outlook(item.name, item.engine, False, error.refusals) for item in profiles)
        return Survey(name, False, table, verdict, outlooks, notes(model))
    except ModelError as error:
        outlooks = tuple(Outlook(item.name, item.engine, False, remark=str(error)) for item in profiles)
        return Survey(name, False, table, verdict, outlooks, notes(model))
    outlooks = tuple(outlook(graph, profile) for profile in profiles)
    table = layer_table(replace(read_integers(graph), grids={}))
    return Survey(name, False, table, verdict, outlooks, (*notes(model), *remarks))


def _made_up(model: ir.Model, imported: Network, knowledge: Knowledge) -> tuple[IntegerGraph, tuple[str, ...]]:
    """Turn a model to integers with made-up ranges; also return what the passes have to say."""
    from edgecnn.passes.frame_input import FrameInput
    from edgecnn.passes.frame_output import FrameOutput
    from edgecnn.passes.pipeline import normalise
    from edgecnn.quant.pipeline import draft

    folds = normalise(model).batch_norm
    # The order of three channels changes nothing that is looked at here.
    color = "gray" if imported.channels == 1 else "rgb"
    entry = FrameInput(tuple(knowledge.mean or (0.0,)), tuple(knowledge.std or (1.0,)), color)
    entry(model)
    FrameOutput()(model)
    return draft(model), (*_fold_notes(folds), *_frame_notes(entry))


def _fold_notes(report: FoldReport) -> tuple[str, ...]:
    kept = tuple(f"Batch norm '{item.batch_norm}' is not folded: {item.reason}" for item in report.unfolded)
    return (f"{len(report.folds)} batch norm(s) fold into their neighbours.", *kept) if report.folds else kept


def _frame_notes(entry: Any) -> tuple[str, ...]:
    report = entry.report
    if report.fallback:
        return (f"A 1x1 convolution is put in front to take the frame: {report.reason}",)
    if not report.exact:
        return (f"Padding the raw frame is not exact: up to {report.border_error:.2%} at the border.",)
    return ()


def outlook(graph: IntegerGraph, profile: TargetProfile) -> Outlook:
    """Say what becomes of an integer graph on a target, by writing it for that target's engine."""
    try:
        rows, remark = _lowered(graph, profile)
    except UnsupportedError as error:
        return Outlook(profile.name, profile.engine, False, error.refusals)
    except MissingEngineError as error:
        return Outlook(profile.name, profile.engine, None, remark=f"not judged: {error}")
    except ImportError:
        return Outlook(profile.name, profile.engine, None, remark=NEEDS_DESK)
    return Outlook(profile.name, profile.engine, True, (), tuple(rows), remark)


def _lowered(graph: IntegerGraph, profile: TargetProfile) -> tuple[list[EdgeTpuRow], str]:
    from edgecnn.export import artefact

    artefact.check(profile.engine, graph)
    return edge_tpu_rows(graph, profile.edge_tpu) if profile.edge_tpu is not None else ([], "")


def edge_tpu_rows(graph: IntegerGraph, limits: EdgeTpu) -> tuple[list[EdgeTpuRow], str]:
    """Return the Edge TPU pre-flight as rows of the report, and a sentence on the whole.

    Raises:
        UnsupportedError: If a node cannot be written as TFLite at all.
    """
    from edgecnn.export.tflite.edgetpu import pre_flight

    flight = pre_flight(graph, limits)
    rows: list[EdgeTpuRow] = [
        {"node": item.node, "op": item.op, "maps": item.maps, "reason": item.reason, "suggestion": item.suggestion}
        for item in flight.verdicts
    ]
    weights = f"{flight.parameter_bytes / 1e6:.2f} MB of weights"
    fits = (
        f"{weights} stay on the chip"
        if not flight.streamed_bytes
        else (f"of {weights}, {flight.streamed_bytes / 1e6:.2f} MB stream over USB at every picture")
    )
    if flight.first_unmapped is None:
        return rows, f"All {len(rows)} nodes map; {fits}."
    return rows, (
        f"'{flight.first_unmapped}' does not map: it and all behind it, {len(flight.on_cpu)} of {len(rows)} nodes, "
        f"run on the CPU; {fits}."
    )
