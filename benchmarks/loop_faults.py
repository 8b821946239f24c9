"""What the camera loop says while its source is at fault, and how soon it is back: one table.

    python -m benchmarks.loop_faults
    python -m benchmarks.loop_faults --only rtsp

A real server on loopback is killed, frozen, made to send garbage and so on while a model watches it that says PASS to
everything: nothing but the loop keeps a bad picture from being called good.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import edgecnn
from edgecnn.runtime.loop.loop import LoopSettings
from edgecnn.runtime.loop.statistics import Snapshot
from edgecnn.runtime.model import Model
from edgecnn.runtime.sources import READ_SECONDS
from edgecnn.vision.results import Verdict
from tests.end_to_end.loop.watch import Image, Turn, Watch, ball_flaw, stamp, stamped, write_tiny
from tests.servers.mjpeg import MjpegServer
from tests.servers.proxy import Proxy
from tests.servers.rtsp import RtspServer

NOTICE_SECONDS = LoopSettings().silence + READ_SECONDS
"""Longest until a source that is lost, in whatever way, has to be called INVALID."""
BACK_SECONDS = 5.0
"""Longest until a verdict after the source is back."""
MOST_WAITING = 2
"""Frames that may be on their way from the source to a verdict at any time."""
OLD_SECONDS = 2.0
"""Age above which a picture is not the live one any more: the time of silence, and as much for a busy machine."""


class Camera(Protocol):
    """A server with a cable to it, and what is known of its pictures."""

    url: str
    tells_time: bool

    def flaw(self, image: Image) -> str:
        """Say what is wrong with a picture; empty if nothing is."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Mjpeg:
    """An MJPEG camera that draws the time into its pictures."""

    tells_time = True

    def __init__(self) -> None:
        self.server = self._started()
        self.cable = Proxy(self.server.port)
        self.url = f"http://127.0.0.1:{self.cable.port}/video.mjpg"

    def flaw(self, image: Image) -> str:
        """Nothing beside the time is known."""
        return ""

    def kill(self) -> None:
        """End the server."""
        self.server.stop()

    def start(self) -> None:
        """Start it on the port it had."""
        self.server = self._started(self.server.port)

    def close(self) -> None:
        """End server and cable."""
        self.server.stop()
        self.cable.stop()

    @staticmethod
    def _started(port: int = 0) -> MjpegServer:
        server = MjpegServer(port, fps=25.0)
        server.frame = lambda number: stamped(server.size)
        return server


class Rtsp:
    """An RTSP camera: a white ball on grey."""

    tells_time = False

    def __init__(self) -> None:
        self.server = RtspServer()
        self.cable = Proxy(self.server.port)
        self.url = f"rtsp://127.0.0.1:{self.cable.port}/camera"
        self._babble: Babble | None = None

    def flaw(self, image: Image) -> str:
        """Look for smeared areas."""
        return ball_flaw(image)

    def kill(self) -> None:
        """End the server."""
        self.server.kill()

    def start(self) -> None:
        """Start it on the port it had."""
        if self._babble is not None:
            self._babble.stop()
        self._babble = None
        self.server.start()

    def babble(self) -> None:
        """Put something in its place that answers with garbage."""
        self.server.kill()
        self._babble = Babble(self.server.port)

    def close(self) -> None:
        """End server and cable."""
        if self._babble is not None:
            self._babble.stop()
        self.server.kill()
        self.cable.stop()


