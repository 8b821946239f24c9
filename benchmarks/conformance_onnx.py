"""ONNX's own node cases for `conformance`, as models whose one input is a picture."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
NEWEST_OPSET = 23
FLOAT = TensorProto.FLOAT


def cases() -> Iterator[tuple[str, list[tuple[onnx.ModelProto, Array]]]]:
    """Yield the name of every case that takes floats, and the ways to give it a picture, with its own input.

    The first way that the importer accepts is taken.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found = collect_testcases(None)
    for case in found:
        is_expanded = "_expanded" in case.name  # one of the others, spelt in more operators
        if case.model is not None and case.data_sets and not is_expanded and _takes_floats(case):
            yield case.name, ways(case)


def _takes_floats(case: Any) -> bool:
    first, graph = case.data_sets[0][0], case.model.graph
    arrays = bool(first) and all(isinstance(item, np.ndarray) for item in first)
    return arrays and len(first) == len(graph.input) and first[0].dtype == np.float32 and first[0].size > 0


def ways(case: Any) -> list[tuple[onnx.ModelProto, Array]]:
    """Return a picture as it is, its batch cut to 1; else a picture of the same values, reshaped."""
    arrays = case.data_sets[0][0]
    first = arrays[0]
    if first.ndim == 4:
        return [(_baked(case, first[:1].shape, arrays, None), first[:1])]
    if first.ndim > 4:
        return []
    lifted = first.reshape((1,) * (4 - first.ndim) + first.shape)
    found = [(_baked(case, lifted.shape, arrays, None), lifted)]
    for values in (first, first[:1]) if first.ndim else (first,):
        picture = values.reshape((1,) * (4 - first.ndim) + values.shape)
        found.append((_baked(case, picture.shape, arrays, values.shape), picture))
    return found


def _baked(case: Any, shape: tuple[int, ...], arrays: list[Array], inner: tuple[int, ...] | None) -> onnx.ModelProto:
    """Return the model with every input but the first as a constant; ``inner`` is a shape to give to the first."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    graph = model.graph
    names = [item.name for item in graph.input]
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in zip(names[1:], arrays[1:], strict=True)
    )
    picture = names[0] if inner is None else "picture"
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(picture, FLOAT, shape))
    if inner is not None:
        graph.initializer.append(numpy_helper.from_array(np.asarray(inner, np.int64), "picture_shape"))
        graph.node.insert(0, helper.make_node("Reshape", [picture, "picture_shape"], [names[0]]))
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    del graph.value_info[:]
    for opset in model.opset_import:
        opset.version = min(opset.version, NEWEST_OPSET) if not opset.domain else opset.version
    model.ir_version = min(model.ir_version, 10)
    return _with_shapes(model)


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Infer the shapes of the outputs, which may be others with a batch of 1; what has none will be refused."""
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return model
