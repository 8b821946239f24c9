"""Calibration pictures that are masks, show nothing or are all the same are named; photographs give no word."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.composer import Request, build, open_model
from edgecnn.composer.picture_notes import Sight, look, picture_notes
from edgecnn.vision.frames import Frames
from edgecnn.vision.synthetic import roads, surfaces
from tests.composer import onnx_files

RNG = np.random.default_rng(3)


def seen(frames: Iterable[tuple[str, np.ndarray]]) -> list[str]:
    sights: list[tuple[str, Sight]] = []
    for name, frame in frames:
        picture = frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
        sights.append((name, look(frame, cv2.resize(picture, (64, 48)))))
    return picture_notes(sights)


def photo(seed: int) -> np.ndarray:
    """Return something with shapes, light and noise, (96, 128, 3)."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (128, 96), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0, 4, coarse.shape), 0, 255).astype(np.uint8)


def mask(seed: int, value: int = 255) -> np.ndarray:
    picture = np.zeros((96, 128), np.uint8)
    cv2.circle(picture, (20 + 7 * seed % 80, 48), 15, value, -1)
    return picture


def compressed(picture: np.ndarray, quality: int = 80) -> np.ndarray:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


PHOTOS = [(f"good/{index}.jpg", photo(index)) for index in range(12)]


def test_photographs_are_no_word() -> None:
    assert seen(PHOTOS) == []
    assert seen([("one.jpg", photo(1))]) == []
    assert seen([(name, compressed(frame, 60)) for name, frame in PHOTOS]) == []
    assert seen([("black.png", np.zeros((96, 128, 3), np.uint8)), *PHOTOS]) == []


@pytest.mark.parametrize("drawn", [surfaces, roads], ids=["surfaces", "roads"])
def test_what_the_built_in_models_are_calibrated_on_is_no_word(drawn: object) -> None:
    frames = drawn.calibration_frames(24)  # type: ignore[attr-defined]
    assert seen((f"frame {index}", frame) for index, frame in enumerate(frames)) == []


@pytest.mark.parametrize("folder", ["masks", "ground_truth/scratch", "annotations", "x/y/z"])
def test_a_folder_of_masks_is_named(folder: str) -> None:
    masks = [(f"{folder}/{index}.png", mask(index)) for index in range(5)]
    empty = (f"{folder}/empty.png", np.zeros((96, 128), np.uint8))
    (note,) = seen([*PHOTOS, *masks, empty])
    assert note.startswith("5 of 18 calibration pictures look like masks")
    assert f"(in {folder.split('/')[0]}/), e.g. {folder}/0.png" in note


@pytest.mark.parametrize(
    "kind",
    [
        lambda index: mask(index, 1),
        lambda index: mask(index, 4) + mask(index + 5, 2),
        lambda index: cv2.cvtColor(mask(index), cv2.COLOR_GRAY2BGR),
        lambda index: cv2.merge([mask(index), mask(index + 3, 128), mask(index + 5, 64)]),
        lambda index: compressed(cv2.resize(mask(index), (640, 480), interpolation=cv2.INTER_NEAREST)),
        lambda index: cv2.resize(mask(index), (200, 150), interpolation=cv2.INTER_AREA),
    ],
    ids=["class 1", "classes", "as colour", "palette", "jpeg", "resized"],
)
def test_masks_of_every_kind_are_known(kind: object) -> None:
    masks = [(f"masks/{index}.png", kind(index)) for index in range(5)]  # type: ignore[operator]
    (note,) = seen([*PHOTOS, *masks])
    assert note.startswith("5 of 17 calibration pictures look like masks")
    assert "(in masks/)" in note


def test_masks_beside_their_pictures_are_named_by_an_example() -> None:
    masks = [(f"good/{index}_mask.png", mask(index)) for index in range(3)]
    (note,) = seen([*PHOTOS, *masks])
    assert "3 of 15 calibration pictures look like masks, with areas of few values, e.g. good/0_mask.png" in note


def test_masks_alone_are_named_too() -> None:
    (note,) = seen([(f"{index}.png", mask(index)) for index in range(6)])
    assert note.startswith("6 of 6 calibration pictures look like masks")


@pytest.mark.parametrize("value", [0, 128, 255])
def test_pictures_of_one_colour_are_named(value: int) -> None:
    plain = [(f"{index}.png", np.full((96, 128, 3), value, np.uint8)) for index in range(4)]
    (note,) = seen(plain)
    assert note.startswith("4 of 4 calibration picture(s) show one colour alone, e.g. 0.png")
    (note,) = seen([*PHOTOS[:3], *plain])
    assert note.startswith("4 of 7 calibration picture(s) show one colour alone, e.g. 0.png")


@pytest.mark.parametrize(
    "again",
    [
        lambda index: photo(1),
        lambda index: np.clip(photo(1) + RNG.normal(0, 5, (96, 128, 3)), 0, 255).astype(np.uint8),
        lambda index: compressed(photo(1), 40 + 5 * index),
        lambda index: np.clip(photo(1) * (1 + 0.002 * index), 0, 255).astype(np.uint8),
    ],
    ids=["copies", "noise", "compressed", "light"],
)
def test_one_picture_again_and_again_is_named(again: object) -> None:
    (note,) = seen([(f"{index}.jpg", again(index)) for index in range(8)])  # type: ignore[operator]
    assert note.startswith("the 8 calibration pictures are nearly the same, like 0.jpg")


def test_export_says_it(tmp_path: Path) -> None:
    for name, make in (("images", photo), ("masks", mask)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(4):
            cv2.imwrite(str(tmp_path / "data" / name / f"{index}.png"), make(index))
    source = open_model(str(onnx_files.write(tmp_path / "net.onnx")))
    frames = Frames(tmp_path / "data")
    report = build(Request(source, source.expects, ("coral",), frames, "fast"), tmp_path / "bundle")
    (note,) = [note for note in report["notes"] if "masks" in note]
    assert note.startswith("4 of 8 calibration pictures look like masks")
    assert "(in masks/), e.g. masks/0.png" in note
    assert note in (tmp_path / "bundle" / "report.json").read_text()


@pytest.mark.data
@pytest.mark.parametrize("folder", ["magnetic-tile/images", "imagenet/calibration", "cifar10/test", "lane/images"])
def test_real_pictures_are_no_word(folder: str, data_dir: Path) -> None:
    frames = Frames(data_dir / folder)
    assert seen(pair for pair, _ in zip(frames.named(), range(60), strict=False)) == []


@pytest.mark.data
@pytest.mark.parametrize("folder", ["magnetic-tile", "lane"])
def test_real_masks_are_named(folder: str, data_dir: Path) -> None:
    pictures = list(Frames(data_dir / folder / "images").named())[:20]
    masks = [(f"masks/{name}", frame) for name, frame in Frames(data_dir / folder / "masks").named()][:60]
    (note,) = seen([*pictures, *masks])
    assert "(in masks/), e.g. masks/" in note