class Babble:
    """A server that sends random bytes to everybody."""

    def __init__(self, port: int) -> None:
        self._server = socket.create_server(("127.0.0.1", port))
        self._server.settimeout(0.1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
        self._thread.join()
        self._server.close()

    def _work(self) -> None:
        noise = bytes(range(256)) * 64
        while not self._stopping.is_set():
            with suppress(OSError), self._server.accept()[0] as client:
                client.settimeout(0.5)
                while not self._stopping.wait(0.02):
                    client.sendall(noise)


@dataclass(frozen=True)
class Fault:
    """Something that happens to a camera.

    Attributes:
        name: What it is called.
        camera: Makes the camera.
        begin: Lets it happen.
        end: Mends it; when it returns, the camera accepts connections and sends pictures.
        silent: Whether the camera shows nothing meanwhile: then INVALID must come, and PASS must not.
        seconds: How long it lasts.
    """

    name: str
    camera: Callable[[], Camera]
    begin: Callable[[Camera], object]
    end: Callable[[Camera], object]
    silent: bool = True
    seconds: float = NOTICE_SECONDS + 2.0


@dataclass(frozen=True)
class Outcome:
    """What the loop did.

    Attributes:
        fault: The fault's name.
        during: Number of turns by verdict while it lasted.
        findings: Number of turns by finding while it lasted.
        wrong: Turns that said PASS on a picture that was not the live one, or not as the camera drew it.
        invalid: Seconds until the first INVALID, None if there was none.
        back: Seconds from the camera's return to the first turn that was not INVALID.
        figures: The loop's, at the end.
    """

    fault: str
    during: dict[str, int]
    findings: dict[str, int]
    wrong: list[Turn]
    invalid: float | None
    back: float
    figures: Snapshot


def watch_through(model: Model, fault: Fault) -> Outcome:
    """Let a fault happen to a camera that is being watched."""
    camera = fault.camera()
    try:
        loop = model.watch(camera.url)
        with Watch(loop, stamp if camera.tells_time else lambda image: None, camera.flaw) as watch:
            watch.steady()
            begun = time.monotonic()
            fault.begin(camera)
            time.sleep(fault.seconds)
            if fault.silent:
                # On a busy machine it may begin late to be noticed; how late, the loop's own times say.
                watch.until(lambda: any(not turn.trusted for turn in watch.since(begun)), "INVALID")
            fault.end(camera)
            ended = time.monotonic()
            watch.steady(ended)
            # A frame that makes room for a newer one is counted with the next turn.
            watch.until(lambda: 0 <= unaccounted(loop.snapshot()) <= MOST_WAITING, "an account of every frame")
            return _outcome(fault, watch.since(begun), begun, ended, loop.snapshot())
    finally:
        camera.close()


def unaccounted(figures: Snapshot) -> int:
    """Return how many frames of the source were neither judged nor counted as dropped."""
    judged = figures.turns - figures.findings.get("no_frame", 0) - figures.findings.get("unreadable", 0)
    return figures.frames - judged - figures.dropped


def _outcome(fault: Fault, turns: list[Turn], begun: float, ended: float, figures: Snapshot) -> Outcome:
    during = [turn for turn in turns if turn.at < ended]
    verdicts = Counter("NONE" if turn.verdict is None else turn.verdict.value for turn in during)
    return Outcome(
        fault.name,
        dict(verdicts),
        dict(Counter(kind for turn in during for kind in turn.kinds)),
        [turn for turn in turns if turn.verdict is Verdict.PASS and _is_wrong(turn, fault, begun, ended)],
        next((turn.at - begun for turn in during if not turn.trusted), None),
        next(turn.at - ended for turn in turns if turn.at >= ended and turn.trusted),
        figures,
    )


def _is_wrong(turn: Turn, fault: Fault, begun: float, ended: float) -> bool:
    """Tell whether a PASS is no verdict about what the camera sees now."""
    old = turn.shown is not None and turn.at - turn.shown > OLD_SECONDS
    dead = fault.silent and begun + OLD_SECONDS < turn.captured and turn.at < ended
    return old or dead or bool(turn.flaw)


def _mode(mode: str) -> Callable[[Camera], object]:
    return lambda camera: setattr(camera.server, "mode", mode)


def _cable(mode: str) -> Callable[[Camera], object]:
    return lambda camera: setattr(camera.cable, "mode", mode)


def _size(width: int, height: int) -> Callable[[Camera], object]:
    return lambda camera: setattr(camera.server, "size", (width, height))


def _restart(camera: Camera) -> None:
    camera.kill()
    camera.start()


def _restart_larger(camera: Camera) -> None:
    camera.kill()
    camera.server.size = (640, 480)
    camera.start()


def _nothing(camera: Camera) -> None:
    pass


FAULTS = (
    Fault("mjpeg killed", Mjpeg, Mjpeg.kill, Mjpeg.start),
    Fault("mjpeg restarted", Mjpeg, _restart, _nothing, False, 2.0),
    Fault("mjpeg frozen", Mjpeg, _mode("freeze"), _mode("ok")),
    Fault("mjpeg trickles", Mjpeg, _mode("trickle"), _mode("ok")),
    Fault("mjpeg garbage between pictures", Mjpeg, _mode("garbage"), _mode("ok"), False, 2.0),
    Fault("mjpeg pictures cut in half", Mjpeg, _mode("damaged"), _mode("ok"), True, 3.0),
    Fault("mjpeg nothing but noise", Mjpeg, _mode("noise"), _mode("ok")),
    Fault("mjpeg picture without end", Mjpeg, _mode("endless"), _mode("ok")),
    Fault("mjpeg hangs up at once", Mjpeg, _mode("close"), _mode("ok")),
    Fault("mjpeg cable stalls", Mjpeg, _cable("stall"), _cable("ok"), True, 2.5),
    Fault("mjpeg larger pictures", Mjpeg, _size(640, 480), _nothing, False, 2.0),
    Fault("rtsp killed", Rtsp, Rtsp.kill, Rtsp.start),
    Fault("rtsp restarted", Rtsp, _restart, _nothing, False, 4.0),
    Fault("rtsp frozen", Rtsp, lambda camera: camera.server.freeze(), lambda camera: camera.server.thaw()),
    Fault("rtsp garbage for an answer", Rtsp, Rtsp.babble, Rtsp.start),
    Fault("rtsp bytes changed on the way", Rtsp, _cable("garbage"), _cable("ok"), False, 4.0),
    Fault("rtsp cable stalls", Rtsp, _cable("stall"), _cable("ok"), True, 2.5),
    Fault("rtsp larger pictures", Rtsp, _restart_larger, _nothing, False, 4.0),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="faults whose name holds this")
    options = parser.parse_args()
    columns = f"{'fault':34} {'PASS':>6} {'INVALID':>8} {'wrong':>6} {'INVALID after':>14} {'back after':>11}"
    print(f"{columns}  findings, connects")
    with tempfile.TemporaryDirectory() as folder, edgecnn.load(write_tiny(Path(folder))) as model:
        for fault in FAULTS:
            if options.only in fault.name:
                _show(watch_through(model, fault))


def _show(found: Outcome) -> None:
    invalid = "-" if found.invalid is None else f"{found.invalid:.2f} s"
    counts = f"{found.during.get('PASS', 0):6} {found.during.get('INVALID', 0):8} {len(found.wrong):6}"
    said = f"{found.findings} {found.figures.connects}"
    print(f"{found.fault:34} {counts} {invalid:>14} {found.back:9.2f} s  {said}", flush=True)


if __name__ == "__main__":
    main()
