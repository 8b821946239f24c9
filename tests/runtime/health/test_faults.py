"""What calibration promises to find is found: on the drawn conveyor, whose parts differ and fill the picture."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from edgecnn.runtime.health.faults import CASES, FAULTS, least_found, told
from edgecnn.runtime.health.gatherer import Gatherer
from edgecnn.runtime.health.monitor import Monitor
from edgecnn.runtime.health.reference import Reference
from edgecnn.runtime.health.settings import HealthSettings
from edgecnn.runtime.sources.conveyor import _blurred as far_out_of_focus
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.synthetic.conveyor import Conveyor, camera_noise, with_noise
from tests.runtime.health.belt import belt, learnt

SIZE = (640, 480)
SEEN = Preprocess((96, 96), 3)
EACH_ALONE = HealthSettings(check_seconds=0.0, persist_seconds=0.0, frozen_seconds=None)


def views(seed: int, count: int) -> Iterator[np.ndarray]:
    """Yield frames with a part in full view, each another."""
    conveyor, noise = Conveyor(SIZE, seed, defects=0.3, variety=count), camera_noise(SIZE, seed)
    for number in range(count):
        yield with_noise(conveyor.at(number + 0.5).frame, noise, number)


@pytest.fixture(scope="module")
def reference() -> Reference:
    gatherer = Gatherer(SEEN)
    for frame in views(1, 60):
        gatherer.add(SEEN(frame), frame.shape, frame)
    found = gatherer.reference()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def others() -> list[np.ndarray]:
    return list(views(7, 30))


def share_found(reference: Reference, frames: list[np.ndarray]) -> float:
    """Return the share of frames that are invalid, each looked at alone."""
    found = 0
    for frame in frames:
        monitor = Monitor(reference, EACH_ALONE, SEEN)
        found += bool(monitor.look(SEEN(frame)[None], frame.shape, 0.0, frame=frame))
    return found / len(frames)


def test_sound_parts_are_never_invalid(reference: Reference, others: list[np.ndarray]) -> None:
    assert share_found(reference, others) == 0


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_promised_is_found_and_all_that_is_stronger(
    reference: Reference, others: list[np.ndarray], name: str
) -> None:
    least = reference.finds[name]
    for strength in FAULTS[name].strengths:
        if least is not None and strength >= least:
            frames = [FAULTS[name].apply(frame, strength) for frame in others]
            assert share_found(reference, frames) >= 0.97, strength


def test_blur_is_promised_on_parts_of_all_textures_and_movement_is_not(reference: Reference) -> None:
    assert reference.finds["blur"] is not None
    assert reference.finds["movement"] is None
    assert reference.sharp_size.tolist() == [480, 640]


@pytest.mark.parametrize("change", [far_out_of_focus, lambda frame: cv2.GaussianBlur(frame, (0, 0), 4.0)])
def test_a_camera_out_of_focus_never_passes(reference: Reference, others: list[np.ndarray], change) -> None:
    frames = [change(frame) for frame in others]
    assert share_found(reference, frames) == 1
    small = [cv2.resize(frame, (96, 96), interpolation=cv2.INTER_AREA) for frame in frames]
    on_models_size = Monitor(reference, EACH_ALONE, SEEN)
    # Of the model's picture alone a frame without sharpness is not judged by it.
    assert on_models_size.look(SEEN(small[0])[None], (480, 640, 3), 0.0, frame=small[0]) == ()


def test_what_is_found_and_what_is_not_is_said(reference: Reference) -> None:
    found, missed = Monitor(reference, None, SEEN).remarks
    assert found.startswith("found within a second: blur with a sigma of")
    assert missed.startswith("NOT found, so say the calibration frames: ")
    assert "movement by 20% of the picture" in missed


def test_a_strength_is_promised_only_if_all_that_is_stronger_is_found() -> None:
    found = np.ones((3, len(CASES)), bool)
    assert least_found(found) == {name: fault.strengths[0] for name, fault in FAULTS.items()}
    found[1, CASES.index(("blur", 4.0))] = False
    assert least_found(found)["blur"] == 8.0
    found[2, CASES.index(("blur", 8.0))] = False
    assert least_found(found)["blur"] is None
    assert "blur" in told(least_found(found))[1]


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("shape", [(48, 64, 3), (48, 64), (48, 64, 1)])
def test_a_fault_keeps_shape_and_type_and_the_frame(name: str, shape: tuple[int, ...]) -> None:
    frame = np.random.default_rng(0).integers(40, 200, shape, np.uint8)
    before = frame.copy()
    for strength in FAULTS[name].strengths:
        damaged = FAULTS[name].apply(frame, strength)
        assert (damaged.shape, damaged.dtype) == (shape, np.uint8)
        assert (damaged != frame).any()
    assert (frame == before).all()


def test_frames_of_several_sizes_promise_nothing() -> None:
    gatherer = Gatherer(SEEN)
    for number, frame in enumerate(views(1, 24)):
        frame = frame[: 480 - number]
        gatherer.add(SEEN(frame), frame.shape, frame)
    found = gatherer.reference()
    assert found is not None
    assert set(found.finds.values()) == {0.0}
    assert "was not tried" in Monitor(found, None, SEEN).remarks[0]


def test_looks_that_find_something_on_and_off_are_a_finding() -> None:
    monitor = Monitor(learnt(belt(range(0, 600, 10))), HealthSettings(check_seconds=0.0, frozen_seconds=None))
    frames = belt(range(1001, 1031))
    said = []
    for number, frame in enumerate(frames):
        shown = frame if number % 3 == 2 else cv2.GaussianBlur(frame, (0, 0), 3.0)
        said.append([item.kind for item in monitor.look(shown[None], (480, 480, 3), number / 30)])
    assert all("blurred" in kinds for kinds in said[8:])
