"""How far two engines are apart: on the integer grid, and in what they decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgecnn.affine import dequantise
from edgecnn.errors import BundleError
from edgecnn.manifest import Manifest, OutputContract
from edgecnn.vision.results import Output
from edgecnn.vision.surface import Settings
from edgecnn.vision.tasks import INSPECTIONS, decoder
from edgecnn.vision.tasks.lane import mark_threshold

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Acceptance:
    """What passes. Decisions are few (golden frames), pixels and elements many, so their shares are not the same.

    Attributes:
        op_lsb: Largest difference of one operator from equal inputs, in steps of the output grid.
        decisions: Smallest share of equal decisions about frames, end to end: one of eight may differ.
        pixels: Smallest share of equal decisions about pixels.
        tie_lsb: Scores this close in the expected output have no winner, either may come first: what ONNX Runtime
            differs from itself with its optimisations off.
        output_lsb: Outputs that decide nothing may be this far off, in steps, for the same reason.
        within: Smallest share of the elements of such outputs inside ``output_lsb``.
    """

    op_lsb: int = 1
    decisions: float = 0.85
    pixels: float = 0.95
    tie_lsb: int = 4
    output_lsb: int = 4
    within: float = 0.99


@dataclass(frozen=True)
class Differences:
    """Distribution of ``|got - expected|`` in steps of the output's grid (LSB).

    Attributes:
        name: The output's name.
        equal: Share of equal elements.
        max_lsb: Largest difference.
        histogram: Number of elements off by 0, 1, 2 and more than 2.
        sqnr_db: Power of the expected signal (mean removed) over that of the difference, in dB; None where nothing
            differs or the signal is constant.
    """

    name: str
    equal: float
    max_lsb: int
    histogram: tuple[int, int, int, int]
    sqnr_db: float | None


@dataclass(frozen=True)
class Agreement:
    """How many decisions are the same.

    Attributes:
        kind: ``"verdict"``, ``"top-1"``, ``"mask"`` or ``"index"``; ``"tolerance"`` where nothing is decided.
        share: Share of decisions that agree, ties counted as agreeing (see `Acceptance.tie_lsb`); for ``"tolerance"``
            the share of elements within `Acceptance.output_lsb`.
        exact: Share that is the same without that allowance.
        iou: For masks: intersection over union, mean over the classes expected; else None.
        passed: Whether this is enough.
    """

    kind: str
    share: float
    exact: float
    iou: float | None
    passed: bool


def differences(name: str, expected: Array, got: Array) -> Differences:
    """Compare two integer arrays of the same shape.

    Raises:
        ValueError: If shapes differ.
    """
    if expected.shape != got.shape:
        raise ValueError(f"'{name}': expected shape {expected.shape}, got {got.shape}")
    off = np.abs(got.astype(np.int64) - expected.astype(np.int64))
    counts = np.bincount(np.minimum(off, 3).ravel(), minlength=4)
    histogram = (int(counts[0]), int(counts[1]), int(counts[2]), int(counts[3]))
    return Differences(name, histogram[0] / off.size, int(off.max()), histogram, sqnr(expected, off))


def sqnr(expected: Array, off: Array) -> float | None:
    """Return ``10 log10(var(expected) / mean(off**2))`` in dB, None where it is not finite."""
    signal = float(expected.astype(np.float64).var())
    noise = float(np.mean(np.square(off, dtype=np.float64)))
    return 10.0 * math.log10(signal / noise) if signal > 0 and noise > 0 else None


def agreement(manifest: Manifest, expected: Sequence[Array], got: Sequence[Array], acceptance: Acceptance) -> Agreement:
    """Compare decisions over a batch of frames.

    The kind of decision follows from the task and the first output: the verdict of an inspection, and which pixels are
    defective; which pixels show lane markings; the first place of scores, the class of a pixel, an index; where nothing
    is decided, all outputs must be close.

    Args:
        manifest: The bundle's contract.
        expected: One array (N, ...) per output.
        got: Likewise.
        acceptance: What passes.
    """
    output = manifest.outputs[0]
    if manifest.task in INSPECTIONS:
        return _inspections(manifest, expected, got, acceptance)
    if manifest.task == "lane":
        return _binary_mask(output, expected[0], got[0], acceptance, mark_threshold(manifest))
    if output.tensor.quant is None:
        same = float(np.mean(expected[0] == got[0]))
        many = expected[0][0].size > 1
        return Agreement("index", same, same, None, same >= (acceptance.pixels if many else acceptance.decisions))
    if output.meaning != "raw" and output.tensor.shape[-1] > 1 and output.layout[-1] == "C":
        kind = "mask" if output.layout == "NHWC" and max(output.tensor.shape[1:3]) > 1 else "top-1"
        return _winners(kind, expected[0], got[0], acceptance)
    if output.meaning != "raw" and output.layout == "NHWC":
        return _binary_mask(output, expected[0], got[0], acceptance)
    return _tolerance(expected, got, acceptance)


def _inspections(
    manifest: Manifest, expected: Sequence[Array], got: Sequence[Array], acceptance: Acceptance
) -> Agreement:
    """Compare verdicts and, where there is a map, defective pixels; return the verdicts' if both agree."""
    found = _verdicts(manifest, expected, got, acceptance)
    maps = [index for index, output in enumerate(manifest.outputs) if output.layout == "NHWC"]
    if not maps or not found.passed:
        return found
    (index,) = maps
    limit = Settings.of(manifest.decoding).pixel_threshold
    mask = _binary_mask(manifest.outputs[index], expected[index], got[index], acceptance, limit)
    return replace(found, iou=mask.iou) if mask.passed else mask


