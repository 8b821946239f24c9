"""Pictures at the network's size, as the device would see them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgecnn.manifest import Resize
from edgecnn.train.data import Sample, load_mask
from edgecnn.train.pictures import Pictures, as_input, evenly
from edgecnn.vision.preprocess import Preprocess


def test_pictures_are_fitted_as_on_the_device_and_masks_by_area(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame, mask = rng.integers(0, 255, (90, 120, 3)).astype(np.uint8), np.zeros((90, 120), np.uint8)
    mask[:45] = 255
    for name, picture in (("a", frame), ("m", mask)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    pictures = Pictures([Sample(tmp_path / "a.png", "bad", tmp_path / "m.png")], (64, 96), load_mask)
    shown, covered = pictures[0]

    assert len(pictures) == 1
    assert np.array_equal(shown, Preprocess((64, 96), 3, Resize("stretch"))(frame))
    assert covered is not None
    assert (covered[:32] == 255).all()
    assert (covered[32:] == 0).all()


def test_what_was_read_is_kept(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((64, 64, 3), 90, np.uint8))
    pictures = Pictures([Sample(tmp_path / "a.png", "bad")], (64, 64), load_mask)
    first, mask = pictures[0]
    (tmp_path / "a.png").unlink()

    assert mask is None
    assert pictures[0][0] is first


def test_what_does_not_fit_into_memory_is_read_again(tmp_path: Path, monkeypatch: object) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((64, 64, 3), 90, np.uint8))
    pictures = Pictures([Sample(tmp_path / "a.png", "bad")], (64, 64), load_mask)
    pictures._most = 0

    assert pictures[0][0] is not pictures[0][0]
    assert np.array_equal(pictures[0][0], pictures[0][0])


def test_input_is_normalised() -> None:
    frame = np.zeros((32, 32, 3), np.uint8)
    frame[..., 2] = 255
    tensor = as_input([frame])

    assert tensor.shape == (1, 3, 32, 32)
    assert tensor[0, :, 5, 5].tolist() == [-2.0, -2.0, 2.0]


def test_evenly_spread() -> None:
    assert evenly(5, 10) == [0, 1, 2, 3, 4]
    assert evenly(9, 3) == [0, 4, 8]
    assert evenly(0, 3) == []
