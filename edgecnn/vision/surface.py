"""From what a network says about a surface to a score, a verdict, a mask and regions.

Two outputs are read, told apart by their layout, and either may be missing: a map (1, H, W, 1), whether a pixel is
defective, and a vector (1, labels), of what kind the picture is; its first label is that of sound parts. Of a picture
that was run in tiles the map is that of the whole picture, and there is one vector a tile.

Every output gives one logit of "there is a defect":

- map: the mean of its ``peak_pixels`` largest logits;
- vector: ``log(sum of exp(defect classes)) - good``, of the tile where it is largest.

The score is the sigmoid of the mean of these logits, and the part is rejected from the one threshold on.

Of `Manifest.decoding` are read: ``pixel_threshold`` (a pixel is defective where the sigmoid reaches it),
``peak_pixels``, ``smallest_region`` (in square pixels of the model's picture) and ``threshold``.

Numbers are the same on every machine: the map's are sums of table entries in a fixed order, and the score is rounded,
because exp() differs between processors in the last bits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn.fields import Scalar
from edgecnn.manifest import Manifest, OutputContract
from edgecnn.vision.results import Array, Decision, Output, Points, Region, Scores, Verdict
from edgecnn.vision.tasks.classify import label_names

Float64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.uint8]

GOOD = "good"
MOST_REGIONS = 32
MOST_POINTS = 64
"""Of an outline; those of rugged areas are simplified until they have no more."""
DIGITS = 9
_LEVELS = np.arange(256, dtype=np.uint8)
FAINTEST = 1 / 512
"""Half a step of the grid of probabilities: closer to 0 or 1 an output of 8 bits says nothing."""
_OFF = 0.75
"""How far a simplified outline may be off, in pixels of the map: steps of slanting edges vanish, corners stay."""


@dataclass(frozen=True)
class Settings:
    """How a map is read; see the module. Sizes in pixels of the map, but the smallest region's area."""

    pixel_threshold: float = 0.5
    peak_pixels: float = 1
    smallest_region: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.pixel_threshold < 1 or self.peak_pixels < 1 or self.smallest_region < 0:
            raise DataError(
                "the bundle's 'decoding' must have 0 < pixel_threshold < 1, peak_pixels of 1 or more and "
                f"smallest_region of 0 or more, got {self.pixel_threshold}, {self.peak_pixels}, {self.smallest_region}."
            )

    @classmethod
    def of(cls, decoding: Mapping[str, Scalar]) -> Settings:
        """Read them.

        Raises:
            DataError: If one is no number, or out of its range.
        """
        return cls(**{item.name: _number(decoding, item.name) for item in fields(cls) if item.name in decoding})


class Inspector:
    """Reads what a network says about surfaces, frame after frame: what the bundle decides is looked up once.

    Args:
        manifest: The bundle's contract.
        kinds: Whether a vector of classes is read, where there is one.

    Raises:
        DataError: If there is no single threshold, a setting is out of range, or the outputs are not what is read.
    """

    def __init__(self, manifest: Manifest, kinds: bool = True) -> None:
        threshold, self._settings = manifest.threshold, Settings.of(manifest.decoding)
        if threshold is None:
            raise DataError(
                f"the bundle's task '{manifest.task}' needs one threshold, or nothing could ever be rejected: "
                "'threshold' in its 'decoding', or exactly one in its 'thresholds'."
            )
        self._threshold, self._size = threshold, manifest.input.size
        self._map, vector = find(manifest.outputs)
        self._vector = vector if kinds else None
        self._names = _names(manifest, self._vector)
        self._level = 0 if self._map is None else _level(manifest.outputs[self._map], self._settings.pixel_threshold)

    def __call__(self, outputs: Sequence[Output]) -> Decision:
        """Decide about a picture.

        ``label`` is that of sound parts, or of the most probable defect where the part is rejected; ``score`` is that
        of a defect in both cases. ``regions`` are those of a rejected part alone.
        """
        scores = None if self._map is None else outputs[self._map]
        logits, values = [], None
        if scores is not None:
            logits.append(_peak(scores, int(self._settings.peak_pixels)))
        if self._vector is not None:
            kind, values = _kinds(outputs[self._vector])
            logits.append(kind)
        score = round(_sigmoid(math.fsum(logits) / len(logits)), DIGITS)
        is_bad = score >= self._threshold
        if values is None or len(values) == 1:
            values = [1.0 - score, score]
        label = self._names[values.index(max(values[1:]), 1)] if is_bad else self._names[0]
        mask = None if scores is None else self._mask(scores)
        found: tuple[Region, ...] = ()
        if is_bad and mask is not None and scores is not None:
            found = regions(mask, scores, label, self._size, self._settings.smallest_region)
        shown = Scores(self._names, np.array(values))
        return Decision(label, score, shown, Verdict.REJECT if is_bad else Verdict.PASS, mask, found)

    def _mask(self, scores: Output) -> Mask:
        """Return where a map's probability reaches the threshold: uint8 (H, W), 1 for defective."""
        values = scores.integers[0, :, :, 0]
        if values.dtype == np.uint8:
            return np.greater_equal(values, self._level).view(np.uint8)
        limit = logit(self._settings.pixel_threshold)
        return np.greater_equal(_logits(scores, values), limit).view(np.uint8)


