"""Which weights form pairs, rounding that keeps their sums small, and sums that stay in int32."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn import exact_sums
from edgecnn.affine import requantise
from edgecnn.errors import EngineError
from edgecnn.exact_sums import (
    PAIR,
    TOP,
    Rows,
    bias_room,
    broken_pairs,
    broken_sums,
    fitting_bias,
    largest_pairs,
    least_scales,
    nearest,
)
from edgecnn.integer_graph import IntegerGraph
from edgecnn.runtime.engines.reference import run_graph
from tests.ops.single import convolution, uint8

LAYOUTS = [
    Rows("Conv", 1, (4, 6, 3, 3)),
    Rows("Conv", 1, (4, 3, 3, 3)),
    Rows("Conv", 2, (4, 5, 2, 1)),
    Rows("Conv", 1, (4, 1, 5, 5)),
    Rows("Conv", 3, (6, 1, 3, 3)),
    Rows("ConvTranspose", 1, (5, 4, 2, 2)),
    Rows("ConvTranspose", 2, (6, 4, 3, 3)),
    Rows("Gemm", 1, (7, 9)),
]


def pairs(layout: Rows) -> set[tuple[int, int]]:
    return {
        (place, int(mate)) for mates in layout.partners() for place, mate in enumerate(mates.tolist()) if place < mate
    }


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_rows_can_be_joined_again(layout: Rows) -> None:
    weight = np.arange(np.prod(layout.shape)).reshape(layout.shape)
    rows = layout.split(weight)
    assert rows.shape[0] == layout.group
    np.testing.assert_array_equal(layout.join(rows), weight)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_partners_are_mutual(layout: Rows) -> None:
    for mates in layout.partners():
        np.testing.assert_array_equal(mates[mates], np.arange(mates.size))


def test_pairs_by_hand() -> None:
    # Places are (input, tap): two inputs with two taps each.
    assert pairs(Rows("Conv", 1, (1, 2, 1, 2))) == {(0, 2), (1, 3)}
    # Three inputs, two taps: 0 and 1 at each tap, and in the order tap, input: (t0 c0, t0 c1), (t0 c2, t1 c0), ...
    assert pairs(Rows("Conv", 1, (1, 3, 1, 2))) == {(0, 2), (1, 3), (4, 1), (3, 5)} - {(4, 1)} | {(1, 4)}
    assert pairs(Rows("ConvTranspose", 1, (3, 1, 1, 2))) == {(0, 2), (1, 3)}
    assert pairs(Rows("Gemm", 1, (1, 5))) == {(0, 1), (2, 3)}
    # One input: along the taps, but not where each has its own output.
    assert pairs(Rows("Conv", 1, (2, 1, 1, 3))) == {(0, 1)}
    assert pairs(Rows("Conv", 4, (4, 1, 3, 3))) == set()
    assert pairs(Rows("Conv", 4, (8, 1, 1, 3))) == {(0, 1)}
    assert pairs(Rows("Conv", 1, (4, 3, 1, 1))) == {(0, 1)}


@settings(max_examples=200)
@given(st.sampled_from(LAYOUTS), st.floats(1, 400), st.integers(0, 10**6))
def test_rounding_keeps_every_pair(layout: Rows, size: float, seed: int) -> None:
    steps = layout.split(np.random.default_rng(seed).uniform(-size, size, layout.shape))
    integers, partners = nearest(steps, layout.partners()), layout.partners()
    assert np.array_equal(integers, np.rint(integers))
    assert np.abs(integers).max() <= TOP
    assert largest_pairs(integers, partners).max() <= PAIR
    # Nobody changes sides, and whoever is in no large pair is rounded as ever.
    assert (integers * steps >= 0).all()
    plain = np.clip(np.rint(steps), -TOP, TOP)
    small = np.ones(steps.shape, bool)
    for mates in partners:
        small &= (np.abs(plain + plain[..., mates]) <= PAIR) | (mates == np.arange(mates.size))
    np.testing.assert_array_equal(integers[small], plain[small])


@given(st.floats(0, 140), st.floats(0, 140), st.sampled_from([1, -1]))
def test_a_pair_gets_the_nearest_integers_there_are(first: float, second: float, sign: int) -> None:
    steps = np.asarray([[first, second]]) * sign
    got = nearest(steps, Rows("Gemm", 1, (1, 2)).partners())
    grid = np.stack(np.meshgrid(np.arange(TOP + 1), np.arange(TOP + 1)), axis=-1).reshape(-1, 2)
    allowed = grid[grid.sum(axis=1) <= PAIR] * sign
    wanted = np.clip(steps, -TOP, TOP)  # what lies beyond is cut off first
    assert np.square(got - wanted).sum() <= np.square(allowed - wanted).sum(axis=1).min() + 1e-9


@given(st.sampled_from(LAYOUTS), st.integers(0, 10**6))
def test_on_the_least_scales_rounding_moves_no_weight_by_more_than_half(layout: Rows, seed: int) -> None:
    weight = layout.split(np.random.default_rng(seed).standard_normal(layout.shape))
    rows, partners = weight.reshape(-1, weight.shape[2]), layout.partners()
    steps = rows / least_scales(rows, partners)[:, None]
    assert np.abs(nearest(steps, partners) - steps).max() <= 0.5 + 1e-9
    closer = np.abs(rows).max(axis=1) / TOP
    assert (least_scales(rows, partners) >= closer).all()


def network(weight: np.ndarray, bias: int = 0) -> IntegerGraph:
    x = uint8("x", (1, weight.shape[1]), 1.0, 0)
    y = uint8("y", (1, len(weight)), 1000.0, 0)
    biases, scales = np.full(len(weight), bias, np.int32), [1.0] * len(weight)
    return convolution("Gemm", x, weight.astype(np.int8), biases, scales, y, wide_pairs=True)


def test_wide_pairs_are_found_and_named() -> None:
    assert broken_pairs(network(np.asarray([[64, 64, -127, -1]]))) == []
    ((node, reason),) = broken_pairs(network(np.asarray([[1, 2, 3, 4], [9, 9, 127, 2]])))
    assert (node.name, reason) == ("gemm", "two paired weights add up to 129, and at most 128 is exact everywhere.")


def test_sums_that_leave_int32_are_found_and_named() -> None:
    long = np.full((2, 70000), 127)
    long[0] = 1
    ((node, reason),) = broken_sums(network(long))
    assert (node.name, reason) == ("gemm", "the sums of output channel 1 can leave int32.")
    assert broken_sums(network(np.full((1, 4), 100), 2**31 - 1 - 255 * 400)) == []
    assert len(broken_sums(network(np.full((1, 4), 100), 2**31 - 255 * 400))) == 1


def test_the_reference_engine_notices_such_a_sum() -> None:
    graph = network(np.full((1, 70000), 127))
    run_graph(graph, [np.full((1, 70000), 200, np.uint8)])
    with pytest.raises(EngineError, match=r"Gemm 'gemm': .*a sum of products leaves int32"):
        run_graph(graph, [np.full((1, 70000), 255, np.uint8)])


def test_requantising_nothing_is_nothing() -> None:
    assert requantise(np.empty((0, 3), np.int64), np.ones(1, np.float32), 3).shape == (0, 3)


def test_a_bias_is_cut_off_where_its_sums_end() -> None:
    graph = network(np.full((1, 4), 100))
    room = int(bias_room(np.full((1, 4), 100))[0])
    wanted = np.asarray([1e12])
    assert fitting_bias(graph, graph.nodes[0], wanted).tolist() == [room]
    assert fitting_bias(graph, graph.nodes[0], -wanted).tolist() == [-room]
    assert fitting_bias(graph, graph.nodes[0], np.asarray([-7.0])).tolist() == [-7]


def test_the_limits_are_those_of_16_bits() -> None:
    assert exact_sums.LARGEST_INPUT * PAIR < 2**15 <= exact_sums.LARGEST_INPUT * (PAIR + 1)
