from __future__ import annotations

import json
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import DataError, OptionError
from edgecnn.manifest import Resize
from edgecnn.runtime.health.monitor import Monitor
from edgecnn.runtime.health.reference import Reference
from edgecnn.runtime.health.settings import HealthSettings
from edgecnn.vision.preprocess import Preprocess
from tests.runtime.health.belt import FRAME, RATE, SIZE, background, belt, kinds, learnt, only

SECOND = int(RATE)
Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return learnt(belt(range(0, 600, 10)))


def noisy(frame: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(int(frame.sum()) % 1000).normal(0, deviation, frame.shape)
    return np.clip(frame + noise, 0, 255).astype(np.uint8)


CHANGES: dict[str, tuple[str, Change]] = {
    "covered": ("black", lambda frame: noisy(np.full_like(frame, 5), 3)),
    "blinded": ("saturated", lambda frame: noisy(np.full_like(frame, 254), 3)),
    "out of focus": ("blurred", lambda frame: cv2.GaussianBlur(frame, (0, 0), 1.0)),
    "far out of focus": ("blurred", lambda frame: cv2.GaussianBlur(frame, (0, 0), 5.0)),
    "noise": ("noisy", lambda frame: noisy(frame, 12)),
    "dark": ("unlike", lambda frame: (frame * 0.5).astype(np.uint8)),
    "a colour lost": ("unlike", lambda frame: frame * np.array([1, 1, 0], np.uint8)),
    "upside down": ("unlike", lambda frame: np.ascontiguousarray(frame[::-1])),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_fault_is_named_within_half_a_second_and_gone_with_it(reference: Reference, name: str) -> None:
    kind, change = CHANGES[name]
    monitor, frames = Monitor(reference), belt(range(1001, 1001 + 3 * SECOND))
    broken = frames[:SECOND] + [change(frame) for frame in frames[SECOND : 2 * SECOND]] + frames[2 * SECOND :]
    found = kinds(monitor, broken)
    assert not any(found[:SECOND])
    assert not any(found[2 * SECOND + SECOND // 4 :])
    assert all(kind in item for item in found[SECOND + SECOND // 3 : 2 * SECOND])


def test_black_and_white_are_invalid_at_once_and_the_reason_has_the_numbers() -> None:
    for value, kind in ((3, "black"), (252, "saturated")):
        (finding,) = Monitor(None).look(np.full((1, 32, 32, 1), value, np.uint8), (32, 32), 0.0)
        assert finding.kind == kind
        assert "of 255" in finding.reason


def test_hot_pixels_do_not_hide_a_black_picture_but_a_lit_stripe_does() -> None:
    picture = np.zeros((1, 100, 100, 1), np.uint8)
    picture[0, ::10, 0] = 255
    assert [item.kind for item in Monitor(None).look(picture, (100, 100), 0.0)] == ["black"]
    picture[0, :, :4] = 255
    assert Monitor(None).look(picture, (100, 100), 1.0) == ()


@pytest.mark.parametrize("moved", [5, 10, 20])
def test_a_camera_that_moved_is_found(reference: Reference, moved: int) -> None:
    # 5 of 96 pixels are 5 % of the width.
    found = kinds(Monitor(reference), belt(range(1001, 1001 + SECOND), moved=moved))
    assert "shifted" in found[-1]


def fixture(number: int, moved: int = 0) -> np.ndarray:
    """A part that fills most of the picture, each as rough as it likes, on a fixture; the sensor makes noise."""
    rng = np.random.default_rng([4, number])
    frame = background(0, SIZE + 32)[:SIZE, moved : moved + SIZE]
    part = cv2.resize(rng.integers(0, 256, (6, 6, 3), np.uint8), (77, 77))
    part = part + rng.normal(0, rng.uniform(0, 20), part.shape)
    frame[10:87, 10 - min(moved, 10) : 87 - moved] = part[:, max(0, moved - 10) :]
    return np.clip(frame + rng.normal(0, 1.5, frame.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("moved", [5, 10])
def test_a_camera_that_moved_is_found_by_what_stays_around_changing_parts(moved: int) -> None:
    monitor = Monitor(learnt([fixture(number) for number in range(60)]))
    assert not any(kinds(monitor, [fixture(number) for number in range(100, 100 + SECOND)]))
    found = kinds(monitor, [fixture(number, moved) for number in range(200, 200 + SECOND)], start=10.0)
    assert "shifted" in found[-1]


def test_a_little_noise_is_found_however_rough_the_parts_are() -> None:
    monitor = Monitor(learnt([fixture(number) for number in range(60)]))
    found = kinds(monitor, [noisy(fixture(number), 5) for number in range(200, 200 + SECOND)])
    assert all("noisy" in item for item in found[SECOND // 2 :])


def surface(number: int, focus: float = 0.0) -> np.ndarray:
    """A rough part that fills the picture; the lens may be out of ``focus`` by some pixels, the sensor makes noise."""
    rng = np.random.default_rng([5, number])
    fine, coarse = (rng.normal(0, rng.uniform(5, 30), (size, size, 3)).astype(np.float32) for size in (SIZE, SIZE // 2))
    frame = cv2.resize(rng.uniform(60, 180, (4, 4, 3)).astype(np.float32), (SIZE, SIZE))
    frame = frame + fine + cv2.resize(coarse, (SIZE, SIZE))
    frame = cv2.GaussianBlur(frame, (0, 0), focus) if focus else frame
    return np.clip(frame + rng.normal(0, 1.5, frame.shape), 0, 255).astype(np.uint8)


def test_a_surface_out_of_focus_is_found_though_no_two_are_alike_and_noise_stays_sharp() -> None:
    monitor = Monitor(learnt([surface(number) for number in range(60)]))
    assert not any(kinds(monitor, [surface(number) for number in range(100, 100 + SECOND)]))
    found = kinds(monitor, [surface(number, 2.0) for number in range(200, 200 + SECOND)], start=10.0)
    assert all("blurred" in item for item in found[SECOND // 2 :])


@pytest.mark.parametrize("brighter", [0.82, 1.2])
def test_a_change_of_light_within_its_tolerance_is_neither_blur_nor_noise(brighter: float) -> None:
    monitor = Monitor(learnt([frame // 2 for frame in belt(range(0, 600, 10))]))
    assert not any(kinds(monitor, [(frame // 2 * brighter).astype(np.uint8) for frame in belt(range(1001, 1026))]))


def test_the_reason_says_where_the_picture_went(reference: Reference) -> None:
    monitor = Monitor(reference, only(shift=0.02))
    for index, frame in enumerate(belt(range(1001, 1001 + SECOND), moved=5)):
        findings = monitor.look(frame[None], FRAME, index / RATE)
    # The camera went to the right, so the picture went to the left.
    assert findings[0].reason.startswith("movement to the right in % of the width: -")


def test_another_camera_is_found(reference: Reference) -> None:
    assert "unlike" in kinds(Monitor(reference), belt(range(SECOND), seed=5))[-1]


def test_a_hand_in_the_picture_is_for_the_model_to_judge(reference: Reference) -> None:
    monitor = Monitor(reference, only(likeness=0.15))
    frames = belt(range(1001, 1001 + SECOND))
    for frame in frames:
        frame[: SIZE // 2, SIZE // 3 : 2 * SIZE // 3] = (90, 110, 190)
    assert not any(kinds(monitor, frames))


def test_sound_pictures_are_never_invalid(reference: Reference) -> None:
    assert not any(kinds(Monitor(reference), belt(range(2000, 2300))))


@pytest.mark.parametrize("seed", range(3))
def test_calibration_frames_are_sound_by_themselves_but_for_outliers(seed: int) -> None:
    frames = belt(range(seed, 600, 6), seed)
    monitor = Monitor(learnt(frames), HealthSettings(persist_seconds=0.0, frozen_seconds=None))
    invalid = sum(map(bool, kinds(monitor, frames)))
    # Eleven features, each with one outlier in a hundred at most on either side.
    assert invalid <= 0.02 * len(frames)


def test_a_short_disturbance_is_no_finding(reference: Reference) -> None:
    frames = belt(range(1001, 1001 + SECOND))
    frames[10:14] = [cv2.GaussianBlur(frame, (0, 0), 2.0) for frame in frames[10:14]]
    assert not any(kinds(Monitor(reference), frames))
    strict = Monitor(reference, HealthSettings(persist_seconds=0.0, check_seconds=0.0))
    assert [index for index, item in enumerate(kinds(strict, frames)) if "blurred" in item] == [10, 11, 12, 13]


def test_a_diverse_calibration_set_makes_the_limits_wide() -> None:
    diverse = [belt([number], seed=number)[0] for number in range(60)]
    found = kinds(Monitor(learnt(diverse)), [belt([number], seed=number)[0] for number in range(100, 125)])
    assert not any(found)


# Frozen


def test_a_picture_that_stays_the_same_is_frozen_after_half_a_second() -> None:
    frames = belt(range(SECOND))
    found = kinds(Monitor(None, HealthSettings(check_seconds=0.0)), frames + [frames[-1]] * SECOND)
    assert [index for index, item in enumerate(found) if item == ["frozen"]] == list(range(37, 50))


def test_noise_of_half_a_grey_level_is_life() -> None:
    still = belt([5])[0]
    assert not any(
        kinds(Monitor(None), [noisy(still, 0.5) for _ in range(1)] + [noisy(still, 0.5 + i / 100) for i in range(50)])
    )


def test_a_clock_in_a_frozen_picture_does_not_hide_it() -> None:
    frames = [belt([5])[0] for _ in range(SECOND)]
    for index, frame in enumerate(frames):
        frame[:3, :8] = 10 * index
    assert kinds(Monitor(None), frames)[-1] == ["frozen"]


def test_a_slow_source_is_frozen_at_the_third_same_picture() -> None:
    monitor, frame = Monitor(None), belt([1])[0][None]
    assert [len(monitor.look(frame, FRAME, float(second))) for second in range(4)] == [0, 0, 1, 1]


def test_frozen_can_be_switched_off_and_made_slower() -> None:
    same = [belt([3])[0]] * (2 * SECOND)
    assert not any(kinds(Monitor(None, HealthSettings(frozen_seconds=None)), same))
    found = kinds(Monitor(None, HealthSettings(frozen_seconds=1.5)), same)
    assert [bool(item) for item in found].index(True) == pytest.approx(1.5 * RATE, abs=1)


# Size


def test_another_aspect_ratio_or_number_of_channels_than_in_calibration_stays_wrong(reference: Reference) -> None:
    frames = belt(range(2 * SECOND))
    assert kinds(Monitor(reference), frames, shape=(480, 640, 3))[-1] == ["size"]
    assert kinds(Monitor(reference), frames, shape=(480, 480, 4))[-1] == ["size"]
    assert not any(kinds(Monitor(reference), frames, shape=(480, 480)))
    assert not any(kinds(Monitor(reference), frames, shape=(960, 960, 3)))


def test_a_change_of_resolution_counts_for_a_second_and_a_change_of_shape_for_ever() -> None:
    monitor, frames = Monitor(None), belt(range(4 * SECOND))
    assert not any(kinds(monitor, frames[:SECOND], 0.0, (480, 640, 3)))
    found = kinds(monitor, frames[SECOND : 3 * SECOND], 1.0, (720, 960, 3))
    assert [item == ["size"] for item in found] == [True] * SECOND + [False] * SECOND
    assert kinds(monitor, frames[3 * SECOND :], 3.0, (720, 1280, 3))[-1] == ["size"]


def test_pictures_of_many_sizes_may_come_in_many_sizes() -> None:
    gathered = learnt(belt(range(10)), (300, 400, 3))
    both = Reference(**{**vars(gathered), "frames": np.array([[300, 600], [400, 500], [3, 3]])})
    monitor = Monitor(both)
    for second, shape in enumerate([(300, 400, 3), (600, 500, 3), (450, 450, 3)]):
        assert not any(kinds(monitor, belt(range(5)), float(second), shape))


@pytest.mark.parametrize(("shape", "fits"), [((4, 5), False), ((8, 10), False), ((31, 64), False), ((32, 32), True)])
def test_thumbnails_are_no_pictures(shape: tuple[int, int], fits: bool) -> None:
    monitor = Monitor(None, HealthSettings(size=False), Preprocess((128, 128), 3))
    tensor = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), np.uint8)
    found = monitor.look(tensor, (*shape, 3), 0.0)
    assert [item.kind for item in found] == ([] if fits else ["size"])
    assert Monitor(None, HealthSettings(tiny=False), Preprocess((128, 128), 3)).look(tensor, shape, 0.0) == ()


def test_pictures_may_be_as_small_as_the_calibration_frames_were(reference: Reference) -> None:
    monitor = Monitor(reference, HealthSettings(size=False, frozen_seconds=None))
    frames = belt(range(1001, 1004))
    assert not any(kinds(monitor, frames, shape=(240, 240, 3)))
    assert kinds(monitor, frames, shape=(239, 239, 3)) == [["size"]] * 3


# What is not known is not judged


def test_without_enough_calibration_frames_only_the_plain_checks_work(reference: Reference) -> None:
    few, many = Monitor(learnt(belt(range(19)))), Monitor(learnt(belt(range(20))))
    assert "takes 20 calibration frames, there were 19" in few.remarks[0]
    assert "was not tried" in many.remarks[0]
    assert "does not know" in Monitor(None).remarks[0]
    stranger = belt(range(SECOND), seed=5)
    assert not any(kinds(few, stranger))
    assert kinds(many, stranger)[-1]


def test_where_calibration_frames_are_black_black_is_not_looked_for() -> None:
    frames = belt(range(40)) + [np.zeros((SIZE, SIZE, 3), np.uint8)] * 2
    monitor = Monitor(learnt(frames))
    assert monitor.remarks[0] == "black pictures are not looked for: calibration frames are so too"
    assert monitor.look(np.zeros((1, SIZE, SIZE, 3), np.uint8), FRAME, 0.0) == ()


def test_letterbox_padding_does_not_count() -> None:
    fit = Preprocess((SIZE, SIZE), 3, Resize("letterbox"))
    black = fit(np.zeros((240, 480, 3), np.uint8))
    assert Monitor(None).look(black[None], (240, 480, 3), 0.0) == ()
    assert [item.kind for item in Monitor(None, None, fit).look(black[None], (240, 480, 3), 0.0)] == ["black"]
    wide = [fit(cv2.resize(frame, (480, 240))) for frame in belt(range(0, 300, 5))]
    monitor = Monitor(learnt(wide, (240, 480, 3), fit), None, fit)
    blurred = [fit(cv2.GaussianBlur(cv2.resize(frame, (480, 240)), (0, 0), 12)) for frame in belt(range(SECOND))]
    assert "blurred" in kinds(monitor, blurred, shape=(240, 480, 3))[-1]


@pytest.mark.parametrize("channels", [1, 5])
def test_models_of_other_channels_are_watched_too(channels: int) -> None:
    def taken(frames: list[np.ndarray]) -> list[np.ndarray]:
        return [np.repeat(frame[..., 1:2], channels, 2) for frame in frames]

    monitor = Monitor(learnt(taken(belt(range(0, 300, 5))), (480, 480, channels)))
    shape = (480, 480, channels)
    assert not any(kinds(monitor, taken(belt(range(1001, 1001 + SECOND))), shape=shape))
    assert "unlike" in kinds(monitor, taken(belt(range(SECOND), seed=5)), 10.0, shape)[-1]


# Settings


def test_each_check_can_be_switched_off_and_scaled(reference: Reference) -> None:
    blurred = [cv2.GaussianBlur(frame, (0, 0), 2.0) for frame in belt(range(SECOND))]
    assert "blurred" in kinds(Monitor(reference), blurred)[-1]
    assert not any(kinds(Monitor(reference, HealthSettings(detail=None, likeness=None)), blurred))
    assert not any(kinds(Monitor(reference, HealthSettings(margin=50.0)), blurred))
    dark = [np.full((SIZE, SIZE, 3), 2, np.uint8)] * 3
    assert not any(kinds(Monitor(None, HealthSettings(black=False)), dark))
    moved = belt(range(SECOND), moved=5)
    assert kinds(Monitor(reference, only(shift=0.02)), moved)[-1] == ["shifted"]
    assert not any(kinds(Monitor(reference, only(shift=0.08)), moved))


@pytest.mark.parametrize("bad", [{"frozen_seconds": -1.0}, {"margin": float("nan")}, {"shift": float("inf")}])
def test_settings_that_make_no_sense_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(bad))):
        HealthSettings(**bad)


# Replay


@settings(max_examples=25)
@given(cut=st.integers(0, 119), seed=st.integers(0, 3))
def test_a_state_gives_the_same_findings_again(reference: Reference, cut: int, seed: int) -> None:
    frames = belt(range(120))
    frames[30:60] = [cv2.GaussianBlur(frame, (0, 0), 0.3 + seed) for frame in frames[30:60]]
    frames[60:80] = [frames[60]] * 20
    frames[80:90] = [np.zeros_like(frames[0])] * 10
    shapes = [FRAME if index < 100 else (960, 960, 3) for index in range(120)]
    monitor, findings, state = Monitor(reference), [], ""
    for index, (frame, shape) in enumerate(zip(frames, shapes, strict=True)):
        if index == cut:
            state = json.dumps(monitor.state())
        findings.append(monitor.look(frame[None], shape, index / RATE))
    again = Monitor(reference)
    again.restore(json.loads(state))
    for index in range(cut, 120):
        assert again.look(frames[index][None], shapes[index], index / RATE) == findings[index]


def test_a_state_is_small_and_damage_is_refused(reference: Reference) -> None:
    monitor = Monitor(reference)
    kinds(monitor, belt(range(30)))
    text = json.dumps(monitor.state())
    assert len(text) < 4000
    for damage in (
        {},
        {"latest": "x"},
        json.loads(text) | {"still": {"first": "zz"}},
        json.loads(text) | {"found": [1]},
    ):
        with pytest.raises(DataError, match="no state of a health monitor"):
            monitor.restore(damage)


def test_the_thorough_check_runs_by_the_timestamps_alone(reference: Reference) -> None:
    monitor, frame = Monitor(reference), belt([1])[0][None]
    checked = []
    for index in range(40):
        monitor.look(frame, FRAME, index / 200)
        checked.append(monitor.state()["checked"])
    # Every twelfth frame; rounding makes it the thirteenth now and then.
    assert 3 <= len(set(checked)) <= 4


def test_time_that_goes_back_starts_anew(reference: Reference) -> None:
    monitor = Monitor(reference)
    assert kinds(monitor, belt(range(SECOND), seed=5), 100.0)[-1]
    assert kinds(monitor, belt(range(3), seed=5), 0.0) == [[], [], []]


def test_what_cannot_be_compared_neither_proves_nor_clears(reference: Reference) -> None:
    monitor, strange = Monitor(reference), belt(range(3 * SECOND), seed=5)
    found = []
    for index, frame in enumerate(strange):
        # A tenth of a second in full view, four tenths of coming and going.
        full = index % (SECOND // 2) < SECOND // 10
        seen = monitor.look(frame[None], FRAME, index / RATE, comparable=full)
        found.append((full, [finding.kind for finding in seen]))

    assert all(kinds == [] for full, kinds in found if not full)
    judged = ["unlike" in kinds for full, kinds in found if full]
    first = judged.index(True)
    # 0.2 s of full views, of which each is a tenth.
    assert 0.15 * RATE <= first <= 0.3 * RATE
    assert all(judged[first:])
