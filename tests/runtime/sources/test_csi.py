"""CSI cameras: what is asked of picamera2, by a stand-in with its signatures (picamera2 0.3, raspberrypi/picamera2)."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgecnn.errors import OptionError, SourceError
from tests.runtime.sources.addresses import made, next_frame


class FakePicamera2:
    """One camera; "RGB888" gives arrays in BGR order, as picamera2 does."""

    last: FakePicamera2
    silent = False

    def __init__(self, camera_num: int = 0, verbose_console: Any = None, tuning: Any = None) -> None:
        if camera_num > 0:
            raise IndexError("list index out of range")
        self.calls: list[str] = []
        FakePicamera2.last = self

    def create_video_configuration(
        self, main: dict[str, Any] | None = None, controls: dict[str, Any] | None = None, queue: bool = True
    ) -> dict[str, Any]:
        return {"main": main, "controls": controls, "queue": queue}

    def configure(self, camera_config: dict[str, Any]) -> None:
        self.calls.append("configure")
        self.configuration = camera_config

    def start(self) -> None:
        self.calls.append("start")

    def capture_array(self, name: str = "main", wait: bool | None = None, signal_function: Any = None) -> str:
        assert (name, wait) == ("main", False)
        return "job"

    def wait(self, job: str, timeout: float | None = None) -> np.ndarray:
        assert (job, timeout) == ("job", 3.0)
        if self.silent:
            raise TimeoutError
        assert self.configuration["main"]["format"] == "RGB888"
        width, height = self.configuration["main"]["size"]
        return np.tile(np.array([200, 100, 50], np.uint8), (height, width, 1))

    def stop(self) -> None:
        self.calls.append("stop")

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", SimpleNamespace(Picamera2=FakePicamera2))


@pytest.mark.usefixtures("picamera2")
def test_frames_are_bgr_and_the_camera_is_given_back() -> None:
    source = made("csi://0?size=64x48&fps=20")
    source.open()
    frame = next_frame(source)
    source.close()
    source.close()

    assert frame.image.shape == (48, 64, 3)
    assert frame.image[0, 0].tolist() == [200, 100, 50]
    assert FakePicamera2.last.calls == ["configure", "start", "stop", "close"]
    assert FakePicamera2.last.configuration["controls"] == {"FrameRate": 20}


@pytest.mark.usefixtures("picamera2")
def test_a_camera_that_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    source = made("csi://0")
    source.open()
    monkeypatch.setattr(FakePicamera2, "silent", True)
    with pytest.raises(SourceError, match="no frame within 3 s"):
        source.read()


@pytest.mark.usefixtures("picamera2")
def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(SourceError, match=r"camera 3 cannot be opened \(list index out of range\).*--list-cameras"):
        made("csi://3").open()


def test_without_picamera2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(SourceError, match="sudo apt install python3-picamera2"):
        made("csi://0").open()


def test_what_is_no_number() -> None:
    with pytest.raises(OptionError, match="camera's number"):
        made("csi://front")
