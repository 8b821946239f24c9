from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest

from edgecnn.errors import ModelError, UnsupportedError
from edgecnn.graph import import_onnx
from edgecnn.passes.float_difference import FloatModel
from edgecnn.passes.pipeline import normalise


def write(folder: Path, text: str, opset: int = 18, ir_version: int = 8, **constants: np.ndarray) -> Path:
    proto = onnx.parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["" : {opset}]>\n{text}')
    for name, content in constants.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(content), name))
    path = folder / "model.onnx"
    onnx.save(proto, path)
    return path


def ops(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def shape(value: ir.Value) -> tuple[int, ...]:
    return tuple(value.shape.numpy())


RELU = "g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu (x) }"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html></html>", "HTML"),
        (b"not a model at all", "not an ONNX model|no ONNX graph"),
        (b"\x80\x04\x95pickle", "not an ONNX model|no ONNX graph"),
    ],
)
def test_what_is_no_model_is_refused_plainly(tmp_path, content, message) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        import_onnx(path)


def test_missing_and_cut_off_files(tmp_path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        import_onnx(tmp_path / "none.onnx")
    path = write(
        tmp_path, "g (float[1,3,8,8] x) => (float[1,4,8,8] y) { y = Conv (x, w) }", w=np.ones((4, 3, 1, 1), "f4")
    )
    content = path.read_bytes()
    for end in (10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        with pytest.raises(ModelError):
            import_onnx(path)


@pytest.mark.parametrize("opset", [8, 24])
def test_opsets_outside_9_to_23_are_refused(tmp_path, opset) -> None:
    with pytest.raises(ModelError, match=f"opset {opset}"):
        import_onnx(write(tmp_path, RELU, opset))


@pytest.mark.parametrize("opset", range(9, 24))
def test_opsets_9_to_23_load(tmp_path, opset) -> None:
    model = import_onnx(write(tmp_path, RELU, opset))
    assert ops(model) == {"Relu": 1}
    assert model.opset_imports[""] == max(opset, 18)


def test_opset_9_operators_are_converted(tmp_path) -> None:
    path = write(
        tmp_path,
        """g (float[1,4,8,8] x, float[4] s) => (float[1,4,16,16] y) {
            a = Upsample <mode = "nearest"> (x, scales)
            b = Slice <axes = [1], starts = [0], ends = [4]> (a)
            c = Clip <min = 0.0, max = 6.0> (b)
            d = Pad <pads = [0,0,1,1,0,0,1,1]> (c)
            e = BatchNormalization (d, s, s, s, s)
            y = MaxPool <kernel_shape = [3,3]> (e)
        }""",
        9,
        4,
        scales=np.array([1, 1, 2, 2], np.float32),
        s=np.arange(1, 5, dtype=np.float32),
    )
    model = import_onnx(path)
    assert [value.name for value in model.graph.inputs] == ["x"], "an input with a default is a constant"
    normalise(model)
    x = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(path.read_bytes()).run(None, {"x": x})
    (found,) = FloatModel(model)({"x": x})
    assert np.abs(wanted - found).max() <= 1e-5


def test_ir_version_3_lists_its_constants_as_inputs(tmp_path) -> None:
    text = "g (float[1,3,8,8] x, float[4,3,1,1] w) => (float[1,4,8,8] y) { y = Conv (x, w) }"
    model = import_onnx(write(tmp_path, text, 9, 3, w=np.ones((4, 3, 1, 1), np.float32)))
    normalise(model)
    (found,) = FloatModel(model)({"x": np.ones((1, 3, 8, 8), np.float32)})
    assert (found == 3).all()


def test_opset_10_resize_and_11_softmax_keep_their_meaning(tmp_path) -> None:
    x = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)
    path = write(
        tmp_path,
        'g (float[1,4,8,8] x) => (float[1,4,16,16] y) { y = Resize <mode = "linear"> (x, scales) }',
        10,
        scales=np.array([1, 1, 2, 2], np.float32),
    )
    (wanted,) = onnxruntime.InferenceSession(path.read_bytes()).run(None, {"x": x})
    assert np.abs(FloatModel(import_onnx(path))({"x": x})[0] - wanted).max() <= 1e-5
    body = "s = Squeeze <axes = [0]> (x) t = Unsqueeze <axes = [0]> (s) y = Softmax <axis = 2> (t)"
    path = write(tmp_path, f"g (float[1,4,8,8] x) => (float[1,4,8,8] y) {{ {body} }}", 12)
    (wanted,) = onnxruntime.InferenceSession(path.read_bytes()).run(None, {"x": x})
    model = import_onnx(path)
    normalise(model)
    assert np.abs(FloatModel(model)({"x": x})[0] - wanted).max() <= 1e-6


def test_dynamic_batch_becomes_1_and_shape_chains_fold(tmp_path) -> None:
    path = write(
        tmp_path,
        """g (float[batch,4,8,8] x) => (float[batch,rest] y) {
            s = Shape (x)
            n = Gather <axis = 0> (s, zero)
            u = Unsqueeze (n, axes)
            t = Concat <axis = 0> (u, minus)
            y = Reshape (x, t)
        }""",
        zero=np.int64(0),
        axes=np.array([0]),
        minus=np.array([-1]),
    )
    model = import_onnx(path)
    assert ops(model) == {"Reshape": 1}
    assert shape(model.graph.inputs[0]) == (1, 4, 8, 8)
    assert shape(model.graph.outputs[0]) == (1, 256)


def test_other_dynamic_dimensions_need_a_shape(tmp_path) -> None:
    path = write(tmp_path, "g (float[n,3,height,width] x) => (float[n,3,height,width] y) { y = Relu (x) }")
    with pytest.raises(ModelError, match=r"2 \('height'\), 3 \('width'\).*--input-shape"):
        import_onnx(path)
    for given in ((1, 3, 32, 48), {"x": (1, 3, 32, 48)}):
        assert shape(import_onnx(path, given).graph.outputs[0]) == (1, 3, 32, 48)
    with pytest.raises(ModelError, match="no input is called z"):
        import_onnx(path, {"z": (1, 3, 32, 48)})
    with pytest.raises(ModelError, match="fixes dimension 1 to 3"):
        import_onnx(path, (1, 4, 32, 48))
    with pytest.raises(ModelError, match="4 dimensions"):
        import_onnx(path, (3, 32, 48))
    with pytest.raises(ModelError, match="positive"):
        import_onnx(path, (1, 3, 0, 48))
    with pytest.raises(ModelError, match="batch 2"):
        import_onnx(path, (2, 3, 32, 48))


def test_two_inputs_need_names(tmp_path) -> None:
    path = write(tmp_path, "g (float[1,3] a, float[1,k] b) => (float[1,3] y) { y = Add (a, b) }")
    with pytest.raises(ModelError, match="inputs a, b"):
        import_onnx(path, (1, 3))
    assert shape(import_onnx(path, {"b": (1, 1)}).graph.inputs[1]) == (1, 1)


def test_nan_and_infinity_are_refused_by_name(tmp_path) -> None:
    weight = np.ones((4, 3, 1, 1), np.float32)
    weight[0, 0] = np.nan
    weight[1, 0] = np.inf
    path = write(tmp_path, "g (float[1,3,8,8] x) => (float[1,4,8,8] y) { y = Conv (x, kernel) }", kernel=weight)
    with pytest.raises(ModelError, match=r"'kernel'.*2 value"):
        import_onnx(path)


def misdeclared(path: Path, name: str, data_type: int = 0, dims: Sequence[int] = ()) -> Path:
    """Give a constant of the model another type or shape than its bytes have."""
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            tensor.data_type = data_type or tensor.data_type
            tensor.dims[:] = dims or tensor.dims
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize(
    "fields",
    [
        {"data_type": onnx.TensorProto.FLOAT16},
        {"data_type": onnx.TensorProto.DOUBLE},
        {"data_type": onnx.TensorProto.INT8},
        {"dims": [4, 3, 3, 3]},
        {"dims": [4, 3]},
    ],
    ids=str,
)
def test_constants_whose_bytes_do_not_fit_are_refused_by_name(fields: dict[str, Any], tmp_path: Path) -> None:
    text = "g (float[1,3,8,8] x) => (float[1,4,8,8] y) { y = Conv (x, kernel) }"
    path = write(tmp_path, text, kernel=np.ones((4, 3, 1, 1), np.float32))
    with pytest.raises(ModelError, match=r"(tensor 'kernel' cannot be read: .* fetch it again|Conv|kernel)"):
        normalise(import_onnx(misdeclared(path, "kernel", **fields)))


def test_constants_of_nodes_whose_bytes_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    damaged = onnx.numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "value")
    damaged.data_type = onnx.TensorProto.FLOAT16
    path = write(tmp_path, "g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Mul (x, scale) }")
    proto = onnx.load(path)
    proto.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["scale"], "factor", value=damaged))
    onnx.save(proto, path)
    with pytest.raises(ModelError, match=r"tensor 'factor/value' cannot be read"):
        import_onnx(path)


