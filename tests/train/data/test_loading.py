"""Masks of defects and lanes as pixels; which of many lines bound the own lane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecnn.errors import DataError
from edgecnn.runtime.evaluation.pixels import read_mask
from edgecnn.train.data import Sample, load_image, load_lanes, load_mask, read
from edgecnn.train.data.ego import at_bottom, ego_lines
from edgecnn.train.data.loading import LEFT, RIGHT, binary
from tests.train.data import folders


def part(tmp_path: Path, label: str, mask: np.ndarray | None) -> Sample:
    image = folders.save(tmp_path / "a.png", folders.picture(0))
    return Sample(image, label, None if mask is None else folders.save(tmp_path / "m.png", mask))


def test_a_mask_is_0_and_255(tmp_path: Path) -> None:
    shades = folders.mask()
    shades[20, :4] = (1, 127, 128, 200)
    found = load_mask(part(tmp_path, "dent", shades))

    assert found is not None
    assert found.dtype == np.uint8
    assert np.array_equal(found[20, :4], (0, 0, 255, 255))
    assert np.count_nonzero(found) == 202


@pytest.mark.parametrize("levels", [(0, 0), (0, 1), (0, 7, 127), (0, 1, 127, 128, 255)])
def test_masks_mean_the_same_here_and_in_the_evaluation(tmp_path: Path, levels: tuple[int, ...]) -> None:
    mask = np.random.default_rng(0).choice(levels, (folders.HEIGHT, folders.WIDTH)).astype(np.uint8)
    sample = part(tmp_path, "dent", mask)

    assert np.array_equal(load_mask(sample), 255 * read_mask(tmp_path / "m.png", mask.shape))


def test_class_indices_are_all_defective() -> None:
    assert np.array_equal(binary(np.array([[0, 1, 5]], np.uint8)), [[0, 255, 255]])
    assert np.array_equal(binary(np.zeros((1, 3), np.uint8)), [[0, 0, 0]])


def test_without_a_mask_a_good_part_is_empty_and_a_defective_one_unknown(tmp_path: Path) -> None:
    assert np.array_equal(load_mask(part(tmp_path, "good", None)), np.zeros((folders.HEIGHT, folders.WIDTH)))
    assert load_mask(part(tmp_path, "dent", None)) is None


def test_a_mask_with_equal_channels_passes(tmp_path: Path) -> None:
    assert np.array_equal(load_mask(part(tmp_path, "dent", np.dstack([folders.mask()] * 3))), folders.mask())


def test_a_picture_of_other_channels_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 5, 6), np.uint8))

    with pytest.raises(DataError, match=r"expected a grey picture or one in BGR, got shape \(4, 5, 6\)"):
        load_image(Sample(tmp_path / "a.npy", "good"))


def test_lane_masks_keep_their_classes(tmp_path: Path) -> None:
    sample = read(folders.lane_table(tmp_path, {"town": 2}), "lane").samples[0]

    assert np.array_equal(np.unique(load_lanes(sample)), (0, 1, 4))
    assert load_lanes(sample)[30, 11] == 1


def test_the_own_lines_are_drawn_as_of_unknown_kind(tmp_path: Path) -> None:
    sample = read(folders.tusimple(tmp_path, ["clips/1/20.jpg", "clips/2/20.jpg"]), "lane").samples[0]
    lanes = load_lanes(sample)

    assert np.array_equal(np.unique(lanes), (0, LEFT, RIGHT))
    assert (lanes[30, 22], lanes[30, 42], lanes[40, 18], lanes[25, 24]) == (LEFT, RIGHT, LEFT, LEFT)
    # The outer lines, and what is below the lowest point that was labelled.
    assert (lanes[30, 4], lanes[30, 60], lanes[46, 16]) == (0, 0, 0)


def test_a_line_is_followed_down_to_the_bottom() -> None:
    assert at_bottom(((40.0, 20.0), (30.0, 30.0), (20.0, 40.0)), 50) == pytest.approx(10.0)
    # Curved: its low end counts.
    assert at_bottom(((40.0, 0.0), (40.0, 10.0), (40.0, 20.0), (30.0, 30.0), (20.0, 40.0)), 50) == pytest.approx(10.0)


def test_the_nearest_lines_at_the_bottom_bound_the_own_lane() -> None:
    # Near the horizon the outer left line is nearer to the middle than the inner one.
    outer, inner = ((48.0, 20.0), (0.0, 40.0)), ((40.0, 20.0), (30.0, 40.0))
    right, far = ((60.0, 20.0), (70.0, 40.0)), ((62.0, 20.0), (99.0, 40.0))

    assert ego_lines((outer, inner, right, far), (50, 100)) == (inner, right)
    assert ego_lines((far, right), (50, 100)) == (None, right)
    assert ego_lines((((1.0, 5.0),), (), ((1.0, 5.0), (9.0, 5.0))), (50, 100)) == (None, None)