def find(contracts: Sequence[OutputContract]) -> tuple[int | None, int | None]:
    """Return which output is the map and which the vector, None for what is not there.

    Raises:
        DataError: If there are two of a kind, a map has several channels, or one is said to be raw.
    """
    maps = [index for index, contract in enumerate(contracts) if contract.layout == "NHWC"]
    vectors = [index for index, contract in enumerate(contracts) if contract.layout == "NC"]
    shapes = ", ".join(f"{contract.layout} {contract.tensor.shape}" for contract in contracts)
    if len(maps) + len(vectors) != len(contracts) or max(len(maps), len(vectors)) > 1:
        raise DataError(f"an inspection has one map (1, H, W, 1), one vector (1, labels), or both, got {shapes}.")
    if maps and (contracts[maps[0]].tensor.shape[3] != 1 or contracts[maps[0]].tensor.quant is None):
        raise DataError(f"the map of an inspection must have one score a pixel, (1, H, W, 1), got {shapes}.")
    for contract in contracts:
        if contract.meaning == "raw":
            raise DataError(
                f"output '{contract.tensor.name}' must be logits or probabilities to be read as scores; it is raw."
            )
    return next(iter(maps), None), next(iter(vectors), None)


def _names(manifest: Manifest, vector: int | None) -> tuple[str, ...]:
    """Return the labels that scores are given for, that of sound parts first."""
    count = 1 if vector is None else manifest.outputs[vector].tensor.shape[-1]
    if count > 1:
        return label_names(manifest, count)
    labels = manifest.labels
    return labels[:2] if len(labels) > 1 else (GOOD, labels[0] if labels else manifest.task)


# Logits


def _kinds(vector: Output) -> tuple[float, list[float]]:
    """Return the logit of a defect, and the probability of every label in the tile where it is largest."""
    rows = _logits(vector, vector.integers).tolist()
    together = [row[0] if len(row) == 1 else _together(row[1:]) - row[0] for row in rows]
    best = together.index(max(together))
    row, highest = rows[best], max(rows[best])
    if len(row) == 1:
        return together[best], [_sigmoid(row[0])]
    powers = [math.exp(logit - highest) for logit in row]
    total = math.fsum(powers)
    return together[best], [power / total for power in powers]


def _together(logits: Sequence[float]) -> float:
    """Return the logarithm of the sum of exp()."""
    highest = max(logits)
    return highest + math.log(math.fsum([math.exp(logit - highest) for logit in logits]))


def _peak(scores: Output, count: int) -> float:
    """Return the mean of the ``count`` largest logits of a map."""
    values = scores.integers.ravel()
    count = min(count, values.size)
    largest = np.partition(values, values.size - count)[values.size - count :]
    return math.fsum(_logits(scores, largest).tolist()) / count


def _logits(output: Output, values: Array) -> Float64:
    """Return logits of values that an output's ``integers`` hold; where they are no integers, they are real values."""
    if values.dtype == np.uint8:
        return np.asarray(_table(output.contract)[values], np.float64)
    return _as_logits(output.contract, replace(output, integers=values).real.astype(np.float64))


