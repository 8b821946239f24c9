"""V4L2 cameras as far as there are any without one: what is missing, what is listed, what is asked of OpenCV."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.errors import OptionError, SourceError
from edgecnn.runtime.sources import camera
from tests.runtime.sources.addresses import made, next_frame


def tree(root: Path) -> Path:
    """A /dev with two cameras, the second with a stable name, and what is no camera."""
    (root / "v4l/by-id").mkdir(parents=True)
    for name in ("video0", "video2", "video10", "videodisk"):
        (root / name).touch()
    (root / "v4l/by-id/usb-Maker_Cam_1234-video-index0").symlink_to("../../video2")
    return root


def test_cameras_are_listed_with_their_stable_names(tmp_path: Path) -> None:
    assert camera.devices(tree(tmp_path)) == [
        f"{tmp_path}/video0",
        f"{tmp_path}/video2 ({tmp_path}/v4l/by-id/usb-Maker_Cam_1234-video-index0)",
        f"{tmp_path}/video10",
    ]
    assert camera.devices(tmp_path / "nothing") == []


@pytest.mark.parametrize("text", ["97", "camera:97", "/dev/video97"])
def test_a_missing_camera(text: str) -> None:
    with pytest.raises(SourceError, match=r"there is no /dev/video97\. (No camera was found|There are: )"):
        made(text).open()


def test_a_missing_camera_names_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "devices", lambda: ["/dev/video2 (/dev/v4l/by-id/usb-Maker_Cam)"])
    with pytest.raises(SourceError, match=r"There are: /dev/video2 \(/dev/v4l/by-id/usb-Maker_Cam\)\. Prefer"):
        made("97").open()


def test_a_device_that_is_no_camera(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot be opened as a camera\. Does another program use it"):
        made(f"camera:{tree(tmp_path)}/video0").open()


def test_what_is_no_address() -> None:
    with pytest.raises(OptionError, match="camera's number or its device"):
        made("camera:front")
    with pytest.raises(OptionError, match="format is four letters"):
        made("camera:0?format=MJPEG")
    with pytest.raises(OptionError, match="640x480"):
        made("camera:0?size=640")


class FakeCapture:
    """What OpenCV would be for a camera that gives two frames and is then unplugged."""

    made: list[FakeCapture]

    def __init__(self, path: str, backend: int) -> None:
        self.path, self.backend, self.set_to, self.reads, self.released = path, backend, [], 0, False
        self.made.append(self)

    def isOpened(self) -> bool:
        return True

    def set(self, prop: int, value: float) -> bool:
        self.set_to.append((prop, value))
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.reads += 1
        return (False, None) if self.reads > 2 else (True, np.full((4, 6, 3), self.reads, np.uint8))

    def release(self) -> None:
        self.released = True


def test_reading_and_unplugging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCapture, "made", [], raising=False)
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    monkeypatch.delenv("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", raising=False)
    link = tree(tmp_path) / "v4l/by-id/usb-Maker_Cam_1234-video-index0"
    source = made(f"camera:{link}?size=1280x720&fps=30&format=MJPG")
    source.open()
    (capture,) = FakeCapture.made
    levels = [next_frame(source).image.mean() for _ in range(2)]
    with pytest.raises(SourceError, match="no frame within 3 s: unplugged"):
        source.read()
    source.close()

    assert levels == [1, 2]
    assert (capture.path, capture.backend) == (f"{tmp_path}/video2", cv2.CAP_V4L2)
    assert capture.set_to == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_FPS, 30),
        (cv2.CAP_PROP_BUFFERSIZE, camera.BUFFERS),
    ]
    assert capture.released
    assert os.environ.pop("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT") == "3"
    source.open()
    assert next_frame(source).image.mean() == 1
    source.close()
