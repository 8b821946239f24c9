"""Grids and tensor specs: what they accept, what they refuse, and their JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgecnn.tensor import DTYPES, QuantParams, TensorSpec


def test_per_tensor_scale_is_rounded_to_float32():
    grid = QuantParams.per_tensor(0.1, 7)
    assert grid.scale == (float(np.float32(0.1)),)
    assert (grid.zero_point, grid.axis) == (7, None)
    assert grid.scales.dtype == np.float32
    assert grid.scales.shape == (1,)


def test_equal_grids_are_equal_and_hash_alike():
    assert QuantParams.per_tensor(0.1) == QuantParams.per_tensor(float(np.float32(0.1)))
    assert len({QuantParams.per_tensor(0.1, 3), QuantParams.per_tensor(0.1, 3)}) == 1


def test_per_channel_keeps_its_axis():
    grid = QuantParams.per_channel([0.5, 0.25, 2.0], axis=1)
    assert grid == QuantParams((0.5, 0.25, 2.0), 0, 1)
    np.testing.assert_array_equal(grid.scales, np.asarray([0.5, 0.25, 2.0], np.float32))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 1e-50])
def test_a_scale_must_be_finite_and_positive(scale):
    with pytest.raises(ValueError, match="finite and positive"):
        QuantParams.per_tensor(scale)
    with pytest.raises(ValueError, match="finite and positive"):
        QuantParams.per_channel([1.0, scale], 0)


def test_inconsistent_grids_are_refused():
    with pytest.raises(ValueError, match="per-tensor grid has one scale, got 2"):
        QuantParams((1.0, 2.0))
    with pytest.raises(ValueError, match="zero point 0, got 3"):
        QuantParams((1.0, 2.0), 3, 0)
    with pytest.raises(ValueError, match="non-empty 1-D"):
        QuantParams(())


@pytest.mark.parametrize(
    "grid",
    [QuantParams.per_tensor(0.1, 128), QuantParams.per_channel([0.1, 1 / 3, 1e-30], 1)],
    ids=["tensor", "channel"],
)
def test_json_keeps_every_bit_of_a_grid(grid):
    assert QuantParams.from_json(json.loads(json.dumps(grid.as_json()))) == grid


def test_json_of_a_spec():
    spec = TensorSpec("x", (1, 3, 8, 8), "uint8", QuantParams.per_tensor(1 / 255))
    indices = TensorSpec("classes", (1,), "int64")
    for item in (spec, indices):
        assert TensorSpec.from_json(json.loads(json.dumps(item.as_json()))) == item


@pytest.mark.parametrize("shape", [(1, 0), (-1, 3), (1, "N"), (1.0, 2)])
def test_a_shape_must_be_static(shape):
    with pytest.raises(ValueError, match="tensor 'x': every dimension must be a positive integer"):
        TensorSpec("x", shape, "uint8")


def test_an_unknown_dtype_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"tensor 'x': dtype must be one of uint8, int8, int32, .* got 'float16'"):
        TensorSpec("x", (1,), "float16")


def test_a_tensor_without_a_grid_says_so():
    with pytest.raises(ValueError, match="tensor 'x' of dtype int64 has no grid"):
        _ = TensorSpec("x", (1,), "int64").grid
    assert TensorSpec("x", (), "uint8", QuantParams.per_tensor(1.0)).grid == QuantParams.per_tensor(1.0)


def test_dtype_ranges_are_those_of_numpy():
    for name, bounds in DTYPES.items():
        if bounds is not None:
            assert bounds == (np.iinfo(name).min, np.iinfo(name).max)
