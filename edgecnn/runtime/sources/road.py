"""A drawn road, to try lane models with nothing attached: ``road:``, ``road:?seed=3&speed=30``.

Every frame says how the lines of the own lane were drawn: ``dashed/solid`` is a dashed left and a solid right one. The
lines themselves are in `edgecnn.vision.synthetic.roads`.
"""

from __future__ import annotations

import numpy as np

from edgecnn.errors import OptionError, SourceError
from edgecnn.runtime.address import Address
from edgecnn.runtime.sources import Frame
from edgecnn.runtime.sources._options import size_option
from edgecnn.runtime.sources._pace import Pace
from edgecnn.vision.synthetic.conveyor import camera_noise, with_noise
from edgecnn.vision.synthetic.roads import Road

LIVE = True
EXAMPLE = "road:?fps=30&seed=1"
DEFAULT_SIZE = (640, 360)
SMALLEST_SIDE = 64


def source(address: Address) -> RoadSource:
    """Return a road. Options: ``size`` (WxH), ``fps`` (0: as fast as it is read), ``seed``, ``speed`` (m/s)."""
    options = address.options()
    size = size_option(options) or DEFAULT_SIZE
    fps, seed = options.number("fps", 30, 0, 1000), options.integer("seed", 0, 0, 2**31)
    speed = options.number("speed", 20, 0, 100)
    options.done()
    if min(size) < SMALLEST_SIDE:
        raise OptionError(f"{address}: a side of the size must be at least {SMALLEST_SIDE}.")
    return RoadSource(size, fps, seed, speed)


class RoadSource:
    """A camera in a car on a drawn road.

    Args:
        size: (width, height) of the frames.
        fps: Frames per second, 0 for as many as are read.
        seed: Decides the road.
        speed: Metres per second.
    """

    def __init__(
        self, size: tuple[int, int] = DEFAULT_SIZE, fps: float = 0.0, seed: int = 0, speed: float = 20.0
    ) -> None:
        self._size, self._seed, self._speed = size, seed, speed
        self._pace = Pace(fps)
        self._road: Road | None = None
        self._noise = np.zeros(0, np.uint8)
        self._is_open = False

    def open(self) -> None:
        """Draw the ground, the first time; see `Source`."""
        if self._road is None:
            self._road = Road(self._size, self._seed)
            self._noise = camera_noise(self._size, self._seed)
            self._pace.start()
        self._is_open = True

    def read(self) -> Frame:
        """Return the next frame that is due; see `Source`."""
        if self._road is None or not self._is_open:
            raise SourceError("road: not open.")
        number, seconds = self._pace.next()
        scene = self._road.at(seconds * self._speed, labels=False)
        image = with_noise(scene.frame, self._noise, number)
        return Frame(image, "", seconds, f"{self._road.left}/{self._road.right}")

    def close(self) -> None:
        """Stop."""
        self._is_open = False
