"""What the jobs ``defect`` and ``anomaly`` share: scores as the device computes them, thresholds, figures.

The score of a picture is made as in `edgecnn.vision.surface`: the mean of a map's largest logits, beside the logit of
"any defect class".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecnn.runtime.evaluation.curves import Counts, area_under_roc, average_precision, best_f1, counted
from edgecnn.train.pictures import as_input

Image = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]

PEAK_SHARE = 1 / 1000
"""Share of a map's pixels whose mean is its score: one pixel alone may be noise, many are more than a small defect."""
LOWEST, HIGHEST = 0.02, 0.98
"""What a pixel threshold may be."""
CHUNK = 16


@dataclass(frozen=True)
class Judged:
    """What a network says about one picture.

    Attributes:
        logit: Of "there is a defect".
        classes: Logits of the classes, float64 (K,); empty without classes.
        defective: Probability of every pixel of the map, uint8 (H, W) in 0..255.
    """

    logit: float
    classes: Values
    defective: Image


def peak_pixels(height: int, width: int) -> int:
    """Return how many of the largest logits of a map (height, width) its score is the mean of."""
    return max(4, round(PEAK_SHARE * height * width))


def peaks(found: Tensor) -> Tensor:
    """Return the score of each map, (N,), of logits (N, 1, H, W)."""
    count = peak_pixels(found.shape[2], found.shape[3])
    return found.flatten(1).topk(count, dim=1).values.mean(dim=1)


def of_classes(logits: Tensor) -> Tensor:
    """Return the logit of any defect class, (N,), of logits (N, K), the first of which is that of sound parts."""
    return torch.logsumexp(logits[:, 1:], dim=1) - logits[:, 0]


def judged(network: nn.Module, frames: Iterable[Image]) -> Iterator[Judged]:
    """Yield what the network says about each frame, uint8 (H, W, 3) BGR at its size."""
    chunk: list[Image] = []
    for frame in frames:
        chunk.append(frame)
        if len(chunk) == CHUNK:
            yield from _judged(network, chunk)
            chunk = []
    if chunk:
        yield from _judged(network, chunk)


def _judged(network: nn.Module, chunk: Sequence[Image]) -> Iterator[Judged]:
    device = next(network.parameters()).device
    with torch.no_grad():
        output = network(as_input(chunk).to(device))
    found, classes = output if isinstance(output, tuple) else (output, None)
    found = found.float()
    logits = [peaks(found)] + ([] if classes is None else [of_classes(classes.float())])
    scores = torch.stack(logits).mean(dim=0).double().cpu().numpy()
    maps = (255.0 * found[:, 0].sigmoid()).round().byte().cpu().numpy()
    for index in range(len(chunk)):
        row = np.empty(0) if classes is None else classes[index].double().cpu().numpy()
        yield Judged(float(scores[index]), row, maps[index])


def image_figures(good: Sequence[float], defective: Sequence[float]) -> dict[str, float]:
    """Return area under the ROC curve and average precision of pictures' scores; nothing where a kind is missing."""
    if not good or not defective:
        return {}
    counts = counted(np.asarray(good), np.asarray(defective))
    return {"image AUROC": area_under_roc(counts), "image AP": average_precision(counts)}


class Pixels:
    """Counts pixels by probability, in the label masks' defects and outside."""

    def __init__(self) -> None:
        self._good, self._defective = np.zeros(256), np.zeros(256)

    def add(self, found: Image, mask: Image) -> None:
        """Count a picture: its map, uint8 (h, w), and its mask, uint8 (H, W), 255 where a defect is."""
        size = (mask.shape[1], mask.shape[0])
        values = cv2.resize(found, size, interpolation=cv2.INTER_LINEAR)
        inside = mask >= 128
        self._defective += np.bincount(values[inside], minlength=256)
        self._good += np.bincount(values[~inside], minlength=256)

    def best(self) -> tuple[float, float]:
        """Return the best F1 and the threshold in (0, 1) that gives it; (0, 0.5) where no pixel is defective."""
        if not self._defective.any():
            return 0.0, 0.5
        value, level = best_f1(Counts(self._good, self._defective))
        return value, float(np.clip((level - 0.5) / 255.0, LOWEST, HIGHEST))


def separating(good: Sequence[float], defective: Sequence[float]) -> float:
    """Return the score, 0..1, from which on a part is defective: the mean of both error rates is least.

    Of several that do, the middle of the widest gap between scores.

    Args:
        good: Logits of sound parts.
        defective: Logits of defective parts.
    """
    if not good or not defective:
        return 0.5
    edges = np.unique([*good, *defective])
    cuts = np.concatenate([[edges[0] - 1.0], (edges[1:] + edges[:-1]) / 2, [edges[-1] + 1.0]])
    gaps = np.concatenate([[0.0], np.diff(edges), [0.0]])
    below, above = np.sort(good), np.sort(defective)
    errors = (1 - np.searchsorted(below, cuts) / len(below)) + np.searchsorted(above, cuts) / len(above)
    return probability(float(cuts[np.lexsort((-gaps, errors.round(12)))[0]]))


def for_false_rejects(good: Sequence[float], share: float) -> float:
    """Return the score, 0..1, that a share of sound parts reaches in the long run.

    The order statistic ``ceil((1 - share) * (n + 1))`` of n sound parts that were not learned from (split conformal
    prediction: Papadopoulos et al., ECML 2002). Where n is too small for the share, a quarter of the spread above the
    largest.

    Args:
        good: Logits of sound parts.
        share: Of sound parts that may be rejected, above 0 and below 1.
    """
    ordered = sorted(good)
    rank = math.ceil((1 - share) * (len(ordered) + 1))
    if rank <= len(ordered):
        # Just above: a part exactly like this one passes.
        return probability(float(np.nextafter(ordered[rank - 1], np.inf)))
    return probability(ordered[-1] + 0.25 * (ordered[-1] - float(np.median(ordered))))


def probability(logit: float) -> float:
    """Return the sigmoid, within what a threshold may be."""
    return float(np.clip(1.0 / (1.0 + math.exp(-max(min(logit, 40.0), -40.0))), 1e-6, 1 - 1e-6))


def presence_loss(found: Tensor, defective: Tensor) -> Tensor:
    """Return the cross entropy of the maps' scores: what decides on the device is learned as well.

    Args:
        found: Logits (N, 1, H, W).
        defective: 1 for pictures with a defect, 0 without, float32 (N,).
    """
    return functional.binary_cross_entropy_with_logits(peaks(found), defective)
