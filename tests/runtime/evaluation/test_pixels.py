"""Defective pixels beside label masks, each number beside the same thing counted pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.manifest import Manifest, OutputContract, Resize
from edgecnn.runtime.evaluation.labelled import PASS, REJECT, Labelled
from edgecnn.runtime.evaluation.pixels import PixelCounts, map_of, read_mask
from edgecnn.tensor import QuantParams, TensorSpec
from edgecnn.vision.preprocess import Preprocess
from tests.runtime.evaluation.test_curves import f1_at, pairs_won, slow_average_precision, slow_pro

SCALE, ZERO = 0.05, 100
RNG = np.random.default_rng(11)


def inspection(manifest: Manifest, size: int = 8, meaning: str = "logits", share: float = 0.6) -> Manifest:
    """A contract of frames 8 x 8, a vector and a map of ``size``."""
    scores = OutputContract(
        TensorSpec("mask", (1, size, size, 1), "uint8", QuantParams.per_tensor(SCALE, ZERO)), "NHWC", meaning
    )
    decoding = {"threshold": 0.5, "pixel_threshold": share}
    return replace(manifest, task="defect", outputs=(*manifest.outputs, scores), decoding=decoding)


def arrays(values: np.ndarray) -> list[np.ndarray]:
    """Return outputs as an engine gives them: the vector first."""
    return [np.zeros((1, 4), np.uint8), values[None, :, :, None]]


def written(path: Path, mask: Sequence[Sequence[int]] | np.ndarray) -> Labelled:
    assert cv2.imwrite(str(path), np.asarray(mask, np.uint8))
    return Labelled(path, path.name, REJECT, path)


def labels(size: int = 8) -> np.ndarray:
    """Two defects: one that joins at a corner, and a single pixel."""
    mask = np.zeros((size, size), np.uint8)
    mask[1:3, 1:3] = mask[3, 3] = mask[6, 6] = 255
    return mask


def test_every_number_is_that_of_all_pixels_together(manifest: Manifest, tmp_path: Path) -> None:
    found = PixelCounts(inspection(manifest))
    maps = [RNG.integers(0, 256, (8, 8), dtype=np.uint8) for _ in range(3)]
    maps[0] = np.where(labels() > 0, maps[0] // 2 + 128, maps[0] // 2 + 40).astype(np.uint8)
    overlap = found.add(written(tmp_path / "a.png", labels()), (8, 8), arrays(maps[0]), None)
    empty = found.add(Labelled(Path("b"), "b", PASS), (8, 8), arrays(maps[1]), None)
    unknown = found.add(Labelled(Path("c"), "c", REJECT), (8, 8), arrays(maps[2]), None)
    section = found.section()

    # A probability of 0.6 is a logit of 0.405, which is 8.1 steps above zero.
    marked = maps[0] >= ZERO + 9
    wanted = labels() > 0
    assert overlap == np.sum(marked & wanted) / np.sum(marked | wanted)
    assert (empty, unknown) == (None, None)
    assert (section["images"], section["defective"], section["regions"], section["float"]) == (2, 1, 2, None)
    scores, truth = np.concatenate(maps[:2]), np.concatenate([wanted, np.zeros((8, 8), bool)])
    bad, good = scores[truth].tolist(), scores[~truth].tolist()
    hits, wrong = np.sum((scores >= ZERO + 9) & truth), np.sum((scores >= ZERO + 9) & ~truth)
    figures = section["int8"]
    assert figures["precision"] == pytest.approx(hits / (hits + wrong))
    assert figures["recall"] == pytest.approx(hits / len(bad))
    assert figures["f1"] == pytest.approx(f1_at(ZERO + 9, good, bad))
    assert figures["iou"] == pytest.approx(hits / (len(bad) + wrong))
    assert figures["best_f1"] == pytest.approx(max(f1_at(level, good, bad) for level in range(256)))
    assert figures["auroc"] == pytest.approx(pairs_won(good, bad))
    assert figures["ap"] == pytest.approx(slow_average_precision(good, bad))
    regions = np.zeros((16, 8), np.int64)
    regions[:8][wanted], regions[6, 6] = 1, 2
    assert figures["aupro"] == pytest.approx(slow_pro(scores, regions, 0.3))


def test_the_best_threshold_is_a_probability(manifest: Manifest, tmp_path: Path) -> None:
    found = PixelCounts(inspection(manifest))
    values = np.where(labels() > 0, 140, 120).astype(np.uint8)
    found.add(written(tmp_path / "a.png", labels()), (8, 8), arrays(values), None)
    figures = found.section()["int8"]
    assert figures["best_f1"] == figures["aupro"] == figures["auroc"] == 1.0
    assert 1 / (1 + np.exp(-1.0)) < figures["best_threshold"] <= 1 / (1 + np.exp(-2.0))


def test_float_is_counted_on_the_same_grid_and_beyond_it(manifest: Manifest, tmp_path: Path) -> None:
    """What INT8 cannot tell apart at the ends of its grid, float still can."""
    found, real = PixelCounts(inspection(manifest)), np.where(labels() > 0, 9.0, 8.5).astype(np.float32)
    values = np.full((8, 8), 255, np.uint8)  # 7.75, where the grid ends
    found.add(written(tmp_path / "a.png", labels()), (8, 8), arrays(values), arrays(real))
    section = found.section()
    assert (section["float"]["auroc"], section["int8"]["auroc"]) == (1.0, 0.5)
    assert (section["float"]["recall"], section["int8"]["recall"]) == (1.0, 1.0)
    assert section["int8"]["precision"] == pytest.approx(6 / 64)


def test_float_that_was_not_always_run_is_left_out(manifest: Manifest, tmp_path: Path) -> None:
    found, values = PixelCounts(inspection(manifest)), np.zeros((8, 8), np.uint8)
    item = written(tmp_path / "a.png", labels())
    found.add(item, (8, 8), arrays(values), arrays(values.astype(np.float32)))
    found.add(item, (8, 8), arrays(values), None)
    section = found.section()
    assert section["float"] is None
    assert (section["int8"]["precision"], section["int8"]["f1"]) == (None, 0.0)


def test_probabilities_are_compared_as_they_are(manifest: Manifest, tmp_path: Path) -> None:
    contract = inspection(manifest, meaning="probabilities", share=0.5)
    found = PixelCounts(contract)
    values = np.where(labels() > 0, ZERO + 10, ZERO + 9).astype(np.uint8)  # 0.5 and 0.45
    assert found.add(written(tmp_path / "a.png", labels()), (8, 8), arrays(values), None) == 1.0
    assert 0.45 < found.section()["int8"]["best_threshold"] <= 0.5


@pytest.mark.parametrize("shape", [(24, 40), (8, 8), (5, 7)])
def test_maps_are_brought_to_the_picture_as_opencv_does(
    manifest: Manifest, tmp_path: Path, shape: tuple[int, int]
) -> None:
    values = RNG.integers(0, 256, (4, 4), dtype=np.uint8)
    larger = cv2.resize(values.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR)
    wanted = RNG.random(shape) < 0.3
    found = PixelCounts(inspection(manifest, 4))
    item = written(tmp_path / "a.png", wanted.astype(np.uint8))
    overlap = found.add(item, shape, arrays(values), arrays((values.astype(np.float32) - ZERO) * SCALE))
    marked = larger >= ZERO + np.log(0.6 / 0.4) / SCALE
    assert overlap == np.sum(marked & wanted) / np.sum(marked | wanted)
    section, near = found.section(), [round(2 * score) for score in larger.ravel().tolist()]
    bad, good = ([near[index] for index in np.flatnonzero(wanted.ravel() == kind)] for kind in (True, False))
    assert section["int8"]["auroc"] == pytest.approx(pairs_won(good, bad), abs=2e-3)
    assert section["float"] == pytest.approx(section["int8"], abs=2e-3)


@pytest.mark.parametrize("resize", ["letterbox", "crop", "tile"])
def test_what_the_model_does_not_see_does_not_count(manifest: Manifest, tmp_path: Path, resize: str) -> None:
    """A picture 16 x 32, its left half defective; the model's picture is made of the label mask itself."""
    mask = np.zeros((16, 32), np.uint8)
    mask[:, :16] = 255
    scores = TensorSpec("mask", (1, 8, 8, 1), "uint8", QuantParams.per_tensor(SCALE, ZERO))
    contract = replace(
        manifest,
        task="defect",
        input=replace(manifest.input, resize=Resize(resize, pad_value=0, overlap=2)),
        outputs=(OutputContract(scores, "NHWC", "logits"),),
        decoding={"threshold": 0.5},
    )
    seen = Preprocess.for_input(contract.input)(np.repeat(mask[..., None], 3, axis=2))[..., 0]
    found = PixelCounts(contract)
    overlap = found.add(written(tmp_path / "a.png", mask), mask.shape, [seen[None, :, :, None]], None)
    # But for the corners where the border of the defect meets padding.
    assert overlap > 0.99
    assert found.section()["int8"]["precision"] == 1.0


