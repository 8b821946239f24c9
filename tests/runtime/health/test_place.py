"""A fixed patch of the scene: found by itself, followed, and stored."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgecnn.errors import BundleError, DataError
from edgecnn.runtime.health.gatherer import Gatherer
from edgecnn.runtime.health.monitor import Monitor
from edgecnn.runtime.health.place import LARGEST, Place, small
from edgecnn.runtime.health.reference import Reference
from edgecnn.vision.preprocess import Preprocess

SEEN = Preprocess((96, 96), 3)
RAIL = cv2.resize(
    np.random.default_rng(3).integers(20, 230, (6, 40), np.uint8), (360, 60), interpolation=cv2.INTER_CUBIC
)


def scene(number: int, moved: tuple[int, int] = (0, 0)) -> np.ndarray:
    """A part of its own texture fills the picture, uint8 (240, 320, 3), but for a rail along the top."""
    rng = np.random.default_rng([1, number])
    part = cv2.resize(rng.integers(30, 220, (24, 32), np.uint8), (360, 280))
    part[:50] = RAIL[:50]
    x, y = 20 - moved[0], 10 - moved[1]
    frame = part[y : y + 240, x : x + 320] + rng.normal(0, 1.5, (240, 320))
    return cv2.cvtColor(np.clip(frame, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)


def calibrated(fixed: tuple[int, int, int, int] | None = None, count: int = 40) -> Reference:
    gatherer = Gatherer(SEEN, fixed)
    for number in range(count):
        frame = scene(number)
        gatherer.add(SEEN(frame), frame.shape, frame)
    reference = gatherer.reference()
    assert reference is not None
    return reference


@pytest.fixture(scope="module")
def reference() -> Reference:
    return calibrated()


def test_it_is_found_where_nothing_changes(reference: Reference) -> None:
    assert reference.place is not None
    _, top, width, height = reference.place.box.tolist()
    assert top + height <= 96 * 40 / 240 + 1
    assert width >= 12
    assert reference.finds["movement"] == pytest.approx(0.05)


def said(reference: Reference, frames: list[np.ndarray]) -> list[str]:
    monitor = Monitor(reference, None, SEEN)
    for number, frame in enumerate(frames):
        findings = monitor.look(SEEN(frame)[None], frame.shape, number * 0.1, frame=frame)
    return [f"{finding.kind}: {finding.reason}" for finding in findings]


@pytest.mark.parametrize("moved", [(12, 0), (0, 8), (-16, -6)])
def test_a_camera_that_moved_is_found_though_parts_share_nothing(reference: Reference, moved: tuple[int, int]) -> None:
    assert said(reference, [scene(number) for number in range(200, 206)]) == []
    (reason,) = said(reference, [scene(number, moved) for number in range(200, 206)])
    assert reason.startswith("shifted: the fixed patch is")


def test_a_patch_that_is_covered_is_not_near_its_place(reference: Reference) -> None:
    frames = [scene(number) for number in range(200, 206)]
    for frame in frames:
        frame[:60] = 90
    assert any("is not near its place" in reason for reason in said(reference, frames))


def test_another_light_is_no_movement(reference: Reference) -> None:
    frames = [(scene(number) * 0.85).astype(np.uint8) for number in range(200, 206)]
    assert not any("fixed patch" in reason for reason in said(reference, frames))


def test_one_may_be_named_in_pixels_of_the_camera() -> None:
    place = calibrated((40, 0, 160, 40)).place
    assert place is not None
    assert place.box.tolist() == [12, 0, 48, 16]


def test_a_patch_that_parts_pass_over_is_refused() -> None:
    with pytest.raises(DataError, match=r"40,100,80,80 is not the same in all calibration frames"):
        calibrated((40, 100, 80, 80))
    with pytest.raises(DataError, match="does not lie in frames of 320 x 240"):
        calibrated((300, 0, 40, 40))


def test_where_everything_changes_there_is_none() -> None:
    pictures = [np.random.default_rng(number).integers(0, 256, (64, 64), np.uint8) for number in range(20)]
    assert Place.find(pictures) is None
    assert Place.find([np.full((64, 64), 90, np.uint8)] * 20) is None


def test_large_pictures_are_looked_at_small() -> None:
    assert small(np.zeros((480, 1024, 3), np.uint8)).shape == (120, LARGEST)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("place_box", np.array([0, 0, 500, 10])),
        ("place_box", np.zeros(3, np.int64)),
        ("place_patch", np.zeros((4, 4), np.uint8)),
        ("place_patch", np.zeros((4, 4), np.float32)),
        ("place_size", np.array([1 << 40, 96])),
        ("place_like", np.array(np.nan, np.float32)),
    ],
)
def test_a_stored_patch_that_is_none_is_refused(reference: Reference, name: str, value: np.ndarray) -> None:
    arrays = reference.arrays()
    again = Reference.from_arrays(arrays)
    assert again.place is not None
    assert (again.place.patch == reference.place.patch).all()
    with pytest.raises(BundleError, match="no fixed patch"):
        Reference.from_arrays(arrays | {name: value})
    del arrays["place_like"]
    with pytest.raises(BundleError, match="no fixed patch"):
        Reference.from_arrays(arrays)
