"""Fix the dynamic dimensions of a model's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from edgecnn.errors import ModelError

Shape = Sequence[int]
InputShape = Shape | Mapping[str, Shape]


def fix_input_shapes(graph: onnx.GraphProto, wanted: InputShape | None) -> None:
    """Give every input of ``graph`` a static shape, in place, and forget the shapes that followed from the old one.

    Rules:
        R1. A dimension named by ``wanted`` gets that value; where the model fixes another one, it is refused.
        R2. A dynamic first dimension of an input of rank 2 and more is the batch and becomes 1.
        R3. Any other dynamic dimension is refused by name.

    Args:
        graph: The graph to change. Inputs that are initialisers are left alone.
        wanted: One shape for a model with one input, or a mapping from input name to shape.

    Raises:
        ModelError: By R1 and R3, on a batch other than 1, or on a name or rank that does not fit.
    """
    constants = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in constants}
    shapes = _by_name(wanted, list(inputs))
    for name, value in inputs.items():
        _fix(value, shapes.get(name))
    _forget_shapes(graph)


def _by_name(wanted: InputShape | None, names: list[str]) -> dict[str, tuple[int, ...]]:
    if wanted is None:
        return {}
    if not isinstance(wanted, Mapping):
        if len(names) != 1:
            raise ModelError(f"the model has inputs {', '.join(names)}: give a shape for each by name, got {wanted}.")
        wanted = {names[0]: wanted}
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        raise ModelError(f"no input is called {', '.join(unknown)}; the model's inputs are {', '.join(names)}.")
    shapes = {name: tuple(int(size) for size in shape) for name, shape in wanted.items()}
    for name, shape in shapes.items():
        if any(size < 1 for size in shape):
            raise ModelError(f"the shape of input '{name}' must be positive integers, got {shape}.")
    return shapes


def _fix(value: onnx.ValueInfoProto, wanted: tuple[int, ...] | None) -> None:
    _give_rank(value, wanted)
    dims = value.type.tensor_type.shape.dim
    for axis, dim in enumerate(dims):
        _fix_dim(value.name, axis, dim, None if wanted is None else wanted[axis], len(dims))
    dynamic = [f"{axis} ('{dim.dim_param or '?'}')" for axis, dim in enumerate(dims) if dim.dim_value < 1]
    if dynamic:
        raise ModelError(
            f"input '{value.name}' has dynamic dimension(s) {', '.join(dynamic)}. Give its shape with --input-shape, "
            f"e.g. {','.join(str(dim.dim_value or 224) for dim in dims)}."
        )
    if len(dims) >= 2 and dims[0].dim_value != 1:
        raise ModelError(
            f"input '{value.name}' has batch {dims[0].dim_value}, expected 1. Export the model with batch 1."
        )


def _give_rank(value: onnx.ValueInfoProto, wanted: tuple[int, ...] | None) -> None:
    """Make room for the shape where the model has none, and check that the one given fits."""
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        if wanted is None:
            raise ModelError(f"input '{value.name}' has no shape. Give one with --input-shape.")
        for _ in wanted:
            tensor.shape.dim.add()
    rank = len(tensor.shape.dim)
    if wanted is not None and len(wanted) != rank:
        raise ModelError(f"input '{value.name}' has {rank} dimensions, the shape given has {len(wanted)}: {wanted}.")


def _fix_dim(name: str, axis: int, dim: onnx.TensorShapeProto.Dimension, wanted: int | None, rank: int) -> None:
    fixed = dim.dim_value >= 1
    if wanted is not None and fixed and dim.dim_value != wanted:
        raise ModelError(
            f"input '{name}': the model fixes dimension {axis} to {dim.dim_value}, the shape given says {wanted}."
        )
    if wanted is not None:
        dim.dim_value = wanted
    elif not fixed and axis == 0 and rank >= 2:
        dim.dim_value = 1


def _forget_shapes(graph: onnx.GraphProto) -> None:
    """Shapes recorded for the dynamic model would contradict the static one."""
    del graph.value_info[:]
    for output in graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
