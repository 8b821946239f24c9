"""Network cameras: ``rtsp://user:${CAMERA_PASSWORD}@192.168.1.20/stream1``, decoded by PyAV.

Over TCP: with UDP a lost packet leaves smeared pictures that no health check is sure to notice.
"""

from __future__ import annotations

import errno
import importlib
import math
import time
from typing import Any

import numpy as np

from edgecnn.errors import MissingSourceError, OptionError, SourceError
from edgecnn.runtime.address import Address
from edgecnn.runtime.sources import OPEN_SECONDS, READ_SECONDS, Frame, NoFrame
from edgecnn.runtime.sources._interlaced import Deinterlacer

LIVE = True
EXAMPLE = "rtsp://192.168.1.20/stream1"
REQUIREMENT = "av>=14.0"
OLD_SECONDS = 0.3
"""A frame that comes so much later than others did is passed over: newer ones are waiting behind it."""
CATCH_UP_SECONDS = 1.0
DRIFT = 1e-3
_OPTIONS = {
    "rtsp_transport": "tcp",
    # Hand every packet on at once, and do not read ahead to guess what the stream's own description says.
    "fflags": "nobuffer",
    "flags": "low_delay",
    "analyzeduration": "500000",
    "probesize": "500000",
}


def source(address: Address) -> RtspStream:
    """Return a stream. What stands behind ``?`` belongs to the camera."""
    if not address.host:
        raise OptionError(f"{address}: expected a host, for example {EXAMPLE}.")
    return RtspStream(address)


class RtspStream:
    """The first video stream that a camera sends.

    Args:
        address: Where it is; user name and password are used, and shown nowhere.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._container: Any = None
        self._packets: Any = None
        self._backlog, self._deinterlacer = _Backlog(), Deinterlacer()
        self._damaged: float | None = None

    def open(self) -> None:
        """Connect; see `Source`."""
        self.close()
        av, begun = _av(self._address), time.monotonic()
        try:
            container = av.open(self._address.url, options=_OPTIONS, timeout=(OPEN_SECONDS, READ_SECONDS))
        # Neither FFmpeg's message nor its exception may go on: both hold the address with its password.
        except av.error.FFmpegError as error:
            late = time.monotonic() - begun >= OPEN_SECONDS
            reason = f"no answer within {OPEN_SECONDS:g} s" if late else _reason(error)
            raise SourceError(f"{self._address}: cannot be opened: {reason}.") from None
        self._container = container
        if not container.streams.video:
            self.close()
            raise SourceError(f"{self._address}: the camera sends no video. Is the path right?")
        stream = container.streams.video[0]
        # Decoding several frames at a time would make each of them older by that many.
        stream.thread_type = "SLICE"
        self._packets = container.demux(stream)
        self._backlog, self._deinterlacer = _Backlog(), Deinterlacer()
        self._damaged = None

    def read(self) -> Frame | NoFrame:
        """Return the next frame, whatever its size is now; `NoFrame` for one that is damaged; see `Source`."""
        if self._packets is None:
            raise SourceError(f"{self._address}: not open.")
        begun = time.monotonic()
        while True:
            frames = self._decoded()
            elapsed = time.monotonic() - begun
            # Checked before the frame is used: when a stream falls silent, FFmpeg hands out the frame that it held back
            # as soon as its time-out is over, and that frame is old.
            if elapsed >= READ_SECONDS:
                raise SourceError(f"{self._address}: no picture within {READ_SECONDS:g} s.")
            if not frames or self._backlog.is_old(frames[-1].time, elapsed):
                continue
            if self._damaged is None:
                return Frame(np.asarray(frames[-1].to_ndarray(format="bgr24"), np.uint8))
            if time.monotonic() - self._damaged >= READ_SECONDS:
                raise SourceError(f"{self._address}: the stream was damaged, and no whole picture came since.")
            return NoFrame(f"{self._address}: the stream is damaged; waiting for a picture that needs no other.")

    def close(self) -> None:
        """Disconnect."""
        container, self._container, self._packets = self._container, None, None
        if container is not None:
            container.close()

    def _decoded(self) -> list[Any]:
        """Return the frames that the next packet completes.

        Raises:
            SourceError: If there is no next packet.
        """
        av = _av(self._address)
        try:
            packet = next(self._packets, None)
            if packet is not None:
                frames = list(packet.decode())
                self._judge(frames)
                return [ready for frame in frames for ready in self._deinterlacer.push(frame)]
        except av.error.InvalidDataError:
            self._damaged = self._damaged or time.monotonic()
            return []  # the next packets may be whole
        except av.error.ExitError:
            return []  # FFmpeg's name for a time-out
        except av.error.FFmpegError as error:
            raise SourceError(f"{self._address}: the stream broke off: {_reason(error)}.") from None
        raise SourceError(f"{self._address}: the camera ended the stream.")

    def _judge(self, frames: list[Any]) -> None:
        """Note damage, and its end. A picture is made from those before it, so damage lasts until the next key frame.

        FFmpeg paints over what it could not decode, which looks like a picture and is none.
        """
        for frame in frames:
            if frame.is_corrupt:
                self._damaged = self._damaged or time.monotonic()
            elif frame.key_frame:
                self._damaged = None


class _Backlog:
    """Tells frames that waited in buffers from new ones, by how late they are against the most punctual one so far."""

    def __init__(self) -> None:
        self._least, self._stamp = math.inf, -math.inf
        self._looked = time.monotonic()

    def is_old(self, stamp: float | None, waiting: float) -> bool:
        """Tell whether a newer frame is waiting already.

        Args:
            stamp: The frame's time on the camera's clock, in seconds; None without one.
            waiting: For how many seconds frames have been passed over. After `CATCH_UP_SECONDS` the camera's clock was
                set, and counts anew.
        """
        before, self._stamp = self._stamp, -math.inf if stamp is None else stamp
        # A camera whose clock stands still says nothing about how late a frame is.
        if stamp is None or stamp <= before:
            return False
        now = time.monotonic()
        # No two clocks run alike: what is most punctual is forgotten slowly.
        self._least += DRIFT * (now - self._looked)
        self._looked = now
        lateness = now - stamp
        self._least = lateness if waiting > CATCH_UP_SECONDS else min(self._least, lateness)
        return lateness - self._least > OLD_SECONDS


def _av(address: Address) -> Any:
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise MissingSourceError(
            f"{address}: RTSP needs a package ({error}). Install it: pip install '{REQUIREMENT}'"
        ) from error


def _reason(error: Any) -> str:
    """Return what FFmpeg says, without the address that it appends."""
    if error.errno == errno.EPROTONOSUPPORT:
        return (
            "the camera does not send over TCP. UDP is not taken: a lost packet leaves a picture that is wrong and "
            "looks right. Allow TCP (interleaved) in the camera's settings, or put a relay (MediaMTX) between"
        )
    return str(error.strerror or type(error).__name__)
