from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from edgecnn.composer.calibration import Calibration
from edgecnn.errors import DataError
from edgecnn.manifest import Resize
from edgecnn.vision.frames import Frames
from edgecnn.vision.preprocess import Preprocess

SMALL = Preprocess((2, 2), 3)


def frame(value: int, channels: int = 3) -> np.ndarray:
    return np.full((4, 4, channels), value, np.uint8)


def stream(*values: int, channels: int = 3) -> Iterator[np.ndarray]:
    """Yield frames in one buffer, as a camera does."""
    buffer = frame(0, channels)
    for value in values:
        buffer[:] = value
        yield buffer


def values(calibration: Calibration, samples: int = 0) -> list[int]:
    return [int(item[0, 0, 0]) for item in calibration.walk(samples)]


def test_frames_come_at_the_models_size_and_no_more_than_asked_for() -> None:
    calibration = Calibration(Frames([frame(value) for value in range(12)]), SMALL)
    assert [item.shape for item in calibration.walk(3)] == [(2, 2, 3)] * 3
    assert len(calibration.golden.frames) == 3
    assert values(calibration) == list(range(12))
    golden = {int(item[0, 0, 0]) for item in calibration.golden.frames}
    assert len(golden) == 8
    assert {0, 11} <= golden
    assert (calibration.count(0), calibration.count(5), calibration.count(50)) == (12, 5, 12)


def test_a_one_time_iterator_is_read_once_and_only_as_far_as_needed() -> None:
    left = stream(*range(10))
    calibration = Calibration(Frames(left), SMALL, again=True)
    assert calibration.count(0) is None
    assert values(calibration, 2) == [0, 1]
    assert values(calibration, 5) == [0, 1, 2, 3, 4]
    assert values(calibration, 3) == [0, 1, 2]
    assert next(left)[0, 0, 0] == 5


def test_a_one_time_iterator_that_ends_is_walked_through_again() -> None:
    calibration = Calibration(Frames(stream(7, 8, 9)), SMALL, again=True)
    assert values(calibration) == values(calibration) == [7, 8, 9]


@pytest.mark.parametrize("samples", [1, 2, 3, 0])
def test_digest_and_skipped_are_those_of_the_walk_whatever_was_read_before(samples: int) -> None:
    frames = [frame(1), frame(2, 5), frame(3), frame(4), frame(5, 5)]
    expected = Calibration(Frames(frames), SMALL)
    values(expected, samples)
    for source in (Frames(frames), Frames(iter(frames))):
        calibration = Calibration(source, SMALL, again=True)
        values(calibration)
        values(calibration, samples)
        assert calibration.digest == expected.digest
        assert [item.name for item in calibration.skipped] == [item.name for item in expected.skipped]
    assert [item.name for item in expected.skipped] == ["frame 1", "frame 4"][: {1: 0, 2: 1, 3: 1, 0: 2}[samples]]


def test_only_unusable_frames_are_all_named() -> None:
    calibration = Calibration(Frames([frame(1, 5), frame(2, 5)]), SMALL)
    assert values(calibration) == []
    assert [item.name for item in calibration.skipped] == ["frame 0", "frame 1"]
    with pytest.raises(DataError, match="no usable frame"):
        values(Calibration(Frames([np.zeros(3, np.float32)]), SMALL))


def test_each_walk_says_what_its_own_frames_look_like_also_from_a_stream() -> None:
    for source in ([frame(value) for value in range(30)], stream(*range(30))):
        calibration = Calibration(Frames(source), SMALL, again=True)
        values(calibration, 25)
        first = calibration.gatherer.reference()
        values(calibration, 5)
        again = calibration.gatherer.reference()
        assert first is not None
        assert again is not None
        assert (first.count, again.count) == (25, 5)
        assert again.frames.tolist() == [[4, 4], [4, 4], [3, 3]]


TILES = Preprocess((2, 2), 3, Resize("tile", overlap=0))


def numbered(count: int) -> list[np.ndarray]:
    """Frames of four tiles: ten times the frame's number plus that of the tile."""
    tile = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]], np.uint8)
    return [np.repeat((10 * number + tile)[..., None], 3, axis=2) for number in range(count)]


def test_tiles_are_taken_from_all_pictures_each_from_other_places() -> None:
    calibration = Calibration(Frames(numbered(4)), TILES)
    assert values(calibration, 4) == [0, 11, 22, 33]
    assert values(calibration, 8) == [0, 2, 11, 13, 22, 20, 33, 31]
    assert len(values(calibration, 0)) == 16
    assert calibration.count(8) is None
    reference = calibration.gatherer.reference()
    assert reference is not None
    assert (reference.count, reference.frames.tolist()) == (4, [[4, 4], [4, 4], [3, 3]])


def test_of_a_stream_some_tiles_of_each_picture_are_taken_and_kept() -> None:
    calibration = Calibration(Frames(iter(numbered(3))), TILES, again=True)
    assert values(calibration, 6) == values(calibration, 6) == [0, 1, 2, 3, 11, 12]


def test_frames_that_are_one_tile_say_nothing_of_whole_pictures() -> None:
    calibration = Calibration(Frames([frame(7)[:2, :2]]), TILES)
    assert values(calibration) == [7]
    assert calibration.gatherer.reference() is None