def _verdicts(manifest: Manifest, expected: Sequence[Array], got: Sequence[Array], acceptance: Acceptance) -> Agreement:
    decode = decoder(manifest)

    def verdict(arrays: Sequence[Array], index: int) -> object:
        pairs = zip(manifest.outputs, arrays, strict=True)
        return decode([Output(contract, array[index : index + 1]) for contract, array in pairs]).verdict

    same = [verdict(expected, index) == verdict(got, index) for index in range(len(expected[0]))]
    share = sum(same) / len(same)
    return Agreement("verdict", share, share, None, share >= acceptance.decisions)


def _winners(kind: str, expected: Array, got: Array, acceptance: Acceptance) -> Agreement:
    """Compare the arg max over the last axis; a winner that was expected to be as good as first agrees."""
    wanted, found = expected.argmax(axis=-1), got.argmax(axis=-1)
    steps = expected.astype(np.int64)
    behind = steps.max(axis=-1) - np.take_along_axis(steps, found[..., None], axis=-1)[..., 0]
    share = float(np.mean(behind <= acceptance.tie_lsb))
    exact = float(np.mean(wanted == found))
    if kind == "mask":
        return Agreement(kind, share, exact, mean_iou(wanted, found), share >= acceptance.pixels)
    return Agreement(kind, share, exact, None, share >= acceptance.decisions)


def _binary_mask(
    output: OutputContract, expected: Array, got: Array, acceptance: Acceptance, probability: float = 0.5
) -> Agreement:
    """Compare where a map is above a probability."""
    grid = output.tensor.grid
    limit = probability if output.meaning == "probabilities" else math.log(probability / (1 - probability))
    real = dequantise(expected, grid)
    wanted, found = real > limit, dequantise(got, grid) > limit
    near = np.abs(real - limit) <= acceptance.tie_lsb * grid.scale[0]
    share = float(np.mean((wanted == found) | near))
    exact = float(np.mean(wanted == found))
    return Agreement("mask", share, exact, mean_iou(wanted, found), share >= acceptance.pixels)


def _tolerance(expected: Sequence[Array], got: Sequence[Array], acceptance: Acceptance) -> Agreement:
    off = np.concatenate(
        [np.abs(b.astype(np.int64) - a.astype(np.int64)).ravel() for a, b in zip(expected, got, strict=True)]
    )
    share = float(np.mean(off <= acceptance.output_lsb))
    return Agreement("tolerance", share, float(np.mean(off == 0)), None, share >= acceptance.within)


def mean_iou(expected: Array, got: Array) -> float:
    """Return intersection over union of class maps, mean over the classes in ``expected``."""
    ratios = []
    for label in np.unique(expected):
        wanted, found = expected == label, got == label
        ratios.append(float(np.sum(wanted & found) / np.sum(wanted | found)))
    return sum(ratios) / len(ratios)


def check_contract(manifest: Manifest, arrays: Sequence[Array]) -> None:
    """Check that an engine returned what the manifest says.

    Raises:
        BundleError: If number, shape or dtype is another.
    """
    came = [(array.shape, array.dtype.name) for array in arrays]
    wanted = [(output.tensor.shape, output.tensor.dtype) for output in manifest.outputs]
    if came != wanted:
        raise BundleError(f"the engine returned {came}, the manifest says {wanted}.")
