"""What an operator meant in an old opset, it means after the import: ONNX Runtime on the file itself is the judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from edgecnn.graph import import_onnx
from edgecnn.passes.float_difference import FloatModel
from edgecnn.passes.pipeline import normalise

RNG = np.random.default_rng(5)
FOUR = np.arange(1, 5, dtype=np.float32)
SCALES = np.array([1, 1, 2, 2], np.float32)
HALVES = np.array([1, 1, 0.5, 0.5], np.float32)
KERNEL = RNG.standard_normal((2, 4, 3, 3)).astype(np.float32)

# opset, shape of y for x [1, 4, 8, 8], body, constants
CASES = [
    (9, "1,4,16,16", 'y = Upsample <mode = "nearest"> (x, scales)', {"scales": SCALES}),
    (9, "1,4,16,16", 'y = Upsample <mode = "linear"> (x, scales)', {"scales": SCALES}),
    (10, "1,4,16,16", 'y = Resize <mode = "nearest"> (x, scales)', {"scales": SCALES}),
    (10, "1,4,4,4", 'y = Resize <mode = "nearest"> (x, scales)', {"scales": HALVES}),
    (10, "1,4,16,16", 'y = Resize <mode = "linear"> (x, scales)', {"scales": SCALES}),
    (
        11,
        "1,4,16,16",
        'y = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, roi, scales)',
        {"scales": SCALES, "roi": np.zeros(0, np.float32)},
    ),
    (
        11,
        "1,4,16,16",
        'y = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'
        " (x, roi, none, sizes)",
        {"sizes": np.array([1, 4, 16, 16]), "roi": np.zeros(0, np.float32), "none": np.zeros(0, np.float32)},
    ),
    (9, "1,4,8,8", "y = Clip <min = -0.5, max = 0.5> (x)", {}),
    (9, "1,4,8,8", "y = Clip <max = 0.5> (x)", {}),
    (9, "1,4,10,9", "y = Pad <pads = [0,0,1,0,0,0,1,1], value = 0.5> (x)", {}),
    (9, "1,4,10,10", 'y = Pad <mode = "reflect", pads = [0,0,1,1,0,0,1,1]> (x)', {}),
    (9, "1,2,8,8", "y = Slice <axes = [1], starts = [-3], ends = [-1]> (x)", {}),
    (9, "1,4,8,8", "y = BatchNormalization <epsilon = 0.01> (x, four, four, four, four)", {"four": FOUR}),
    (9, "1,4,8,8", "y = Dropout <ratio = 0.3> (x)", {}),
    (9, "1,4,8,8", "y = Softmax (x)", {}),
    (12, "1,4,8,8", "y = Softmax <axis = 3> (x)", {}),
    (9, "1,256", "f = Flatten (x) y = Softmax <axis = 1> (f)", {}),
    (
        9,
        "1,4,64",
        "s = Squeeze <axes = [0]> (x) u = Unsqueeze <axes = [0]> (s) y = Reshape (u, t)",
        {"t": np.array([0, 4, -1])},
    ),
    (9, "1,4,8", "y = ReduceMean <axes = [2], keepdims = 0> (x)", {}),
    (9, "1,4,1,1", "y = ReduceSum <axes = [-1, -2]> (x)", {}),
    (11, "1,1,8,8", "y = ReduceMax <axes = [1]> (x)", {}),
    (9, "1,4,8,8", "a, b = Split <axis = 1> (x) y = Concat <axis = 1> (b, a)", {}),
    (9, "1,4,8,8", "a, b = Split <axis = 1, split = [1, 3]> (x) y = Concat <axis = 1> (b, a)", {}),
    (9, "1,4,8,8", "y = PRelu (x, slope)", {"slope": FOUR.reshape(4, 1, 1) / 10}),
    (9, "1,1,16,16", "y = DepthToSpace <blocksize = 2> (x)", {}),
    (9, "1,16,4,4", "y = SpaceToDepth <blocksize = 2> (x)", {}),
    (9, "1,4,4,4", "y = AveragePool <kernel_shape = [3,3], strides = [2,2], pads = [0,0,1,1]> (x)", {}),
    (
        10,
        "1,4,4,4",
        "y = AveragePool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1, count_include_pad = 0> (x)",
        {},
    ),
    (10, "1,4,4,4", "y = MaxPool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1> (x)", {}),
    (9, "1,4,8,8", 'y = MaxPool <kernel_shape = [3,3], auto_pad = "SAME_LOWER"> (x)', {}),
    (9, "1,2,8,8", 'y = Conv <auto_pad = "SAME_UPPER"> (x, kernel)', {"kernel": KERNEL}),
    (
        9,
        "1,2,16,16",
        'y = ConvTranspose <strides = [2,2], auto_pad = "SAME_UPPER"> (x, kernel)',
        {"kernel": RNG.standard_normal((4, 2, 3, 3)).astype(np.float32)},
    ),
    (
        11,
        "1,2,17,17",
        "y = ConvTranspose <strides = [2,2], pads = [0,0,1,1], output_padding = [1,1]> (x, kernel)",
        {"kernel": RNG.standard_normal((4, 2, 3, 3)).astype(np.float32)},
    ),
    (
        9,
        "1,3",
        "f = Flatten (x) y = Gemm <transB = 1, alpha = 2.0> (f, w, b)",
        {"w": np.ones((3, 256), np.float32), "b": FOUR[:3]},
    ),
    (9, "1,4,8,8", "y = HardSigmoid <alpha = 0.3, beta = 0.4> (x)", {}),
    (14, "1,4,8,8", "y = HardSwish (x)", {}),
    (12, "1,4,8,8", "y = Pow (x, two)", {"two": np.int64(2)}),
    (9, "1,4,8,8", "y = Max (x, half)", {"half": np.float32(0.5)}),
    (9, "1,1,8,8", "a = ArgMax <axis = 1> (x) y = Cast <to = 7> (a)", {}),
]


@pytest.mark.parametrize("index", range(len(CASES)), ids=lambda index: f"{CASES[index][0]}-{CASES[index][2][:40]}")
def test_meaning_is_kept(index: int, tmp_path: Path) -> None:
    opset, shape, body, constants = CASES[index]
    kind = "int64" if "ArgMax" in body else "float"
    text = f'<ir_version: 5, opset_import: ["" : {opset}]>\ng (float[1,4,8,8] x) => ({kind}[{shape}] y) {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    for name, content in constants.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(content), name))
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    feed = {"x": RNG.standard_normal((1, 4, 8, 8)).astype(np.float32)}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    (wanted,) = onnxruntime.InferenceSession(str(path), options).run(None, feed)
    model = import_onnx(path)
    normalise(model)
    (found,) = FloatModel(model)(feed)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-5 * max(1.0, np.abs(wanted).max())
