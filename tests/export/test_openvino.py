"""OpenVINO IR: every operator within 1 LSB of the reference, in integer kernels, with grids that can be read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecnn.errors import ModelError, UnsupportedError
from edgecnn.export import openvino as form
from edgecnn.export.openvino import lowering
from edgecnn.integer_graph import Array, IntegerGraph
from edgecnn.ops.sigmoid import FIXED as SIGMOID
from edgecnn.ops.softmax import FIXED as SOFTMAX
from edgecnn.ops.tanh import FIXED as TANH
from edgecnn.runtime import engines
from edgecnn.runtime.engines.openvino import execution_precisions
from edgecnn.runtime.engines.reference import run_graph
from edgecnn.tensor import QuantParams
from tests.export.tflite.conftest import GraphBuilder

ALL_OF_UINT8 = np.arange(256, dtype=np.uint8)


def grid(scale: float, zero_point: int = 0) -> QuantParams:
    return QuantParams.per_tensor(scale, zero_point)


def run(graph: IntegerGraph, path: Path, arrays: list[Array]) -> list[Array]:
    form.write(graph, path)
    inputs, outputs = ([graph.spec(name) for name in names] for names in (graph.inputs, graph.outputs))
    with engines.load("openvino", path, inputs, outputs, threads=1) as engine:
        return engine.run(arrays)


def difference(builder: GraphBuilder, path: Path, *outputs: str) -> Array:
    """Differences, in LSB, between OpenVINO and the reference on random inputs, all outputs in one row."""
    graph, arrays = builder.graph(*outputs), builder.arrays()
    expected = run_graph(graph, arrays)
    got = dict(zip(outputs, run(graph, path, arrays), strict=True))
    assert {name: (got[name].shape, got[name].dtype) for name in outputs} == {
        name: (expected[name].shape, expected[name].dtype) for name in outputs
    }
    return np.concatenate([np.abs(got[name].astype(int) - expected[name].astype(int)).ravel() for name in outputs])


def check_grids(graph: IntegerGraph, path: Path) -> None:
    expected = {name: spec.quant for name, spec in graph.tensors.items() if spec.quant is not None}
    assert form.read_grids(path) == expected


def maps(zero_point: int = 0, channels: int = 16, seed: int = 5) -> tuple[GraphBuilder, str]:
    """A frame (1,24,24,3) behind a convolution: maps (1,channels,12,12)."""
    builder = GraphBuilder(seed)
    x = builder.image(3, 24, 24, grid(1 / 255, 128))
    stem = builder.sum_grid(x, 27).scale[0]
    return builder, builder.conv(x, channels, (3, 3), (2, 2), (1, 1, 1, 1), grid=grid(stem, zero_point))


Step = Callable[[GraphBuilder, str], str]
SAME = (1, 16, 12, 12)


def unary(op: str, shape: tuple[int, ...] = SAME, out: QuantParams | None = None, **attributes: object) -> Step:
    return lambda b, x: b.node(op, [x], shape, out or b.grid(x), **attributes)  # type: ignore[arg-type]


def silu(b: GraphBuilder, x: str) -> str:
    gate = b.node("Sigmoid", [x], SAME, SIGMOID)
    return b.node("Mul", [x, gate], SAME, grid(b.grid(x).scale[0] * 0.6137, 20))


def squeeze_excite(b: GraphBuilder, x: str) -> str:
    mean = b.node("ReduceMean", [x], (1, 16, 1, 1), grid(b.grid(x).scale[0] * 0.3137, 128), axes=(2, 3), keepdims=1)
    gate = b.node("Sigmoid", [b.conv(mean, 16, (1, 1))], (1, 16, 1, 1), SIGMOID)
    return b.node("Mul", [x, gate], SAME, grid(b.grid(x).scale[0] * 0.6137, 20))


def slope(b: GraphBuilder, x: str) -> str:
    values = b.random.integers(-127, 128, (16, 1, 1)).astype(np.int8)
    return b.node("PRelu", [x, b.constant(values, grid(0.004))], SAME, grid(0.1137, 30))


def with_constant(op: str) -> Step:
    def step(b: GraphBuilder, x: str) -> str:
        values = b.random.integers(0, 256, (1, 16, 1, 1)).astype(np.uint8)
        return b.node(op, [x, b.constant(values, grid(0.0313, 100))], SAME, grid(b.grid(x).scale[0] * 1.3137, 100))

    return step


def residual(op: str) -> Step:
    return lambda b, x: b.node(op, [x, b.conv(x, 16, (3, 3))], SAME, grid(b.grid(x).scale[0] * 5.137, 128))


def concat(b: GraphBuilder, x: str) -> str:
    shared = grid(0.2137, 77)
    parts = [b.conv(x, 4, (1, 1), grid=shared), b.conv(x, 8, (3, 3), grid=shared)]
    pooled = b.node("MaxPool", [parts[1]], (1, 8, 12, 12), shared, kernel=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1))
    return b.node("Concat", [*parts, pooled], (1, 20, 12, 12), shared, axis=1)


def shuffle(b: GraphBuilder, x: str) -> str:
    y = b.node("Reshape", [x], (1, 4, 4, 12, 12), b.grid(x), shape=(1, 4, 4, 12, 12))
    y = b.node("Transpose", [y], (1, 4, 4, 12, 12), b.grid(x), perm=(0, 2, 1, 3, 4))
    return b.node("Reshape", [y], SAME, b.grid(x), shape=SAME)


def transposed(kernel: int, stride: int, pad: int, dilation: int = 1) -> Step:
    def step(b: GraphBuilder, x: str) -> str:
        size = 11 * stride + dilation * (kernel - 1) + 1 - 2 * pad
        geometry = {"strides": (stride, stride), "pads": (pad,) * 4, "dilations": (dilation, dilation)}
        parameters = b.parameters(x, (16, 8, kernel, kernel), 1, 8)
        out = b.sum_grid(x, 16 * kernel**2 // stride**2 + 1)
        return b.node(
            "ConvTranspose", [x, *parameters], (1, 8, size, size), out, output_padding=(0, 0), group=1, **geometry
        )

    return step


HALVES = {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}
TWICE = {"sizes": (24, 24), "mode": "nearest", "coordinates": "asymmetric", "rounding": "floor"}
BORDER = (0, 0, 1, 1, 0, 0, 1, 1)
STEPS: dict[str, Step] = {
    "nothing": lambda b, x: x,
    "MaxPool": unary("MaxPool", (1, 16, 6, 6), **HALVES),
    "AveragePool": unary("AveragePool", (1, 16, 6, 6), **HALVES),
    "Resize nearest": unary("Resize", (1, 16, 24, 24), **TWICE),
    "Pad reflect": unary("Pad", (1, 16, 14, 14), pads=BORDER, mode="reflect", value=0),
    "DepthToSpace": unary("DepthToSpace", (1, 4, 24, 24), blocksize=2, mode="DCR"),
    "Slice": unary("Slice", (1, 8, 12, 12), starts=(0, 4, 0, 0), ends=(1, 12, 12, 12), steps=(1, 1, 1, 1)),
    "Clip": unary("Clip", low=20, high=200),
    "Requantize": unary("Requantize", out=grid(0.0517, 10)),
    "LeakyRelu": unary("LeakyRelu", out=grid(0.1137, 30), alpha=0.1),
    "PRelu": slope,
    "Sigmoid": unary("Sigmoid", out=SIGMOID),
    "Tanh": unary("Tanh", out=TANH),
    "SiLU": silu,
    "squeeze-excite": squeeze_excite,
    "Add constant": with_constant("Add"),
    "Mul constant": with_constant("Mul"),
    "Add": residual("Add"),
    "Sub": residual("Sub"),
    "Concat": concat,
    "channel shuffle": shuffle,
    "ConvTranspose 2/2": transposed(2, 2, 0),
    "ConvTranspose 4/2": transposed(4, 2, 1),
    "ConvTranspose 2/3": transposed(2, 3, 0),
    "ConvTranspose 3/2 dilated": transposed(3, 2, 1, dilation=2),
    "depthwise": lambda b, x: b.conv(x, 16, (3, 3), group=16),
    "grouped": lambda b, x: b.conv(x, 32, (3, 3), (2, 2), (1, 1, 1, 1), group=4),
}


@pytest.mark.parametrize("name", STEPS)
def test_operators_between_convolutions(name: str, tmp_path: Path) -> None:
    builder, x = maps()
    y = builder.as_frame(builder.conv(STEPS[name](builder, x), 16, (3, 3)))
    graph = builder.graph(y)
    differences = difference(builder, tmp_path / "model.xml", y)
    assert differences.max() <= 1
    assert np.mean(differences > 0) < 0.02
    layers = execution_precisions(tmp_path / "model.xml")
    kernels = [precision for _, kind, precision in layers if kind in ("Convolution", "Deconvolution")]
    assert len(kernels) >= 2
    assert set(kernels) == {"u8"}
    check_grids(graph, tmp_path / "model.xml")


FLOATS: dict[str, Step] = {
    "Softmax": unary("Softmax", out=SOFTMAX, axis=1),
    "Resize linear": unary("Resize", (1, 16, 30, 17), sizes=(30, 17), mode="linear", coordinates="half_pixel"),
    "Pad with a value": unary("Pad", (1, 16, 14, 14), pads=BORDER, mode="constant", value=9),
    "ReduceMean": unary("ReduceMean", (1, 12, 12), out=grid(0.31, 77), axes=(1,), keepdims=0),
    "ReduceMax": unary("ReduceMax", (1, 16), axes=(2, 3), keepdims=0),
    "ReduceMax of one axis": unary("ReduceMax", (1, 16, 12), axes=(2,), keepdims=0),
}


@pytest.mark.parametrize("zero_point", [0, 77])
@pytest.mark.parametrize("name", STEPS | FLOATS)
def test_operators_at_the_end(name: str, zero_point: int, tmp_path: Path) -> None:
    builder, x = maps(zero_point)
    y = (STEPS | FLOATS)[name](builder, x)
    assert difference(builder, tmp_path / "model.xml", y).max() <= 1
    check_grids(builder.graph(y), tmp_path / "model.xml")


def pairs_graph(scales: tuple[float, float, float]) -> tuple[IntegerGraph, list[Array]]:
    """All pairs of integers, added: the first behind a convolution that changes nothing."""
    builder = GraphBuilder(0)
    a = builder.input((1, 16, 64, 64), grid(scales[0], 60))
    b = builder.input((1, 16, 64, 64), grid(scales[1], 131))
    weight = builder.constant(np.eye(16, dtype=np.int8).reshape(16, 16, 1, 1), QuantParams.per_channel(np.ones(16), 0))
    bias = builder.constant(np.zeros(16, np.int32), QuantParams.per_channel(np.full(16, scales[0]), 0))
    geometry = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "group": 1}
    # Rounded away again, were the rounding left out: half of a step.
    same = builder.node("Conv", [a, weight, bias], (1, 16, 64, 64), grid(scales[0] * 2, 128), **geometry)
    y = builder.node("Add", [same, b], (1, 16, 64, 64), grid(scales[2], 120))
    first, second = np.meshgrid(ALL_OF_UINT8, ALL_OF_UINT8)
    return builder.graph(y), [item.reshape(1, 16, 64, 64) for item in (first, second)]


def wrong_share(scales: tuple[float, float, float], path: Path) -> float:
    graph, arrays = pairs_graph(scales)
    expected = run_graph(graph, arrays)[graph.outputs[0]]
    return float(np.mean(run(graph, path, arrays)[0] != expected))


def test_an_addition_is_fused_and_still_rounds_its_convolution(tmp_path: Path) -> None:
    assert wrong_share((0.0711, 0.0523, 0.1317), tmp_path / "model.xml") < 1e-4
    layers = execution_precisions(tmp_path / "model.xml")
    assert [kind for _, kind, _ in layers if kind in ("Convolution", "Eltwise", "Subgraph")] == ["Convolution"]


def test_why_rounding_must_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "keep_rounding", lambda node, writer, value: value)
    assert wrong_share((0.0711, 0.0523, 0.1317), tmp_path / "model.xml") > 0.1


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_convolutions_of_every_shape(tmp_path: Path, data: st.DataObject) -> None:
    draw = data.draw
    builder = GraphBuilder(draw(st.integers(0, 2**32 - 1)))
    group, kind = draw(st.sampled_from([1, 2, 3, 8])), draw(st.sampled_from(["plain", "depthwise", "multiplier"]))
    channels = group if kind != "plain" else group * draw(st.integers(1, 4))
    outputs = {"plain": group * draw(st.integers(1, 4)), "depthwise": group, "multiplier": 2 * group}[kind]
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, strides, dilations = draw(pair), draw(pair), draw(pair)
    pads = tuple(draw(st.integers(0, kernel[axis % 2] - 1)) for axis in range(4))
    x = builder.image(channels, draw(st.integers(7, 10)), draw(st.integers(7, 10)))
    y = builder.conv(x, outputs, kernel, strides, pads, dilations, group)
    assert difference(builder, tmp_path / "model.xml", y).max() <= 1


def transposed_difference(
    builder: GraphBuilder,
    path: Path,
    weight: tuple[int, ...],
    zero_point: int = 0,
    dilations: tuple[int, int] = (1, 1),
    group: int = 1,
    **geometry: tuple[int, ...],
) -> int:
    """The largest difference, in LSB, behind a ConvTranspose of maps (1,C,5,6) with ``weight`` (C,O/group,kh,kw)."""
    channels, per_group, *kernel = weight
    strides, pads, extra = (geometry[name] for name in ("strides", "pads", "output_padding"))
    x = builder.image(channels, 5, 6, grid(0.05, zero_point))
    size = [
        (length - 1) * strides[axis]
        + dilations[axis] * (kernel[axis] - 1)
        + 1
        + extra[axis]
        - pads[axis]
        - pads[axis + 2]
        for axis, length in enumerate((5, 6))
    ]
    parameters = builder.parameters(x, weight, 0 if group > 1 else 1, group * per_group)
    y = builder.node(
        "ConvTranspose",
        [x, *parameters],
        (1, group * per_group, *size),
        builder.sum_grid(x, channels * 2),
        dilations=dilations,
        group=group,
        **geometry,
    )
    return int(difference(builder, path, y).max())


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_transposed_convolutions_of_every_shape(tmp_path: Path, data: st.DataObject) -> None:
    draw = data.draw
    builder = GraphBuilder(draw(st.integers(0, 2**32 - 1)))
    channels, outputs, depthwise = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.booleans())
    kernel, strides = (draw(st.tuples(st.integers(low, 4), st.integers(low, 4))) for low in (2, 1))
    dilations = draw(st.sampled_from([(1, 1), (2, 1), (2, 2)]))
    pads = tuple(draw(st.integers(0, kernel[axis % 2] - 1)) for axis in range(4))
    extra = tuple(draw(st.integers(0, stride - 1)) for stride in strides)
    weight = (channels, 1 if depthwise else outputs, *kernel)
    zero_point = draw(st.sampled_from([0, 90]))
    geometry = {"strides": strides, "pads": pads, "output_padding": extra}
    group = channels if depthwise else 1
    assert transposed_difference(builder, tmp_path / "model.xml", weight, zero_point, dilations, group, **geometry) <= 1


@pytest.mark.parametrize(
    ("weight", "strides", "dilations", "pads", "output_padding"),
    [
        ((1, 1, 2, 2), (1, 2), (1, 1), (0, 1, 0, 0), (0, 1)),
        ((16, 8, 3, 3), (4, 3), (2, 1), (2, 1, 0, 0), (1, 1)),
        ((2, 5, 4, 2), (3, 3), (1, 1), (2, 1, 2, 0), (0, 2)),
        ((5, 8, 2, 2), (1, 3), (2, 2), (1, 1, 1, 1), (0, 2)),
        ((1, 4, 1, 4), (3, 3), (2, 1), (0, 1, 1, 1), (1, 1)),
    ],
)
def test_output_padding_that_no_tap_of_a_transposed_convolution_reaches(
    weight: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, int],
    pads: tuple[int, ...],
    output_padding: tuple[int, ...],
    tmp_path: Path,
) -> None:
    geometry = {"strides": strides, "pads": pads, "output_padding": output_padding}
    assert transposed_difference(GraphBuilder(0), tmp_path / "model.xml", weight, 0, dilations, **geometry) <= 1


@pytest.mark.parametrize(("axes", "shape"), [((1,), (1, 1, 2)), ((2,), (1, 3, 2)), ((3,), (1, 3, 1)), ((1, 3), (1, 1))])
@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax"])
def test_reductions_of_a_transposed_map_keep_their_axes(
    op: str, axes: tuple[int, ...], shape: tuple[int, ...], tmp_path: Path
) -> None:
    builder = GraphBuilder(2)
    x = builder.image(3, 1, 2)
    y = builder.node(op, [x], shape, builder.grid(x), axes=axes, keepdims=0)
    assert difference(builder, tmp_path / "model.xml", y).max() <= 1


@pytest.mark.parametrize(("length", "size"), [(7, 1), (13, 7), (11, 13), (14, 4), (14, 16), (7, 14), (12, 5)])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
def test_nearest_neighbours_are_the_exact_ones(
    length: int, size: int, coordinates: str, rounding: str, tmp_path: Path
) -> None:
    builder = GraphBuilder(0)
    x = builder.input((1, 2, length, 5))
    how = {"sizes": (size, 10), "mode": "nearest", "coordinates": coordinates, "rounding": rounding}
    y = builder.node("Resize", [x], (1, 2, size, 10), builder.grid(x), **how)  # type: ignore[arg-type]
    assert difference(builder, tmp_path / "model.xml", y).max() == 0
    check_grids(builder.graph(y), tmp_path / "model.xml")


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
def test_bilinear_ties_are_rounded_half_up(coordinates: str, tmp_path: Path) -> None:
    builder, x = maps(77)
    y = builder.node(
        "Resize", [x], (1, 16, 24, 24), builder.grid(x), sizes=(24, 24), mode="linear", coordinates=coordinates
    )
    differences = difference(builder, tmp_path / "model.xml", y)
    assert differences.max() <= 1
    assert np.mean(differences) < (1e-3 if coordinates == "align_corners" else 1e-9)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_arg_max_takes_the_first_of_equal_values(keepdims: int, tmp_path: Path) -> None:
    builder = GraphBuilder(0)
    x = builder.input((1, 5, 3, 4))
    shape = (1, 1, 3, 4) if keepdims else (1, 3, 4)
    y = builder.node("ArgMax", [x], shape, None, "int64", axis=1, keepdims=keepdims)
    values = np.random.default_rng(1).integers(0, 3, (1, 5, 3, 4)).astype(np.uint8)
    got = run(builder.graph(y), tmp_path / "model.xml", [values])[0]
    assert got.dtype == np.int64
    assert np.array_equal(got, np.argmax(values, axis=1).reshape(shape))


def test_outputs_that_are_moved_or_shared(tmp_path: Path) -> None:
    builder, x = maps(77)
    other = builder.conv(x, 4, (1, 1))
    frame = builder.as_frame(x)
    differences = difference(builder, tmp_path / "model.xml", x, frame, other)
    assert differences.max() == 0
    check_grids(builder.graph(x, frame, other), tmp_path / "model.xml")


def test_names_that_look_like_openvino_s_own_and_names_used_twice(tmp_path: Path) -> None:
    builder, x = maps(77)
    y = builder.conv(x, 16, (3, 3))
    z = builder.node("MaxPool", [y], (1, 16, 6, 6), builder.grid(y), **HALVES)  # type: ignore[arg-type]
    graph = builder.graph(z)
    names = {x: "Convert_7", y: "node", z: "MaxPool_3"}
    nodes = tuple(
        replace(
            node,
            name="node" if node.output == y else node.name,
            inputs=tuple(names.get(name, name) for name in node.inputs),
            output=names.get(node.output, node.output),
        )
        for node in graph.nodes
    )
    tensors = {names.get(name, name): replace(spec, name=names.get(name, name)) for name, spec in graph.tensors.items()}
    renamed = replace(graph, outputs=("MaxPool_3",), nodes=nodes, tensors=tensors)
    form.write(renamed, tmp_path / "model.xml")
    check_grids(renamed, tmp_path / "model.xml")


def test_two_nodes_may_share_a_constant(tmp_path: Path) -> None:
    builder, x = maps(0)
    shared = builder.constant(np.full((1, 16, 1, 1), 9, np.uint8), grid(0.0313))
    first = builder.node("Add", [x, shared], SAME, grid(builder.grid(x).scale[0] * 1.137, 3))
    second = builder.node("Mul", [first, shared], SAME, grid(builder.grid(x).scale[0] * 0.737, 3))
    assert difference(builder, tmp_path / "model.xml", second).max() <= 1
    check_grids(builder.graph(second), tmp_path / "model.xml")


def small() -> IntegerGraph:
    builder, x = maps(77)
    return builder.graph(builder.as_frame(x))


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.xml", "b.xml"):
        form.write(small(), tmp_path / name, {"labels": "good bad", "model_type": "Classification"})
    assert (tmp_path / "a.xml").read_bytes() == (tmp_path / "b.xml").read_bytes()
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()


def test_metadata_stands_where_model_api_reads_it(tmp_path: Path) -> None:
    form.write(small(), tmp_path / "model.xml", {"labels": "good\nvery bad", "model_type": "Classification"})
    model = openvino.Core().read_model(tmp_path / "model.xml")
    assert model.get_rt_info(["model_info", "labels"]).astype(str) == "good very_bad"
    assert model.get_rt_info(["model_info", "model_type"]).astype(str) == "Classification"


def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    graph, path = small(), tmp_path / "model.xml"
    form.write(graph, path)
    declared = form.read_grids(path)[graph.outputs[0]]
    text = path.read_text()
    assert json.dumps([declared.scale[0], declared.zero_point]) in text
    path.write_text(text.replace(f"[{declared.scale[0]}", f"[{declared.scale[0] * 1.01}"))
    with pytest.raises(ModelError, match=r"tensor '.*' (has two grids|is quantised to)"):
        form.read_grids(path)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("<net")
    with pytest.raises(ModelError, match=r"model.xml is not an OpenVINO model of edgecnn"):
        form.read_grids(tmp_path / "model.xml")
    with pytest.raises(ValueError, match=r"written to a .xml file, got model.onnx"):
        form.write(small(), tmp_path / "model.onnx")


def test_operators_without_a_form_are_refused_together_and_nothing_is_written(tmp_path: Path) -> None:
    builder, x = maps()
    y = builder.node("Lstm", [x], SAME, builder.grid(x))
    z = builder.node("Fft", [y], SAME, builder.grid(x))
    with pytest.raises(UnsupportedError, match=r"2 node\(s\) cannot be lowered") as caught:
        form.write(builder.graph(z), tmp_path / "model.xml")
    assert [refusal.op for refusal in caught.value.refusals] == ["Lstm", "Fft"]
    assert list(tmp_path.iterdir()) == []
