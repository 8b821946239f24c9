"""A drawn road as a camera behind a windscreen sees it, with the lines of the own lane as ground truth.

The ground is one long picture from above, asphalt, lines, shadows and grass, looked at through a pinhole camera over a
flat plane that bends: a point ``z`` metres ahead and ``x`` to the right appears at ``u = centre + f * x / z`` and
``v = horizon + f * HEIGHT / z``, with ``x`` moved by ``curvature * z**2 / 2``. The road comes again every `PERIOD`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.vision.synthetic.textures import noise

Frame = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]
Colour = tuple[float, float, float]

CLASSES = ("background", "left dashed", "left solid", "right dashed", "right solid")
LANE, LINE = 3.6, 0.16
"""Widths of a lane and of a line, in metres."""
HEIGHT, HORIZON, FOCAL = 1.3, 0.42, 0.8
"""Height of the camera in metres; of the frame's height and width: where the horizon lies, and the focal length."""
PERIOD, HALF_WIDTH, ROAD = 72.0, 12.0, 6.2
"""Metres after which the ground repeats, half the width of its picture, and half that of the asphalt."""
DASH, DASH_PERIOD = 4.0, 12.0
FARTHEST = 70.0
"""Metres up to which lines are ground truth."""
_ACROSS, _ALONG = 0.03, 0.08
"""Metres of a pixel in the picture from above."""
_LEVELS = 5
_SEEN = 0.3
"""Share of a pixel that a line must cover to be labelled."""
_CAR = (1.8, 1.45)
_CALIBRATION = 1 << 20
"""First seed of the roads to calibrate on: nobody learns from these."""


@dataclass(frozen=True)
class RoadScene:
    """One picture and what is on it.

    Attributes:
        frame: uint8 (height, width, 3), BGR; the caller's own.
        mask: uint8 (height, width): indices of `CLASSES`. Of a dashed line the dashes alone; nothing behind a car.
        left: float32 (N, 2), (x, y) in pixels: the middle of the left line from near to far, gaps included.
        right: The same of the right line.
    """

    frame: Frame
    mask: Frame
    left: Values
    right: Values


