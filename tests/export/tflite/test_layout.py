"""The algebra of views: relabelling moves nothing, and what it says of memory is true."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.export.tflite.layout import (
    CHANNELS_LAST,
    View,
    absorb,
    move,
    order_of,
    positions,
    reshaped,
    stored,
    transposed,
)

IDENTITY = (0, 1, 2, 3)


def logical(view: View, memory: np.ndarray) -> np.ndarray:
    """Read the logical tensor out of memory."""
    atoms = memory.reshape(view.atoms)
    return atoms.transpose(view.sequence(range(len(view.axes)))).reshape(view.shape)


def test_a_transpose_to_nchw_moves_nothing():
    view = transposed(stored("x", (1, 5, 6, 3), IDENTITY), (0, 3, 1, 2))
    assert view.shape == (1, 3, 5, 6)
    assert view.lies_in(CHANNELS_LAST)
    assert order_of(view) == CHANNELS_LAST


def test_flattening_a_pooled_map_is_free():
    view = reshaped(stored("x", (1, 8, 1, 1), CHANNELS_LAST), (1, 8))
    assert view is not None
    assert view.lies_in((0, 1))


def test_flattening_a_map_permutes_the_columns():
    view = reshaped(stored("x", (1, 3, 2, 2), CHANNELS_LAST), (1, 12))
    assert view is not None
    assert order_of(view) is None
    free, columns = absorb(view, 1, (0, 1))
    assert free.lies_in((0, 1))
    # Memory holds pixel by pixel, the logical columns run channel by channel.
    assert columns.tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


def test_a_channel_shuffle_is_one_transpose_of_rank_3():
    view = stored("x", (1, 8, 5, 6), CHANNELS_LAST)
    split = reshaped(view, (1, 2, 4, 5, 6))
    assert split is not None
    joined = reshaped(transposed(split, (0, 2, 1, 3, 4)), (1, 8, 5, 6))
    assert joined is not None
    assert not joined.lies_in(CHANNELS_LAST)
    step = move(joined, CHANNELS_LAST)
    assert (step.shape, step.perm) == ((30, 2, 4), (0, 2, 1))


def test_a_layout_change_permutes_the_dimensions_of_the_tensor_itself():
    step = move(stored("x", (1, 8, 5, 6), CHANNELS_LAST), IDENTITY)
    assert (step.shape, step.perm) == ((1, 5, 6, 8), (0, 3, 1, 2))


def test_a_reshape_across_axes_that_do_not_follow_each_other_is_none():
    assert reshaped(stored("x", (1, 6, 5, 2), CHANNELS_LAST), (1, 5, 12)) is None


def test_positions_of_an_axis_in_one_piece_are_in_order():
    assert positions(stored("x", (1, 4, 2, 2), CHANNELS_LAST), 1).tolist() == [0, 1, 2, 3]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_views_agree_with_numpy(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    expected = np.arange(np.prod(shape)).reshape(shape)
    memory, view = expected.transpose(order), stored("x", shape, order)
    for _ in range(data.draw(st.integers(0, 4))):
        if data.draw(st.booleans()):
            perm = tuple(data.draw(st.permutations(range(len(view.axes)))))
            view, expected = transposed(view, perm), expected.transpose(perm)
            continue
        at = data.draw(st.integers(0, expected.ndim - 1))
        size = expected.shape[at]
        factor = data.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        target = (*expected.shape[:at], factor, size // factor, *expected.shape[at + 1 :])
        if data.draw(st.booleans()):
            target = (expected.size // target[-1], target[-1])
        found = reshaped(view, target)
        if found is not None:
            view, expected = found, expected.reshape(target)
    assert (logical(view, memory) == expected).all()
    goal = tuple(data.draw(st.permutations(range(len(view.axes)))))
    step = move(view, goal)
    placed = memory.reshape(step.shape).transpose(step.perm).reshape(view.size_in(goal))
    assert placed.shape == expected.transpose(goal).shape
    assert (placed == expected.transpose(goal)).all()
