"""Label masks lie on the model's masks as their pictures do, and pixels are counted over all pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.manifest import Manifest, OutputContract, Resize
from edgecnn.runtime.evaluation.masks import LabelMasks
from edgecnn.tensor import QuantParams, TensorSpec


def segmenter(manifest: Manifest, classes: int, size: int = 8, resize: str = "stretch") -> Manifest:
    """A contract of frames 8 x 8 and one score a class and pixel."""
    spec = TensorSpec("maps", (1, size, size, classes), "uint8", QuantParams.per_tensor(0.1, 128))
    entry = replace(manifest.input, resize=Resize(resize))
    return replace(
        manifest,
        task="segment",
        input=entry,
        outputs=(OutputContract(spec, "NHWC", "logits"),),
        labels=("floor", "part"),
    )


def written(path: Path, mask: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), mask)
    return path


def indices(*rows: list[int]) -> np.ndarray:
    return np.asarray(rows, np.uint8)


def test_pixels_of_all_pictures_are_counted_together(manifest: Manifest, tmp_path: Path) -> None:
    counted = LabelMasks(segmenter(manifest, 2, 2))
    first, second = written(tmp_path / "a.png", indices([0, 0], [1, 1])), written(tmp_path / "b.png", np.zeros((2, 2)))
    counted.add(first, (2, 2), indices([0, 1], [1, 1]), indices([0, 0], [1, 1]))
    counted.add(second, (2, 2), indices([0, 0], [0, 1]), indices([0, 0], [0, 0]))
    # Class 0: 4 of 6 pixels; class 1: 2 of 4.
    assert counted.section() == {
        "images": 2,
        "int8": pytest.approx((4 / 6 + 2 / 4) / 2),
        "float": 1.0,
        "classes": [
            {"label": "floor", "int8": pytest.approx(4 / 6), "float": 1.0},
            {"label": "part", "int8": 0.5, "float": 1.0},
        ],
    }


def test_a_class_that_no_label_mask_has_is_no_class_of_its_own(manifest: Manifest, tmp_path: Path) -> None:
    counted = LabelMasks(segmenter(manifest, 3, 2))
    counted.add(written(tmp_path / "a.png", np.zeros((2, 2))), (2, 2), indices([0, 0], [2, 2]), None)
    assert counted.section() == {
        "images": 1,
        "int8": 0.5,
        "float": None,
        "classes": [{"label": "floor", "int8": 0.5, "float": None}],
    }


def test_255_is_left_out_where_there_are_classes_and_is_the_class_1_where_there_are_none(
    manifest: Manifest, tmp_path: Path
) -> None:
    path = written(tmp_path / "a.png", indices([0, 0], [1, 255]))
    found = []
    for classes in (2, 1):
        counted = LabelMasks(segmenter(manifest, classes, 2))
        counted.add(path, (2, 2), indices([0, 0], [1, 0]), None)
        found.append([row["int8"] for row in counted.section()["classes"]])
    assert found == [[1.0, 1.0], [pytest.approx(2 / 3), 0.5]]


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("side", [8, 4, 16])
def test_a_label_mask_lies_where_its_picture_does(manifest: Manifest, tmp_path: Path, resize: str, side: int) -> None:
    """The left half of a wide picture is the class 1; what the model sees of it is told by `Preprocess` itself."""
    from edgecnn.vision.preprocess import Preprocess

    contract = segmenter(manifest, 2, side, resize)
    mask = np.zeros((16, 32), np.uint8)
    mask[:, :16] = 1
    seen = Preprocess.for_input(contract.input)(np.repeat(mask[..., None] * 200, 3, axis=2))[..., 0]
    expected = (cv2.resize(seen, (side, side), interpolation=cv2.INTER_NEAREST) > 128).astype(np.uint8)
    counted = LabelMasks(contract)
    counted.add(written(tmp_path / "a.png", mask), mask.shape, expected, 1 - expected)
    found = counted.section()
    assert [row["int8"] for row in found["classes"]] == [1.0, 1.0]
    assert found["float"] == 0.0


def test_padding_does_not_count(manifest: Manifest, tmp_path: Path) -> None:
    counted = LabelMasks(segmenter(manifest, 2, 8, "letterbox"))
    wrong_above_and_below = np.zeros((8, 8), np.uint8)
    wrong_above_and_below[[0, 1, 6, 7]] = 1
    counted.add(written(tmp_path / "a.png", np.zeros((16, 32))), (16, 32), wrong_above_and_below, None)
    assert counted.section()["int8"] == 1.0


def test_what_cannot_be_used_is_named(manifest: Manifest, tmp_path: Path) -> None:
    counted = LabelMasks(segmenter(manifest, 2, 2))
    for path in (
        written(tmp_path / "colour.png", np.zeros((2, 2, 3))),
        written(tmp_path / "small.png", np.zeros((1, 2))),
    ):
        counted.add(path, (2, 2), np.zeros((2, 2), np.uint8), None)
    counted.add(tmp_path / "absent.png", (2, 2), np.zeros((2, 2), np.uint8), None)
    assert counted.section() is None
    colour, small, absent = counted.skipped
    assert "colour.png: expected a grey mask of its picture's size (2, 2), class indices, got shape (2, 2, 3)" in colour
    assert "got shape (1, 2)" in small
    assert "absent.png: cannot be read" in absent
