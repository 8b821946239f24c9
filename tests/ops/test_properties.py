"""Every operator in random shapes, strides, pads, dilations, groups and grids.

The reference is within half an LSB of the real result computed in float64 by other means; the ONNX artefact, run by
ONNX Runtime, is within 1 LSB of the reference, and equal to it where values are only moved or selected.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecnn import plugins
from edgecnn.ops import op_file
from tests.ops import graphs, meaning
from tests.ops.single import by_onnxruntime, by_reference, largest_difference, operands, random_arrays, reals

seeds = st.integers(0, 2**32 - 1)
some = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
# float32 holds a value of 255 to 2**-16; two roundings on the way there.
FLOAT32 = 1e-4


def test_every_operator_has_its_properties_tested():
    tested = {op_file(op) for op in graphs.ROUNDS | graphs.MOVES}
    assert tested == set(plugins.discover("edgecnn.ops"))
    assert set(meaning.REAL) == set(graphs.ROUNDS)
    assert set(meaning.MOVES) == set(graphs.MOVES)


@pytest.mark.parametrize("op", graphs.ROUNDS)
@some
@given(data=st.data(), seed=seeds)
def test_the_reference_rounds_the_real_result(op, data, seed):
    graph = data.draw(graphs.ROUNDS[op])
    arrays = random_arrays(graph, seed)
    spec = graph.spec(graph.outputs[0])
    real = meaning.REAL[op](graph.nodes[0], reals(graph, arrays), spec.shape)
    exact = np.clip(real / np.float64(spec.grid.scale[0]) + spec.grid.zero_point, 0, 255)
    integers = by_reference(graph, arrays)
    assert integers.dtype == np.uint8
    assert integers.shape == spec.shape
    assert np.abs(integers - exact).max() <= 0.5 + FLOAT32


@pytest.mark.parametrize("op", graphs.MOVES)
@some
@given(data=st.data(), seed=seeds)
def test_the_reference_moves_the_integers(op, data, seed):
    graph = data.draw(graphs.MOVES[op])
    arrays = random_arrays(graph, seed)
    shape = graph.spec(graph.outputs[0]).shape
    np.testing.assert_array_equal(
        by_reference(graph, arrays), meaning.MOVES[op](graph.nodes[0], operands(graph, arrays), shape)
    )


@pytest.mark.parametrize("op", graphs.ROUNDS)
@some
@given(data=st.data(), seed=seeds)
def test_onnx_is_within_one_lsb_of_the_reference(op, data, seed):
    graph = data.draw(graphs.ROUNDS[op])
    arrays = random_arrays(graph, seed)
    assert largest_difference(by_onnxruntime(graph, arrays), by_reference(graph, arrays)) <= 1


@pytest.mark.parametrize("op", graphs.MOVES)
@some
@given(data=st.data(), seed=seeds)
def test_onnx_moves_exactly_as_the_reference(op, data, seed):
    graph = data.draw(graphs.MOVES[op])
    arrays = random_arrays(graph, seed)
    assert largest_difference(by_onnxruntime(graph, arrays), by_reference(graph, arrays)) == 0


@some
@given(data=st.data(), seed=seeds)
def test_onnx_averages_exactly_as_the_reference(data, seed):
    """Means of an even number of pixels are often exactly half of a step."""
    graph = data.draw(graphs.ROUNDS["AveragePool"])
    arrays = random_arrays(graph, seed)
    assert largest_difference(by_onnxruntime(graph, arrays), by_reference(graph, arrays)) == 0


@some
@given(data=st.data(), seed=seeds)
def test_onnx_interpolates_exactly_as_the_reference(data, seed):
    """Interpolation by small factors gives halves of a step, which must not fall for an error of the positions."""
    graph = data.draw(graphs.ROUNDS["Resize"])
    arrays = random_arrays(graph, seed)
    assert largest_difference(by_onnxruntime(graph, arrays), by_reference(graph, arrays)) == 0