@pytest.mark.parametrize(
    "body",
    [
        "y = Relu (x) k = Identity (c)",
        "y = Relu (x) k = Add (c, c)",
        "y = Relu (x) s = Shape (x) t = Cast <to = 1> (s) k = ReduceSum <keepdims = 0> (t)",
    ],
)
def test_outputs_that_do_not_depend_on_the_picture_are_refused_by_name(body: str, tmp_path: Path) -> None:
    text = f"g (float[1,3,8,8] x) => (float[1,3,8,8] y, float k) {{ {body} }}"
    path = write(tmp_path, text.replace("float k", "float[2] k") if "c)" in body else text, c=np.ones(2, np.float32))
    with pytest.raises(ModelError, match=r"output\(s\) 'k' do not depend on the model's input"):
        import_onnx(path)


def test_weights_stored_as_integers_become_float_weights(tmp_path: Path) -> None:
    kernel = np.random.default_rng(3).integers(-100, 100, (4, 3, 1, 1), np.int8)
    scales, zeros = np.asarray([0.1, 0.2, 0.3, 0.4], np.float32), np.asarray([0, 1, -2, 3], np.int8)
    path = write(
        tmp_path,
        """g (float[1,3,8,8] x) => (float[1,4,8,8] y) {
            w = DequantizeLinear <axis = 0> (kernel, scales, zeros)
            b = DequantizeLinear (bias, step)
            y = Conv (x, w, b)
        }""",
        kernel=kernel,
        scales=scales,
        zeros=zeros,
        bias=np.asarray([100, -7, 3, 0], np.int32),
        step=np.float32(0.5),
    )
    model = import_onnx(path)
    assert ops(model) == {"Conv": 1}
    picture = np.random.default_rng(4).standard_normal((1, 3, 8, 8)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(path).run(None, {"x": picture})
    assert np.allclose(FloatModel(model)({"x": picture})[0], wanted, atol=1e-4)


def test_fake_quantised_weights_are_computed_and_what_follows_too(tmp_path: Path) -> None:
    kernel = np.random.default_rng(3).standard_normal((3, 4)).astype(np.float32)
    path = write(
        tmp_path,
        """g (float[1,3] x) => (float[1,4] y) {
            q = QuantizeLinear (kernel, step, zero)
            d = DequantizeLinear (q, step, zero)
            t = Transpose <perm = [1, 0]> (d)
            r = QuantizeLinear <axis = 0> (t, steps, zeros)
            e = DequantizeLinear <axis = 0> (r, steps, zeros)
            y = Gemm <transB = 1> (x, e)
        }""",
        kernel=kernel,
        step=np.float32(0.02),
        zero=np.int8(3),
        steps=np.asarray([0.01, 0.02, 0.03, 0.04], np.float32),
        zeros=np.zeros(4, np.uint8) + np.uint8(128),
    )
    model = import_onnx(path)
    assert ops(model) == {"Gemm": 1}
    picture = np.random.default_rng(4).standard_normal((1, 3)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(path).run(None, {"x": picture})
    assert np.allclose(FloatModel(model)({"x": picture})[0], wanted, atol=1e-5)


def test_weights_stored_in_blocks_become_float_weights(tmp_path: Path) -> None:
    kernel = np.random.default_rng(3).integers(0, 255, (6, 4), np.uint8)
    scales = np.random.default_rng(5).uniform(0.1, 1, (3, 4)).astype(np.float32)
    path = write(
        tmp_path,
        """g (float[1,6] x) => (float[1,4] y) {
            d = DequantizeLinear <axis = 0, block_size = 2> (kernel, scales)
            y = MatMul (x, d)
        }""",
        opset=21,
        ir_version=10,
        kernel=kernel,
        scales=scales,
    )
    model = import_onnx(path)
    assert ops(model) == {"MatMul": 1}
    picture = np.random.default_rng(4).standard_normal((1, 6)).astype(np.float32)
    assert np.allclose(FloatModel(model)({"x": picture})[0], picture @ (kernel * np.repeat(scales, 2, 0)), rtol=1e-4)


def test_quantised_activations_stay_to_be_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """g (float[1,3] x) => (float[1,3] y) {
            q = QuantizeLinear (x, step)
            y = DequantizeLinear (q, step)
        }""",
        step=np.float32(0.02),
    )
    model = import_onnx(path)
    with pytest.raises(UnsupportedError, match=r"DequantizeLinear .*quantised already"):
        normalise(model)


def test_shapes_that_depend_on_content_are_refused(tmp_path) -> None:
    path = write(tmp_path, "g (float[1,3,8,8] x) => (int64[4,n] y) { y = NonZero (x) }")
    with pytest.raises(ModelError, match=r"'y'.*NonZero"):
        import_onnx(path)


def test_foreign_operators_and_control_flow_are_all_named(tmp_path) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18, "acme" : 1]>\n'
        "g (float[1,3] x) => (float[1,3] y) { a = acme.Magic (x) y = acme.More (a) }"
    )
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    with pytest.raises(UnsupportedError) as error:
        import_onnx(path)
    assert [refusal.op for refusal in error.value.refusals] == ["Magic", "More"]
    assert "acme" in error.value.refusals[0].reason


