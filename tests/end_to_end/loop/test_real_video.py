"""Real videos as an RTSP camera, through a whole loop with a bundle that was calibrated on them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import cv2
import pytest

import edgecnn
from benchmarks.loop_faults import MOST_WAITING, unaccounted
from edgecnn.cli import app
from tests.end_to_end.loop.test_files import assert_whole
from tests.end_to_end.loop.watch import UNHURRIED, Watch
from tests.servers.rtsp import RtspServer, byte_stream, require_rtsp

pytestmark = [pytest.mark.data, pytest.mark.slow]

FRAMES = 200
VIDEOS = {"conveyor-bottles": (360, 640), "road-solidWhiteRight": (540, 960)}


@pytest.fixture(params=VIDEOS)
def name(request: pytest.FixtureRequest) -> str:
    require_rtsp()
    return str(request.param)


def calibrated(video: Path, folder: Path) -> Path:
    """Export the built-in defect model with every fourth frame of a video's beginning."""
    stills = folder / "stills"
    stills.mkdir()
    keep = ["-vf", "select=not(mod(n\\,4))", "-fps_mode", "passthrough", "-frames:v", str(FRAMES // 4)]
    subprocess.run(["ffmpeg", "-v", "error", "-i", video, *keep, stills / "%04d.png"], check=True)
    bundle = folder / "bundle"
    line = ["export", "defect", "-t", "rpi", "--recipe", "fast", "--calibrate", str(stills), "-o", str(bundle)]
    assert app.main(line) == 0
    return bundle


def test_end_to_end(data_dir: Path, tmp_path: Path, name: str) -> None:
    video = data_dir / "video" / f"{name}.mp4"
    bundle = calibrated(video, tmp_path)
    stream = byte_stream(video, tmp_path / "stream.h264", FRAMES)
    sinks = [
        f"video:{tmp_path}/overlay.mp4?fps=25",
        f"recorder:{tmp_path}/events?before=0.2&after=0.2",
        f"jsonl:{tmp_path}/log.jsonl?every=turn",
    ]
    with RtspServer(stream) as server, edgecnn.load(bundle, threads=1) as model:
        loop = model.watch(server.url, sinks=sinks, settings=UNHURRIED)
        with Watch(loop) as watch:
            watch.until(lambda: sum(bool(turn.shape) for turn in watch.turns) >= FRAMES - 20, "the video")
            # A frame that makes room for a newer one is counted with the next turn.
            watch.until(lambda: 0 <= unaccounted(loop.snapshot()) <= MOST_WAITING, "an account of every frame")
        figures = loop.snapshot()

    seen = [turn for turn in watch.turns if turn.shape]
    assert watch.error is None
    assert {turn.shape for turn in seen} == {(*VIDEOS[name], 3)}
    assert (figures.connects, figures.findings.get("unreadable", 0)) == (1, 0)
    assert sum(not turn.trusted for turn in seen) <= 0.1 * len(seen)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert sum("verdict" in json.loads(line) for line in lines) == figures.turns
    assert_whole(tmp_path / "events")
    assert_overlay(tmp_path / "overlay.mp4")


def assert_overlay(path: Path) -> None:
    """The clip plays in real time, and a bar in the verdict's colour is above each picture."""
    capture = cv2.VideoCapture(str(path))
    pictures = []
    while (found := capture.read())[0]:
        pictures.append(found[1])
    capture.release()
    assert len(pictures) > FRAMES // 2
    assert {picture.shape for picture in pictures} == {(360, 640, 3)}
    bars = [picture[4:40, 300:340].reshape(-1, 3).mean(0) for picture in pictures]
    # Green, red or amber: none of them is grey, and the road and the belt are.
    assert all(bar.max() - bar.min() > 60 for bar in bars)