def test_memory_does_not_grow_with_pictures(manifest: Manifest) -> None:
    found = PixelCounts(inspection(manifest))
    before = {name: np.size(value) for name, value in vars(found._int8).items()}
    for index in range(50):
        found.add(Labelled(Path("a"), "a", PASS), (40, 40), arrays(np.full((8, 8), index, np.uint8)), None)
    assert {name: np.size(value) for name, value in vars(found._int8).items()} == before
    assert found._int8.good.sum() == 50 * 1600


def test_masks_that_cannot_be_used_are_named(manifest: Manifest, tmp_path: Path) -> None:
    found, values = PixelCounts(inspection(manifest)), np.zeros((8, 8), np.uint8)
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[0, 0] = 1, 2, 3
    for name, mask in (("small.png", np.zeros((8, 7))), ("colour.png", colours)):
        assert found.add(written(tmp_path / name, mask), (8, 8), arrays(values), None) is None
    assert found.add(Labelled(Path("b"), "b", REJECT, tmp_path / "none.png"), (8, 8), arrays(values), None) is None
    small, colour, none = found.skipped
    assert "small.png: expected a grey mask of its picture's size (8, 8), got shape (8, 7)" in small
    assert "colour.png: expected a grey mask" in colour
    assert "none.png: cannot be read" in none
    assert found.section() is None


def test_half_brightness_is_defective_and_indices_are_in_dark_masks(tmp_path: Path) -> None:
    for values, expected in (([0, 100, 128, 255], [0, 0, 1, 1]), ([0, 1, 2, 3], [0, 1, 1, 1])):
        assert cv2.imwrite(str(tmp_path / "a.png"), np.asarray([values], np.uint8))
        assert read_mask(tmp_path / "a.png", (1, 4)).tolist() == [expected]
    same = np.repeat(np.asarray([[0, 255]], np.uint8)[..., None], 3, axis=2)
    assert cv2.imwrite(str(tmp_path / "a.png"), same)
    assert read_mask(tmp_path / "a.png", (1, 2)).tolist() == [[0, 1]]


def test_maps_are_told_by_their_layout(manifest: Manifest) -> None:
    contract = inspection(manifest)
    assert map_of(contract) == 1
    assert map_of(replace(contract, task="segment")) is None
    assert map_of(replace(contract, outputs=contract.outputs[:1])) is None
    found = PixelCounts(replace(contract, outputs=contract.outputs[:1]))
    assert found.add(Labelled(Path("a"), "a", PASS), (8, 8), arrays(np.zeros((8, 8), np.uint8)), None) is None
