"""Real cameras: sound pictures pass, faults do not; what was calibrated on is never judged."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.manifest import Resize
from edgecnn.runtime.health.monitor import Monitor
from edgecnn.runtime.health.reference import Reference
from edgecnn.vision.preprocess import Preprocess
from tests.runtime.health.belt import RATE, kinds, learnt

pytestmark = pytest.mark.data
BLOCK = 25
"""Frames, about a second: of every five blocks two calibrate."""
Video = tuple[list[np.ndarray], Reference]


def calibrates(number: int) -> bool:
    return number // BLOCK % 5 in (0, 3)


def read(path: Path, preprocess: Preprocess) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (found := capture.read())[0]:
        frames.append(preprocess(found[1]))
    return frames


@pytest.fixture(
    scope="module",
    params=[
        ("conveyor-bottles", Preprocess((128, 128), 3)),
        ("road-solidWhiteRight", Preprocess((160, 160), 3, Resize("crop"))),
    ],
    ids=["conveyor", "road"],
)
def video(request: pytest.FixtureRequest, data_dir: Path) -> Video:
    """All frames at the model's size, and what the calibrating ones look like."""
    name, preprocess = request.param
    frames = read(data_dir / "video" / f"{name}.mp4", preprocess)
    return frames, learnt([frame for number, frame in enumerate(frames) if calibrates(number)][::3])


def judged(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [frame for number, frame in enumerate(frames) if not calibrates(number)]


def test_sound_video_is_never_invalid(video: Video) -> None:
    frames, reference = video
    found = kinds(Monitor(reference), judged(frames))
    assert len(found) > 100
    assert sum(map(bool, found)) <= 0.001 * len(found)


def moved(frame: np.ndarray) -> np.ndarray:
    shift = np.float32([[1, 0, round(0.08 * frame.shape[1])], [0, 1, 0]])
    return cv2.warpAffine(frame, shift, frame.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def grainy(frame: np.ndarray) -> np.ndarray:
    return np.clip(frame + np.random.default_rng(0).normal(0, 10, frame.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("names", "change"),
    [
        ({"black"}, lambda frame: frame // 20),
        ({"saturated"}, lambda frame: 255 - frame // 40),
        ({"blurred"}, lambda frame: cv2.GaussianBlur(frame, (0, 0), 1.5)),
        ({"noisy"}, grainy),
        ({"shifted", "unlike"}, moved),
        ({"shifted", "unlike"}, lambda frame: np.ascontiguousarray(frame[:, ::-1])),
    ],
)
def test_faults_are_found_within_a_second(video: Video, names: set[str], change: object) -> None:
    frames, reference = video
    sound = judged(frames)
    for onset in range(30, len(sound) - 30, max(30, len(sound) // 8)):
        monitor = Monitor(reference)
        found = kinds(
            monitor, sound[onset - 10 : onset] + [change(frame) for frame in sound[onset : onset + int(RATE)]]
        )
        assert names & {kind for item in found[10:] for kind in item}, onset


def test_a_frozen_video_is_found_and_a_slow_one_is_not(video: Video) -> None:
    frames, reference = video
    sound = judged(frames)
    assert kinds(Monitor(reference), sound[:10] + [sound[9]] * int(RATE))[-1] == ["frozen"]
    twice = [frame for frame in sound[:50] for _ in range(2)]
    assert not any("frozen" in item for item in kinds(Monitor(reference), twice))


def test_the_other_camera_is_unlike(video: Video, data_dir: Path) -> None:
    _, reference = video
    lane = sorted((data_dir / "lane").rglob("*.jpg"))[:25] or sorted((data_dir / "lane").rglob("*.png"))[:25]
    strangers = [cv2.resize(cv2.imread(str(path)), (128, 128)) for path in lane]
    assert "unlike" in kinds(Monitor(reference), strangers)[-1]