@functools.cache
def _table(contract: OutputContract) -> Float64:
    """Return the logit of each of the integers 0..255."""
    return _as_logits(contract, Output(contract, _LEVELS).real.astype(np.float64))


def _as_logits(contract: OutputContract, values: Float64) -> Float64:
    """Return real values of an output as logits; of several probabilities their logarithms, logits as well."""
    if contract.meaning != "probabilities":
        return values
    kept = np.clip(values, FAINTEST, 1 - FAINTEST)
    is_single = contract.tensor.shape[-1] == 1
    return np.asarray(np.log(kept) - np.log1p(-kept) if is_single else np.log(kept))


def _level(contract: OutputContract, probability: float) -> int:
    """Return the lowest integer that stands for the probability or more; 256 where none does."""
    return int(np.searchsorted(_table(contract), logit(probability)))


# Regions


def regions(mask: Mask, scores: Output, label: str, size: tuple[int, int], smallest: float = 0.0) -> tuple[Region, ...]:
    """Return the connected areas of a mask, the highest score first, at most `MOST_REGIONS`.

    Args:
        mask: uint8 (H, W), 1 for defective; pixels that touch at a corner belong together.
        scores: The map that it was made from.
        label: What every region is called.
        size: Height and width of the model's input.
        smallest: Areas below this are left out.

    Returns:
        In pixels of the model's picture, areas in square pixels of it.
    """
    count, found, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count == 1:
        return ()
    places = np.asarray(found, np.int32)
    height, width = scores.contract.tensor.shape[1:3]
    cell = np.array([size[1] / width, size[0] / height])
    areas = stats[:, cv2.CC_STAT_AREA] * cell.prod()
    peaks = _logits(scores, _peaks(places, scores.integers[0, :, :, 0], count))
    order = np.lexsort((np.arange(count), -areas, -peaks))
    kept = [int(index) for index in order if index and areas[index] >= smallest][:MOST_REGIONS]
    found_regions = []
    for index in kept:
        left, top, wide, tall = stats[index, :4]
        area = np.asarray(places[top : top + tall, left : left + wide] == index, np.uint8)
        polygon = _outline(area, np.array([left, top], np.float64)) * cell
        score = round(_sigmoid(float(peaks[index])), DIGITS)
        found_regions.append(Region(label, score, polygon, float(areas[index])))
    return tuple(found_regions)


def _peaks(places: npt.NDArray[np.int32], values: Array, count: int) -> Array:
    """Return the largest value of every area."""
    inside = places > 0
    peaks = np.full(count, values.min(), values.dtype)
    np.maximum.at(peaks, places[inside], values[inside])
    return peaks


def _outline(area: Mask, corner: Points) -> Points:
    """Return the outer outline of the only area in a mask (H, W), (N, 2), (x, y), moved by ``corner``."""
    # OpenCV follows the centres of pixels. Of a mask twice as large, the first centre of each pair stands for the
    # pixel's near edge and the second for its far one: this gives the edges themselves.
    doubled = area.repeat(2, axis=0).repeat(2, axis=1)
    lines, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return _simplified(np.asarray((lines[0] + lines[0] % 2) // 2, np.int32)) + corner


def _simplified(outline: npt.NDArray[np.int32]) -> Points:
    off = _OFF
    simple = cv2.approxPolyDP(outline, off, True)[:, 0]
    while len(simple) > MOST_POINTS:
        off *= 2
        simple = cv2.approxPolyDP(outline, off, True)[:, 0]
    if len(simple) >= 3:
        return simple.astype(np.float64)
    (left, top), (right, bottom) = outline.min(axis=(0, 1)), outline.max(axis=(0, 1))
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


# Numbers


def _sigmoid(value: float) -> float:
    """Return ``1 / (1 + exp(-value))``, also where exp() would be too large."""
    small = math.exp(-abs(value))
    return (1.0 if value >= 0 else small) / (1.0 + small)


def logit(probability: float) -> float:
    """Return ``log(p / (1 - p))`` of a probability between 0 and 1, both excluded."""
    return math.log(probability) - math.log1p(-probability)


def _number(decoding: Mapping[str, Scalar], key: str) -> float:
    value = decoding[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DataError(f"the bundle's 'decoding' must have a number as '{key}', got {value!r}.")
    return value
