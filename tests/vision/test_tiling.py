from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import DataError, OptionError
from edgecnn.manifest import OutputContract, Resize
from edgecnn.tensor import QuantParams, TensorSpec
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.tiling import Array, Image, Tiling, refusal, tiled

TILES = Preprocess((32, 48), 3, Resize("tile", overlap=8))


def shrunk(picture: Image) -> list[Array]:
    """Stand for a model: the first channel at half the size, and the sum of the corner and the mean."""
    return [picture[None, ::2, ::2, :1], np.asarray([[picture[0, 0, 0], picture.mean()]])]


@settings(max_examples=100)
@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 47))
def test_tiles_cover_the_picture_and_overlap_enough(more: int, wider: int, overlap: int) -> None:
    height, width = 48 + more, 64 + wider
    tiling = Tiling((48, 64), overlap)
    corners = tiling.corners(height, width)
    rows, columns = (sorted({corner[axis] for corner in corners}) for axis in (0, 1))
    assert corners == [(row, column) for row in rows for column in columns]
    for begins, length, side in ((rows, height, 48), (columns, width, 64)):
        assert (begins[0], begins[-1]) == (0, length - side)
        assert all(after - before <= side - overlap for before, after in pairwise(begins))


def test_a_picture_of_one_tile_is_run_as_it_is() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    tiling = Tiling((32, 48), 8)
    (tile,) = tiling.cut(picture)
    assert np.array_equal(tile, picture)
    for got, expected in zip(tiling.run(shrunk, picture), shrunk(picture), strict=True):
        assert np.array_equal(got, expected)
    assert tiled(shrunk, None) is shrunk


@pytest.mark.parametrize("size", [(96, 144), (64, 48), (70, 98)])
def test_maps_are_put_together_and_vectors_are_one_row_a_tile(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    tiling = Tiling((32, 48), 8)
    whole, rows = tiled(shrunk, tiling)(picture)
    assert np.array_equal(whole, shrunk(picture)[0])
    assert rows.shape == (len(tiling.corners(*size)), 2)
    assert [int(row[0]) for row in rows] == [int(picture[place][0]) for place in tiling.corners(*size)]


def test_where_tiles_overlap_the_largest_value_counts() -> None:
    calls = iter([10, 200, 30])

    def run(picture: Image) -> list[Array]:
        return [np.full((1, 16, 16, 1), next(calls), np.uint8)]

    (whole,) = Tiling((16, 16), 8).run(run, np.zeros((16, 32, 3), np.uint8))
    assert whole.shape == (1, 16, 32, 1)
    assert whole[0, 0, :, 0].tolist() == [10] * 8 + [200] * 16 + [30] * 8


def test_a_map_whose_pixels_do_not_fit_the_last_tile_is_rounded() -> None:
    def run(picture: Image) -> list[Array]:
        return [np.zeros((1, 4, 6, 1), np.float32)]

    (whole,) = Tiling((32, 48), 8).run(run, np.zeros((35, 53, 3), np.uint8))
    assert whole.shape == (1, 4, 7, 1)


def test_frames_keep_their_size_and_small_ones_are_enlarged() -> None:
    large, narrow = np.zeros((100, 90, 3), np.uint8), np.zeros((16, 90, 3), np.uint8)
    assert TILES(large) is large
    assert TILES(narrow).shape == (32, 180, 3)
    assert [TILES.size_of(*frame.shape[:2]) for frame in (large, narrow)] == [(100, 90), (32, 180)]
    assert Preprocess((32, 48), 3).size_of(100, 90) == (32, 48)
    assert TILES.geometry(16, 90).to_frame([[180, 32], [90, 8]]).tolist() == [[90, 16], [45, 4]]
    with pytest.raises(DataError, match="would be enlarged more than 4 times"):
        TILES(np.zeros((7, 90, 3), np.uint8))


def test_what_cannot_be_tiled_is_refused() -> None:
    with pytest.raises(OptionError, match=r"overlap by 0 to 31 pixels.*got 32"):
        Preprocess((32, 48), 3, Resize("tile", overlap=32))
    scores = OutputContract(TensorSpec("x", (1, 4), "uint8", QuantParams.per_tensor(1.0)), "NC", "logits")
    indices = OutputContract(TensorSpec("x", (1, 4, 4), "int64", None), "NHW")
    assert refusal("defect", (scores,)) == ""
    assert "not 'classify'" in refusal("classify", (scores,))
    assert "not class indices" in refusal("segment", (indices,))
