"""Operator versions against a model that Google's own converter wrote."""

from __future__ import annotations

import pytest

from edgecnn.export.tflite import schema
from edgecnn.export.tflite.versions import min_runtime, operator_version


@pytest.mark.data
def test_versions_are_those_of_googles_model(data_dir):
    path = data_dir / "models" / "coral" / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    model = schema.unpack(path.read_bytes(), path)
    graph, names = model.subgraphs[0], schema.operator_names()
    pairs = set()
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        op = names[code.builtinCode]
        shapes = [tuple(graph.tensors[index].shape) for index in operator.inputs]
        scales = [1.0] * (len(shapes) + 1)
        assert operator_version(op, shapes, scales, {}) == code.version, op
        pairs.add((op, code.version))
    assert min_runtime(pairs) == "1.14.0"


@pytest.mark.parametrize(
    ("op", "shapes", "options", "version"),
    [
        ("CONV_2D", [(1, 4, 4, 8), (8, 3, 3, 4), (8,)], {}, 6),
        ("TRANSPOSE_CONV", [(4,), (8, 3, 3, 4), (1, 4, 4, 4), (8,)], {}, 3),
        ("RESIZE_BILINEAR", [(1, 4, 4, 8), (2,)], {"half_pixel_centers": True}, 3),
        ("RESIZE_BILINEAR", [(1, 4, 4, 8), (2,)], {"align_corners": True}, 2),
        ("TRANSPOSE", [(1, 2, 3, 4, 5), (5,)], {}, 4),
        ("TRANSPOSE", [(1, 2, 3, 4, 5, 6), (6,)], {}, 6),
        ("SUB", [(1, 2, 3, 4, 5), (5,)], {}, 3),
    ],
)
def test_features_that_need_a_later_version(op, shapes, options, version):
    assert operator_version(op, shapes, [0.1] * (len(shapes) + 1), options) == version


def test_the_newest_operator_decides():
    assert min_runtime([("ADD", 2), ("CONV_2D", 6), ("RELU", 2)]) == "2.9.0"