class Road:
    """A drive along a drawn road.

    Args:
        size: (width, height) of the frames.
        seed: Decides the bends, the light, the lines and the cars.

    Attributes:
        left: Style of the left line, ``"dashed"`` or ``"solid"``.
        right: Style of the right line.
    """

    def __init__(self, size: tuple[int, int] = (640, 360), seed: int = 0) -> None:
        rng = np.random.default_rng([10, seed])
        self._size = size
        self.left, self.right = str(rng.choice(["dashed", "solid"])), str(rng.choice(["dashed", "solid"]))
        self._bend, self._bend_length = rng.uniform(0.0015, 0.004) * rng.choice([-1, 1]), rng.uniform(250, 500)
        self._tint = float(rng.uniform(0.8, 1.1))
        ground, lines = _ground(rng, self.left, self.right)
        self._ground, self._lines = _pyramid(ground), _pyramid(lines)
        self._horizon = round(HORIZON * size[1])
        self._far = _panorama(rng, round(2 * np.pi * FOCAL * size[0]), self._horizon + 4)
        self._depth = (FOCAL * size[0] * HEIGHT / (np.arange(size[1] - self._horizon) + 0.5)).astype(np.float32)
        self._cars = [
            (float(lane), float(rng.uniform(14, 30)), rng.uniform(30, 220, 3)) for lane in rng.permutation([0, 1])[:2]
        ]

    def at(self, metres: float, labels: bool = True) -> RoadScene:
        """Return the picture after so many metres.

        Args:
            metres: How far the car has gone, 0 or more.
            labels: Whether the mask is wanted, which takes a third of the time; without, it stays 0.
        """
        width, height = self._size
        bend = self._bend * np.sin(2 * np.pi * metres / self._bend_length)
        across = self._across(float(bend), 0.15 * float(np.sin(metres / 40.0)))
        along = self._depth + np.float32(metres % PERIOD)
        frame = np.empty((height, width, 3), np.uint8)
        frame[: self._horizon + 4] = self._sky(metres)
        frame[self._horizon :] = self._looked_at(self._ground, across, along)
        mask = np.zeros((height, width), np.uint8)
        if labels:
            self._label(mask[self._horizon :], self._looked_at(self._lines, across, along))
        for lane, distance, colour in self._cars:
            ahead = distance + 8.0 * float(np.sin(metres / 60.0 + lane))
            self._car(frame, mask, lane * LANE, ahead, colour, across)
        return RoadScene(frame, mask, self._line(across, -LANE / 2), self._line(across, LANE / 2))

    def _across(self, bend: float, sway: float) -> Values:
        """Return the lane's middle per row below the horizon, in metres to the right of the camera."""
        return np.asarray(sway + 0.5 * bend * np.minimum(self._depth, 400.0) ** 2, np.float32)

    def _looked_at(self, levels: Sequence[Frame], across: Values, along: Values) -> Frame:
        """Look at a picture from above through the camera; rows far away take a smaller picture of it."""
        width = self._size[0]
        columns = (np.arange(width, dtype=np.float32) - width / 2 + 0.5) / np.float32(FOCAL * width)
        step = self._depth**2 / (FOCAL * width * HEIGHT) / _ALONG
        chosen = np.clip(np.log2(np.maximum(step, 1.0)), 0, _LEVELS - 1).astype(int)
        seen = np.empty((len(along), width, levels[0].shape[2]), np.uint8)
        for level in range(_LEVELS):
            rows = np.flatnonzero(chosen == level)
            if len(rows):
                picture = levels[level]
                x = _folded(columns[None] * self._depth[rows, None] - across[rows, None])
                x = (x + HALF_WIDTH) * np.float32(picture.shape[1] / (2 * HALF_WIDTH)) - 0.5
                z = along[rows, None] * np.float32(picture.shape[0] / PERIOD) % picture.shape[0]
                z = np.broadcast_to(z, x.shape)
                found = cv2.remap(picture, x, np.ascontiguousarray(z), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
                seen[rows] = found.reshape(len(rows), width, -1)
        return seen

    def _sky(self, metres: float) -> Frame:
        """Return sky and hills; they turn with the road."""
        heading = self._bend * self._bend_length / (2 * np.pi) * (1 - np.cos(2 * np.pi * metres / self._bend_length))
        start = round(FOCAL * self._size[0] * float(heading)) % (self._far.shape[1] // 2)
        return self._far[:, start : start + self._size[0]]

    def _label(self, mask: Frame, seen: Frame) -> None:
        """Mark the lines that were seen, left in channel 0 and right in channel 1, up to `FARTHEST`."""
        near = self._depth[:, None] <= FARTHEST
        for side, style in enumerate((self.left, self.right)):
            mask[(seen[..., side] > 255 * _SEEN) & near] = CLASSES.index(f"{('left', 'right')[side]} {style}")

    def _line(self, across: Values, offset: float) -> Values:
        """Return the points of a line in the frame, from near to far."""
        width = self._size[0]
        x = width / 2 + FOCAL * width * (across + offset) / self._depth
        points = np.stack([x, np.arange(len(x)) + self._horizon + 0.5], axis=1).astype(np.float32)
        shown = (self._depth <= FARTHEST) & (x >= 0) & (x < width)
        return np.ascontiguousarray(points[shown][::-4])

    def _car(
        self, frame: Frame, mask: Frame, x: float, z: float, colour: npt.NDArray[np.float64], across: Values
    ) -> None:
        """Draw a car seen from behind, ``x`` metres right of the lane's middle and ``z`` ahead."""
        scale = FOCAL * self._size[0] / z
        row = int(np.searchsorted(-self._depth, -z))
        middle = self._size[0] / 2 + scale * (x + float(across[min(row, len(across) - 1)]))
        ground = self._horizon + scale * HEIGHT
        wide, high = (scale * metres for metres in _CAR)
        _draw_car(frame, (middle, ground), (wide, high), tuple(float(value) for value in colour))
        top, left = max(0, round(ground - high)), max(0, round(middle - wide / 2))
        mask[top : max(0, round(ground)), left : max(0, round(middle + wide / 2))] = 0


def calibration_frames(count: int, seed: int = 0) -> Iterator[Frame]:
    """Yield uint8 (360, 640, 3) BGR frames to calibrate the built-in lane model with; every fourth is another road."""
    for index in range(count):
        if index % 4 == 0:
            road = Road(seed=_CALIBRATION + 1000 * seed + index // 4)
        yield road.at(61.0 * (index % 4), labels=False).frame


def _folded(x: Values) -> Values:
    """Map what lies beside the picture of the ground back onto its grass."""
    inner, outer = np.float32(ROAD + 1.5), np.float32(HALF_WIDTH - 0.3)
    span = outer - inner
    beyond = np.abs((np.abs(x) - inner) % (2 * span) - span)
    return np.where(np.abs(x) < inner, x, np.sign(x) * (outer - beyond)).astype(np.float32)


def _ground(rng: np.random.Generator, left: str, right: str) -> tuple[Frame, Frame]:
    """Return the ground from above, uint8 (along, across, 3) BGR, and how much each pixel is left and right line."""
    rows, columns = round(PERIOD / _ALONG), round(2 * HALF_WIDTH / _ACROSS)
    x = ((np.arange(columns) + 0.5) * _ACROSS - HALF_WIDTH).astype(np.float32)
    z = ((np.arange(rows) + 0.5) * _ALONG).astype(np.float32)
    side = max(rows, columns)
    grain = noise(rng, side, (0.0, 0.0))[:rows, :columns]
    patches = noise(rng, side, (60.0, 90.0))[:rows, :columns]
    tone = rng.uniform(85, 125) + 7 * grain + 6 * patches
    tracks = np.exp(-(((np.abs(x) - 0.8) / 0.3) ** 2)) + np.exp(-(((np.abs(x - LANE) - 0.8) / 0.3) ** 2))
    picture = (tone - 9 * tracks[None])[..., None] * np.array([1.03, 1.0, 0.98], np.float32)
    grass = np.array([45, 95, 85], np.float32) * rng.uniform(0.8, 1.2, 3).astype(np.float32)
    clumps = noise(rng, side, (5.0, 5.0))[:rows, :columns]
    green = grass * (1 + 0.12 * grain + 0.15 * clumps)[..., None]
    off_road = np.clip((np.abs(x)[None] - ROAD + 0.1 * clumps) / 0.15, 0, 1)[..., None]
    picture = picture * (1 - off_road) + green * off_road
    paint = np.stack([_painted(x, z, -LANE / 2, left), _painted(x, z, LANE / 2, right)], axis=2)
    others = _painted(x, z, -ROAD + 0.5, "solid") + _painted(x, z, ROAD - 0.5, "solid")
    worn = np.clip(0.85 + 0.12 * clumps, 0.4, 1.0)[..., None]
    for share, colour in (
        (paint[..., :1], _line_colour(rng)),
        (paint[..., 1:], (235, 235, 235)),
        (others[..., None], (225, 228, 228)),
    ):
        picture = picture * (1 - share * worn) + np.array(colour, np.float32) * share * worn
    picture = picture * _shadows(rng, x, z)[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8), np.round(255 * paint).astype(np.uint8)


def _line_colour(rng: np.random.Generator) -> Colour:
    return (70.0, 190.0, 225.0) if rng.random() < 0.4 else (235.0, 235.0, 235.0)


def _painted(x: Values, z: Values, place: float, style: str) -> Values:
    """Return how much of each pixel a line covers, (along, across), 0..1."""
    across = np.clip((LINE / 2 - np.abs(x - place)) / _ACROSS + 0.5, 0, 1)
    along = np.ones_like(z) if style == "solid" else (z % DASH_PERIOD < DASH).astype(np.float32)
    return np.asarray(along[:, None] * across[None], np.float32)


def _shadows(rng: np.random.Generator, x: Values, z: Values) -> Values:
    """Return the light on the ground: trees beside the road throw soft shadows across it."""
    light = np.ones((len(z), len(x)), np.float32)
    for _ in range(int(rng.integers(2, 6))):
        place, reach, wide = rng.uniform(4, PERIOD - 4), rng.uniform(2, 10), rng.uniform(0.6, 2.0)
        distance = np.abs(z[:, None] - place - 0.25 * x[None] - 0.3 * np.sin(3 * x[None] + place))
        covered = 1 / (1 + np.exp(np.clip((distance - wide) / 0.12, -30, 30)))
        begins = 1 / (1 + np.exp(np.clip((HALF_WIDTH - reach - x[None] * rng.choice([-1, 1])) / 0.3, -30, 30)))
        light = light * (1 - 0.45 * covered * begins)
    return np.asarray(light, np.float32)


def _pyramid(picture: Frame) -> list[Frame]:
    """Return the picture at full length, half, a quarter, ...; the width is halved at every second step."""
    levels = [picture]
    for level in range(1, _LEVELS):
        height, width = picture.shape[0] >> level, picture.shape[1] >> (level // 2)
        levels.append(np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8))
    return levels


def _panorama(rng: np.random.Generator, width: int, height: int) -> Frame:
    """Return the sky with clouds, hills and trees all around, twice side by side, so that it can be cut anywhere."""
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    top, low = np.array([200, 140, 80], np.float32), np.array([235, 220, 200], np.float32)
    sky = np.repeat(top * (1 - rows) + low * rows, width, axis=1)
    clouds = cv2.resize(noise(rng, 256, (3.0, 11.0)), (width, height))
    # Both ends must meet.
    meeting = np.minimum(np.arange(width), np.arange(width)[::-1]) / 200.0
    sky += (np.clip(clouds - 0.4, 0, 2) * np.clip(meeting, 0, 1)[None] * 28)[..., None]
    angle = np.linspace(0, 2 * np.pi, width, endpoint=False)
    for share, colour in ((0.20, (150, 120, 100)), (0.11, (95, 105, 85)), (0.05, (50, 75, 60))):
        crest = sum(rng.uniform(0, 1) / n * np.sin(n * 3 * angle + rng.uniform(0, 7)) for n in range(1, 12))
        if share < 0.1:  # trees
            crest = crest + 0.5 * rng.random(width // 4 + 1).repeat(4)[:width]
        ridge = height * (1 - share * (1 + 0.35 * np.asarray(crest)))
        cover = np.clip(np.arange(height)[:, None] - ridge[None], 0, 1)[..., None]
        sky = sky * (1 - cover) + np.array(colour, np.float32) * cover
    whole = np.clip(sky, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.concatenate([whole, whole], axis=1))


def _draw_car(frame: Frame, foot: tuple[float, float], size: tuple[float, float], colour: Sequence[float]) -> None:
    """Draw the back of a car standing on ``foot``, (x, y) of its middle, ``size`` = (width, height) in pixels."""

    def shape(points: Sequence[tuple[float, float]], shade: Sequence[float]) -> None:
        corners = [(16 * (foot[0] + x * size[0]), 16 * (foot[1] - y * size[1])) for x, y in points]
        cv2.fillPoly(frame, [np.round(np.array(corners)).astype(np.int32)], tuple(shade), cv2.LINE_AA, 4)

    def box(x: float, y: float, wide: float, high: float, shade: Sequence[float]) -> None:
        shape(((x, y), (x + wide, y), (x + wide, y + high), (x, y + high)), shade)

    dark = tuple(0.6 * value for value in colour)
    shape(((-0.62, -0.04), (0.62, -0.04), (0.5, 0.12), (-0.5, 0.12)), (38, 38, 38))
    box(-0.47, 0.0, 0.17, 0.25, (20, 20, 20))
    box(0.30, 0.0, 0.17, 0.25, (20, 20, 20))
    shape(((-0.5, 0.14), (0.5, 0.14), (0.5, 0.52), (0.44, 0.62), (-0.44, 0.62), (-0.5, 0.52)), colour)
    shape(((-0.44, 0.6), (0.44, 0.6), (0.32, 1.0), (-0.32, 1.0)), dark)
    shape(((-0.37, 0.64), (0.37, 0.64), (0.28, 0.93), (-0.28, 0.93)), (70, 60, 50))
    box(-0.48, 0.40, 0.15, 0.11, (40, 30, 200))
    box(0.33, 0.40, 0.15, 0.11, (40, 30, 200))
    box(-0.15, 0.27, 0.30, 0.09, (210, 210, 210))
    box(-0.5, 0.14, 1.0, 0.07, dark)
