"""Procedural surfaces with and without defects, as a camera would see them.

A texture, light that falls off, sometimes the part's straight edge at a side of the picture; on half of them a flaw
that stands out from its surroundings; then the camera: blur, noise, gamma, a tint. Pictures and masks depend on the
seed and index alone. The three streams, training, evaluation and calibration, never share a picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn.vision.synthetic.flaws import FLAWS, Flaw
from edgecnn.vision.synthetic.textures import TEXTURES, Picture, noise

Frame = npt.NDArray[np.uint8]
SIZE = 128
LABELS = ("good", "defect")
KINDS = ("good", "scratch", "pit", "crack", "stain", "chip")
"""What `Surface.kind` can be."""
STREAMS = {"training": 0, "evaluation": 1, "calibration": 2}
SMALLEST = 8
"""Pixels of the smallest defect: less could not be told from noise."""
FAINTEST = 0.06
"""Least change of brightness, of 1, by a defect."""
TRIES = 100
"""Flaws that are tried before a surface stays as it is: on some nothing stands out."""


@dataclass(frozen=True)
class Surface:
    """One picture and what is on it.

    Attributes:
        frame: uint8 (size, size, 3), BGR.
        mask: uint8 (size, size): 255 on a defect, else 0.
        kind: Name of the defect, ``good`` without; one of `KINDS`.
    """

    frame: Frame
    mask: Frame
    kind: str

    @property
    def label(self) -> int:
        """Index in `LABELS`: 0 good, 1 defect."""
        return int(self.kind != "good")


def surfaces(count: int, seed: int, stream: str = "training", start: int = 0, size: int = SIZE) -> Iterator[Surface]:
    """Yield surfaces; every second one, on average, has a defect.

    Args:
        count: How many.
        seed: The same seed, stream and index give the same picture.
        stream: One of `STREAMS`.
        start: Index of the first one.
        size: Side in pixels, at least 32.

    Raises:
        DataError: If ``count``, ``seed`` or ``start`` is negative, ``size`` too small or the stream unknown.
    """
    if min(count, seed, start) < 0 or size < 32 or stream not in STREAMS:
        raise DataError(
            f"expected count, seed and start of 0 or more, size of 32 or more and a stream of {', '.join(STREAMS)}; "
            f"got {count}, {seed}, {start}, {size}, '{stream}'."
        )
    for index in range(start, start + count):
        rng = np.random.default_rng([STREAMS[stream], seed, index])
        yield surface(rng, rng.random() < 0.5, size)


def calibration_frames(count: int, seed: int = 0) -> Iterator[Frame]:
    """Yield uint8 (128, 128, 3) BGR frames to calibrate the built-in defect model with."""
    for drawn in surfaces(count, seed, "calibration"):
        yield drawn.frame


def labelled_frames(count: int, seed: int = 0) -> Iterator[tuple[Frame, int]]:
    """Yield uint8 (128, 128, 3) BGR frames that were never trained on, and the index of their label in `LABELS`."""
    for drawn in surfaces(count, seed, "evaluation"):
        yield drawn.frame, drawn.label


def surface(rng: np.random.Generator, defective: bool, size: int = SIZE) -> Surface:
    """Draw one surface.

    Args:
        rng: Source of randomness.
        defective: Whether it has a defect.
        size: Side in pixels.
    """
    picture = _lit_texture(rng, size)
    mask, kind = np.zeros((size, size), np.uint8), "good"
    if defective:
        picture, mask, kind = damaged(rng, picture) or (picture, mask, kind)
    return Surface(_photographed(rng, picture), mask, kind)


def _lit_texture(rng: np.random.Generator, size: int) -> Picture:
    """Return brightness around 0..1: a texture under uneven light, sometimes with the part's edge in view."""
    texture = TEXTURES[int(rng.integers(len(TEXTURES)))](rng, size)
    depth = np.exp(rng.uniform(np.log(0.01), np.log(0.06)))
    light = rng.uniform(0.25, 0.75) * (1.0 + _falloff(rng, size))
    picture = light * (1.0 + depth / 0.4 * texture)
    for _ in range(int(rng.choice([0, 0, 1, 1, 2]))):
        picture = _with_border(rng, np.asarray(picture, np.float32))
    return np.asarray(picture, np.float32)


