"""A drawn conveyor, to try everything with nothing attached: ``conveyor:``, ``conveyor:?defects=0.3&faults=0.2``.

Every frame says what was drawn, so that verdicts can be checked: ``good``, the defect's kind, ``gap`` (the empty belt),
``passing`` (a part partly in view), or the camera fault that was thrown in.
"""

from __future__ import annotations

import cv2
import numpy as np

from edgecnn.errors import OptionError, SourceError, unknown_name
from edgecnn.runtime.address import Address, Options
from edgecnn.runtime.sources import Frame, Image
from edgecnn.runtime.sources._options import size_option
from edgecnn.runtime.sources._pace import Pace
from edgecnn.vision.synthetic.conveyor import SHIFTS, Conveyor, camera_noise, with_noise

LIVE = True
EXAMPLE = "conveyor:?fps=30&defects=0.2&faults=0.1"
DEFAULT_SIZE = (640, 480)
SMALLEST_SIDE = 64
FAULTS = ("black", "white", "frozen", "blurred", "noise", "shifted", "lost")
FAULT_SECONDS = 2.0
DEFAULT_SHARE = 0.2
"""Share of the time with a fault where the faults are named and the share is not."""


def source(address: Address) -> ConveyorSource:
    """Return a conveyor.

    Options: ``size`` (WxH), ``fps`` (0: as fast as it is read), ``seed``, ``defects`` (share of the parts), ``parts``
    (per second), ``faults``: the share of the time with a camera fault, or names of `FAULTS` with commas between them,
    which come in turn.
    """
    options = address.options()
    size = size_option(options) or DEFAULT_SIZE
    fps, seed = options.number("fps", 30, 0, 1000), options.integer("seed", 0, 0, 2**31)
    defects, rate = options.number("defects", 0.2, 0, 1), options.number("parts", 1, 0.01, 100)
    kinds, share = _fault_option(options)
    options.done()
    if min(size) < SMALLEST_SIDE:
        raise OptionError(f"{address}: a side of the size must be at least {SMALLEST_SIDE}.")
    return ConveyorSource(size, fps, seed, defects, rate, kinds, share)


class ConveyorSource:
    """A camera over a drawn conveyor.

    Args:
        size: (width, height) of the frames.
        fps: Frames per second, 0 for as many as are read; then time goes by `Pace.NOMINAL_FPS`.
        seed: Decides the parts, their order and the noise.
        defects: Share of the parts with a defect.
        rate: Parts per second.
        faults: Camera faults that come in turn.
        share: Share of the time with a fault, 0..0.5.
    """

    def __init__(
        self,
        size: tuple[int, int] = DEFAULT_SIZE,
        fps: float = 0.0,
        seed: int = 0,
        defects: float = 0.2,
        rate: float = 1.0,
        faults: tuple[str, ...] = FAULTS,
        share: float = 0.0,
    ) -> None:
        self._size, self._seed, self._defects, self._rate = size, seed, defects, rate
        self._faults, self._share = faults, share
        self._pace = Pace(fps)
        self._conveyor: Conveyor | None = None
        self._noise = np.zeros(0, np.uint8)
        self._snow: Image | None = None
        self._last: Image | None = None
        self._is_open = False

    def open(self) -> None:
        """Draw the parts at the first time; later ones fail while the camera is `lost`; see `Source`."""
        if self._conveyor is None:
            self._conveyor = Conveyor(self._size, self._seed, self._defects, self._rate)
            self._noise = camera_noise(self._size, self._seed)
            self._pace.start()
        elif self.fault(self._pace.now()) == "lost":
            raise SourceError("conveyor: the camera is unplugged, as asked for; it comes back by itself.")
        self._is_open = True

    def read(self) -> Frame:
        """Return the next frame that is due; see `Source`."""
        if self._conveyor is None or not self._is_open:
            raise SourceError("conveyor: not open.")
        number, seconds = self._pace.next()
        fault = self.fault(seconds)
        if fault == "lost":
            self._pace.skip(self._fault_end(seconds))
            raise SourceError("conveyor: the camera was unplugged, as asked for.")
        scene = self._conveyor.at(seconds)
        image = self._seen(with_noise(scene.frame, self._noise, number), fault, number)
        self._last = image
        return Frame(image, f"part-{scene.part}", seconds, fault or scene.truth)

    def close(self) -> None:
        """Stop; the belt runs on."""
        self._is_open = False

    @property
    def empty(self) -> Image:
        """The empty belt without noise, uint8 (height, width, 3) BGR."""
        return (self._conveyor or Conveyor(self._size, self._seed, variety=2)).empty

    def fault(self, seconds: float) -> str:
        """Return the fault at a time, empty without one. Each period ends with its fault."""
        if not self._faults or self._share <= 0:
            return ""
        period = FAULT_SECONDS / self._share
        count, within = divmod(seconds, period)
        return self._faults[int(count) % len(self._faults)] if within >= period - FAULT_SECONDS else ""

    def _fault_end(self, seconds: float) -> float:
        period = FAULT_SECONDS / self._share
        return (seconds // period + 1.0) * period

    def _seen(self, image: Image, fault: str, number: int) -> Image:
        """Return what a camera with this fault makes of a picture."""
        if fault == "black":
            return with_noise(np.zeros_like(image), self._noise, number)
        if fault == "white":
            return np.full_like(image, 255)
        if fault == "frozen" and self._last is not None:
            return self._last.copy()
        if fault == "blurred":
            return _blurred(image)
        if fault == "noise":
            if self._snow is None:
                self._snow = np.random.default_rng(self._seed).integers(0, 256, self._noise.shape, np.uint8)
            return _noisy(image, self._snow, number)
        return _shifted(image) if fault == "shifted" else image


def _fault_option(options: Options) -> tuple[tuple[str, ...], float]:
    """Return the faults that come in turn, and the share of the time with one."""
    text = options.text("faults", "0")
    if text.replace(".", "", 1).isdecimal():
        return FAULTS, options.number("faults", 0, 0, 0.5)
    kinds = tuple(text.split(","))
    for kind in kinds:
        if kind not in FAULTS:
            raise unknown_name("camera fault", kind, FAULTS)
    return kinds, DEFAULT_SHARE


def _blurred(image: Image) -> Image:
    """A lens far out of focus."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(4, width // 24), max(4, height // 24)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _noisy(image: Image, snow: Image, number: int) -> Image:
    """A bad cable: the picture drowns in noise."""
    height, width = image.shape[:2]
    x, y = number * 37 % SHIFTS, number * 59 % (SHIFTS - 1)
    return np.asarray(cv2.addWeighted(image, 0.4, snow[y : y + height, x : x + width], 0.6, 0.0), np.uint8)


def _shifted(image: Image) -> Image:
    """A camera that was knocked: it looks at the machine's frame beside the belt."""
    height, width = image.shape[:2]
    seen = np.empty_like(image)
    seen[:] = np.linspace(70, 130, height)[:, None, None].astype(np.uint8)
    seen[:: max(8, height // 12)] = 40
    seen[: height * 2 // 3, : width * 3 // 5] = image[
        height // 3 : height // 3 + height * 2 // 3, width - width * 3 // 5 :
    ]
    return seen
