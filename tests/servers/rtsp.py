"""An RTSP camera as a process of its own: it can be stopped, killed, frozen and started again on the same port."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "rtsp_server.py"
PYTHON = "/usr/bin/python3"
_NEEDED = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


def require_rtsp() -> None:
    """Skip the test where Debian's GStreamer packages are not installed."""
    if not os.path.exists(PYTHON) or subprocess.run([PYTHON, "-c", _NEEDED], capture_output=True).returncode:
        pytest.skip("needs python3-gi, gir1.2-gst-rtsp-server-1.0 and gstreamer1.0-plugins-{base,good,ugly}")


class RtspServer:
    """A camera at ``url``: a moving ball, or an H.264 byte stream over and over. A context manager.

    Args:
        stream: The byte stream, see `byte_stream`; None for the ball.
        size: (width, height) of the ball's picture.
        fps: Frames per second.
        user: ``"name:password"`` that is asked for, empty for none.
        only_udp: Whether it refuses to send over TCP.
    """

    def __init__(
        self,
        stream: Path | None = None,
        size: tuple[int, int] = (320, 240),
        fps: int = 25,
        user: str = "",
        only_udp: bool = False,
    ) -> None:
        self._options = ["--udp"] if only_udp else []
        self.stream, self.size, self.fps, self.user, self.port = stream, size, fps, user, 0
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/camera"

    def start(self) -> None:
        """Start it, on the port it had before."""
        width, height = self.size
        options = [*self._options, "--port", str(self.port), "--size", f"{width}x{height}", "--fps", str(self.fps)]
        options += ["--file", str(self.stream)] if self.stream else []
        options += ["--user", self.user] if self.user else []
        self._process = subprocess.Popen([PYTHON, str(SCRIPT), *options], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.strip(), "the RTSP server did not start"
        self.port = int(line)

    def freeze(self) -> None:
        """Let it hang: connections stay open, nothing is sent."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, frozen or not."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def byte_stream(video: Path, target: Path, frames: int = 75, size: tuple[int, int] | None = None) -> Path:
    """Turn the beginning of a video into an H.264 byte stream without delay; skips without ffmpeg."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    scale = ["-vf", f"scale={size[0]}:{size[1]}"] if size else []
    coding = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "15", "-threads", "1"]
    command = ["ffmpeg", "-v", "error", "-y", "-i", video, "-frames:v", str(frames), "-an", *scale, *coding]
    subprocess.run([*command, "-f", "h264", target], check=True)
    return target
