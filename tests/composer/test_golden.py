"""Golden frames see what calibration saw: its extremes, and frames unlike each other."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.composer.golden import MOST, GoldenFrames, drawn

RNG = np.random.default_rng(0)


def grey(value: int) -> np.ndarray:
    return np.full((20, 30, 3), value, np.uint8)


def chosen(frames: list[np.ndarray]) -> list[np.ndarray]:
    golden = GoldenFrames()
    for frame in frames:
        golden.add(frame)
    return golden.frames


def test_extremes_are_kept_wherever_they_stand() -> None:
    common = [np.clip(128 + RNG.normal(0, 9, (20, 30, 3)), 0, 255).astype(np.uint8) for _ in range(60)]
    board = np.where(np.indices((20, 30)).sum(axis=0)[..., None] % 2, 250, 5).astype(np.uint8).repeat(3, axis=2)
    odd = [grey(3), grey(251), grey(90), board]
    for order in range(4):
        frames = common.copy()
        for index, frame in enumerate(odd):
            frames.insert((order * 17 + index * 13) % 60, frame)
        kept = {frame.tobytes() for frame in chosen(frames)}
        assert len(kept) == MOST
        # The flattest may be any of the three that are of one value.
        assert {odd[0].tobytes(), odd[1].tobytes(), board.tobytes()} <= kept


def test_frames_unlike_the_others_are_kept() -> None:
    """Sixty frames of four scenes: each scene is there."""
    scenes = [RNG.integers(0, 256, (20, 30, 3)) for _ in range(4)]
    frames = [np.clip(scenes[i % 4] + RNG.normal(0, 4, (20, 30, 3)), 0, 255).astype(np.uint8) for i in range(60)]
    nearest = [
        int(np.argmin([np.abs(frame.astype(int) - scene).mean() for scene in scenes])) for frame in chosen(frames)
    ]
    assert set(nearest) == {0, 1, 2, 3}


def test_few_frames_are_all_kept_and_none_twice() -> None:
    assert len(chosen([grey(7)])) == 1
    kept = chosen([grey(value) for value in (7, 9, 200)])
    assert sorted(int(frame[0, 0, 0]) for frame in kept) == [7, 9, 200]


def test_a_buffer_that_is_used_again_is_copied() -> None:
    golden, buffer = GoldenFrames(), grey(1)
    golden.add(buffer)
    buffer[:] = 255
    assert int(golden.frames[0].max()) == 1


@pytest.mark.parametrize("shape", [(32, 32, 3), (5, 7, 1), (16, 20, 6)])
def test_drawn_frames_reach_both_ends(shape: tuple[int, ...]) -> None:
    black, white, board, noise = drawn(shape)
    assert (black.max(), white.min()) == (0, 255)
    assert board.shape == noise.shape == shape
    assert board.flags.c_contiguous
    assert set(np.unique(board)) <= {0, 255}
    assert np.array_equal(noise, drawn(shape)[3])
    assert len(chosen([black, white, board, noise])) == 4
