"""Bring an imported model into the state that `edgecnn.graph` promises."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

from edgecnn.boundary import boundary
from edgecnn.errors import ModelError, Refusal, UnsupportedError
from edgecnn.graph.expansion import Folded, check_values
from edgecnn.graph.float32 import to_float32
from edgecnn.graph.stored_integers import unpack_stored_integers

STANDARD_DOMAINS = ("", "ai.onnx")
NOTES_KEY = "edgecnn.notes"
NO_LIMIT = 1 << 40
WORKING_IR = 8


def settle(model: ir.Model) -> ir.Model:
    """Inline, fold constants, infer shapes and check, in place; the order is that of dependence.

    Args:
        model: A model of opset 18 or newer whose inputs have static shapes.

    Returns:
        The same model, with the promises of `edgecnn.graph` kept.

    Raises:
        ModelError: If a value has no static shape or is larger than allowed, a constant cannot be read or holds NaN or
            infinity, or an output does not depend on the input.
        UnsupportedError: If nodes are not of the standard domain, or contain graphs.
    """
    _refuse_unreadable_constants(model)
    with _quiet("onnx_ir", "onnxscript"):
        common.InlinePass()(model)
        to_float32(model)
        common.RemoveInitializersFromInputsPass()(model)
        model.ir_version = max(model.ir_version, WORKING_IR)  # before 4, initialisers had to be inputs as well
        _set_inference_mode(model)
        _fold_or_refuse(model)
        _refuse_foreign_nodes(model.graph)
        common.NameFixPass()(model)
        common.ShapeInferencePass(data_prop=True, strict_mode=False)(model)
    _refuse_bad_constants(model.graph)
    _refuse_constant_outputs(model.graph)
    _refuse_open_shapes(model.graph)
    check_values(model.graph)
    return model


def notes(model: ir.Model) -> tuple[str, ...]:
    """Return what the import or a pass changed in the meaning of the model, one sentence each."""
    text = model.metadata_props.get(NOTES_KEY, "")
    return tuple(text.split("\n")) if text else ()


def note(model: ir.Model, sentence: str) -> None:
    """Add a sentence to the model's `notes`."""
    model.metadata_props[NOTES_KEY] = "\n".join((*notes(model), sentence))


def fold_constants(model: ir.Model) -> None:
    """Replace everything that depends on constants alone by initialisers, and drop what is unread.

    Shapes are inferred node by node on the way, so that Shape -> Gather -> Concat chains fold too.

    Raises:
        ModelError: If what is computed becomes larger than allowed.
    """
    optimizer.fold_constants_ir(
        model,
        onnx_shape_inference=True,
        input_size_limit=NO_LIMIT,
        output_size_limit=NO_LIMIT,
        should_fold=Folded("ConstantOfShape"),
    )
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.RemoveUnusedNodesPass()(model)


def _fold_or_refuse(model: ir.Model) -> None:
    with boundary(ModelError, "the model's constants cannot be computed", "Export it again."):
        fold_constants(model)
        while unpack_stored_integers(model):
            fold_constants(model)  # what is made of those weights, a Transpose as a rule


@contextmanager
def _quiet(*loggers: str) -> Iterator[None]:
    """Keep libraries from logging what is reported here as an error anyway."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _set_inference_mode(model: ir.Model) -> None:
    """Switch BatchNormalization and Dropout from training to inference, and say so."""
    for node in model.graph:
        if node.op_type == "BatchNormalization":
            _use_running_statistics(model, node)
        elif node.op_type == "Dropout" and len(node.inputs) > 2:
            node.resize_inputs(1)


def _use_running_statistics(model: ir.Model, node: ir.Node) -> None:
    if node.attributes.get_int("training_mode", 0) == 1:
        note(model, f"BatchNormalization '{node.name}' was exported in training mode; its running statistics are used.")
    node.attributes.pop("training_mode", None)
    if not any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        node.resize_outputs(1)


def _refuse_foreign_nodes(graph: ir.Graph) -> None:
    foreign = [_foreign(node) for node in graph if node.domain not in STANDARD_DOMAINS]
    nested = [_nested(node) for node in graph if _has_graphs(node)]
    if foreign or nested:
        raise UnsupportedError([*foreign, *nested])


def _has_graphs(node: ir.Node) -> bool:
    graphs = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in graphs for attribute in node.attributes.values())


def _foreign(node: ir.Node) -> Refusal:
    reason = f"it comes from the operator set '{node.domain}', not from ONNX's own."
    return Refusal(
        node.op_type, node.name or "", reason, "Export the model without it, and unquantised and unoptimised."
    )


def _nested(node: ir.Node) -> Refusal:
    reason = "control flow has no place in a static integer graph."
    return Refusal(
        node.op_type, node.name or "", reason, "Export the model with the branch taken and the loop unrolled."
    )


def _refuse_bad_constants(graph: ir.Graph) -> None:
    for name, value in graph.initializers.items():
        if value.const_value is None or value.dtype is None or not value.dtype.is_floating_point():
            continue
        array = _content(name, value.const_value)
        if not np.isfinite(array).all():
            bad = int(array.size - np.isfinite(array).sum())
            raise ModelError(
                f"tensor '{name}' of shape {array.shape} holds {bad} value(s) that are NaN or infinite. "
                "Training has diverged or the file is damaged: take another checkpoint."
            )


def _refuse_unreadable_constants(model: ir.Model) -> None:
    """Refuse constants whose bytes do not fit their shape and type, wherever in the model they stand."""
    for value in model.graph.initializers.values():
        if value.const_value is not None:
            _content(str(value.name), value.const_value)
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                _content(f"{node.name or node.op_type}/{attribute.name}", attribute.as_tensor())


def _refuse_constant_outputs(graph: ir.Graph) -> None:
    """Refuse outputs that are the same for every picture: no node of an integer graph writes them."""
    fed = set(graph.inputs)
    for node in graph:
        if not fed.isdisjoint(node.inputs):
            fed.update(node.outputs)
    same = [f"'{value.name}'" for value in graph.outputs if value not in fed]
    if same:
        raise ModelError(
            f"the output(s) {', '.join(same)} do not depend on the model's input: they are constants. Export the model "
            "without them, and keep the constants beside it."
        )


def _content(name: str, tensor: ir.TensorProtocol) -> npt.NDArray[np.generic]:
    try:
        return tensor.numpy()
    except (ValueError, TypeError, OverflowError) as error:
        raise ModelError(f"tensor '{name}' cannot be read: {error}. The file is damaged: fetch it again.") from error


def _refuse_open_shapes(graph: ir.Graph) -> None:
    for node in graph:
        for value in node.outputs:
            if value.dtype is None or value.shape is None or not value.shape.is_static():
                shape = "unknown" if value.shape is None else str(value.shape)
                raise ModelError(
                    f"value '{value.name}', written by {node.op_type} '{node.name}', has no static shape ({shape}). "
                    "Shapes that depend on the picture's content cannot be lowered: export the model without them."
                )