def _falloff(rng: np.random.Generator, size: int) -> Picture:
    """Return a relative brightness around 0: a slope, a vignette, a broad highlight band, faint clouds."""
    across = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    x, y = np.meshgrid(across, across)
    angle = rng.uniform(0.0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    band = np.exp(-(((x if rng.random() < 0.5 else y) - rng.uniform(-1, 1)) ** 2) / rng.uniform(0.02, 0.5))
    clouds = noise(rng, size, (rng.uniform(18.0, 50.0), rng.uniform(18.0, 50.0)))
    light = rng.uniform(0, 0.3) * along - rng.uniform(0, 0.25) * (x**2 + y**2)
    light = light + rng.uniform(0, 0.4) * band * (rng.random() < 0.5) + rng.uniform(0, 0.12) * clouds
    return np.asarray(np.maximum(light, -0.8), np.float32)


def _with_border(rng: np.random.Generator, picture: Picture) -> Picture:
    """Let a side show what lies beside the part: a straight dark or bright strip, soft or sharp, slightly tilted."""
    size = picture.shape[0]
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    distance = x + rng.normal(0.0, 0.02) * y - rng.uniform(0.0, 0.08) * size
    inside = 1.0 / (1.0 + np.exp(-np.clip(distance / rng.uniform(0.2, 3.0), -30, 30)))
    outside = picture * rng.uniform(0.0, 0.4) if rng.random() < 0.7 else picture * rng.uniform(1.2, 1.8)
    if rng.random() < 0.4:  # a bevel: a bright line along the edge
        inside_line = np.exp(-((distance / rng.uniform(0.7, 2.0)) ** 2))
        picture = picture * np.asarray(1.0 + rng.uniform(0.1, 0.8) * inside_line, np.float32)
    turns = int(rng.integers(4))
    inside = np.rot90(inside, turns)
    return np.asarray(picture * inside + outside * (1.0 - inside), np.float32)


def damaged(rng: np.random.Generator, sound: Picture) -> tuple[Picture, Frame, str] | None:
    """Put a flaw on a surface that was drawn or photographed.

    Args:
        rng: Source of randomness.
        sound: Brightness, float32 (size, size), around 0..1.

    Returns:
        The picture with the flaw, where it is (uint8, 0 or 255), and its kind; None where no flaw of `TRIES` was large
        enough and could be seen.
    """
    for _ in range(TRIES):
        maker = FLAWS[int(rng.integers(len(FLAWS)))]
        flaw = maker(rng, sound.shape[0])
        mask = _mask(flaw)
        if np.count_nonzero(mask) < SMALLEST:
            continue
        changed = _with_flaw(rng, sound, flaw)
        if _stands_out(sound, changed, mask):
            return changed, mask, maker.__name__
    return None


def _stands_out(sound: Picture, changed: Picture, mask: Frame) -> bool:
    """Tell whether the change can be seen: dark on black and bright on white cannot, nor what texture drowns."""
    before, after = (np.clip(picture[mask > 0], 0.0, 1.0) for picture in (sound, changed))
    spread = float(sound[cv2.dilate(mask, np.ones((9, 9), np.uint8)) > 0].std())
    return float(np.median(np.abs(after - before))) >= max(FAINTEST, 1.2 * spread)


def _mask(flaw: Flaw) -> Frame:
    return np.where(flaw.opacity > 1 / 3, 255, 0).astype(np.uint8)


def _with_flaw(rng: np.random.Generator, picture: Picture, flaw: Flaw) -> Picture:
    """Put a flaw on a picture, so strong that it stands out from the texture around it."""
    around = cv2.dilate(_mask(flaw), np.ones((9, 9), np.uint8)) > 0
    spread, level = float(picture[around].std()), float(picture[around].mean())
    contrast = max(rng.uniform(0.2, 0.7) * level, rng.uniform(3.0, 5.0) * min(spread, 0.2 * level), 0.06)
    # What was torn out or covered shows less of the texture below.
    kept = 1.0 - rng.uniform(0.0, 0.7) * flaw.opacity
    base = level + (picture - level) * kept if rng.random() < 0.5 else picture
    return np.asarray(base + contrast * flaw.relief, np.float32)


def _photographed(rng: np.random.Generator, picture: Picture) -> Frame:
    """Return what a camera makes of brightness in 0..1: uint8 BGR."""
    if rng.random() < 0.6:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 0.8)), np.float32)
    exposed = np.clip(picture, 0.0, 1.0) ** rng.uniform(0.7, 1.3)
    tint = 1.0 + rng.normal(0.0, 0.06, 3) * (rng.random() < 0.5)
    grain = rng.uniform(0.0, 0.012) * rng.standard_normal(picture.shape, np.float32)
    grey = np.asarray(255.0 * (exposed + grain), np.float32)
    channels = [cv2.convertScaleAbs(np.maximum(grey, 0.0), alpha=float(gain)) for gain in tint]
    return np.asarray(cv2.merge(channels), np.uint8)