def test_half_precision_becomes_float32(tmp_path) -> None:
    path = write(
        tmp_path,
        "g (float16[1,3,8,8] x) => (float16[1,4,8,8] y) { a = Conv (x, w) y = Relu (a) }",
        w=np.full((4, 3, 1, 1), 0.1, np.float16),
    )
    model = import_onnx(path)
    normalise(model)
    assert {value.dtype for node in model.graph for value in node.outputs} == {ir.DataType.FLOAT}
    (found,) = FloatModel(model)({"x": np.ones((1, 3, 8, 8), np.float32)})
    assert np.allclose(found, 3 * np.float32(np.float16(0.1)))


def external(folder: Path, location: str) -> Path:
    path = write(
        folder, "g (float[1,3,8,8] x) => (float[1,4,8,8] y) { y = Conv (x, w) }", w=np.ones((4, 3, 1, 1), "f4")
    )
    proto = onnx.load(path)
    tensor = proto.graph.initializer[0]
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(content)))):
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())
    (folder / "weights.bin").write_bytes(content)
    return path


def test_external_data_is_read_from_beside_the_model_only(tmp_path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    model = import_onnx(external(folder, "weights.bin"))
    (weight,) = model.graph.initializers.values()
    assert np.array_equal(weight.const_value.numpy(), np.ones((4, 3, 1, 1), np.float32))
    (tmp_path / "secret.bin").write_bytes(b"\0" * 48)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    for location in ("../secret.bin", str(tmp_path / "secret.bin"), "link.bin"):
        with pytest.raises(ModelError, match="refused"):
            import_onnx(external(folder, location))
    with pytest.raises(ModelError, match="missing"):
        import_onnx(external(folder, "gone.bin"))


def test_metadata_is_kept(tmp_path) -> None:
    path = write(tmp_path, RELU)
    proto = onnx.load(path)
    proto.metadata_props.add(key="names", value="{0: 'person'}")
    onnx.save(proto, path)
    model = import_onnx(path)
    normalise(model)
    assert model.metadata_props["names"] == "{0: 'person'}"


def test_names_are_unique_even_where_the_file_has_none(tmp_path) -> None:
    model = import_onnx(
        write(tmp_path, "g (float[1,3] x) => (float[1,3] y) { a = Relu (x) b = Tanh (a) y = Relu (b) }")
    )
    names = [node.name for node in model.graph]
    assert all(names)
    assert len(set(names)) == 3
