"""How far an engine is from the golden outputs, and which word of `edgecnn.proof` that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecnn.affine import dequantise
from edgecnn.errors import BundleError
from edgecnn.manifest import Manifest, OutputContract
from edgecnn.proof import EQUIVALENT, EXACT, FAILED, Limits
from edgecnn.vision.results import Output
from edgecnn.vision.surface import Settings, logit
from edgecnn.vision.tasks import INSPECTIONS, decoder
from edgecnn.vision.tasks.lane import mark_threshold

Array = npt.NDArray[np.generic]

TOP_1, MASK, INDEX, STEPS, VERDICT = "top-1", "mask", "index", "steps", "verdict"


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

    def __str__(self) -> str:
        off, count = sum(self.histogram[1:]), sum(self.histogram)
        return f"output '{self.name}' differs in {off} of {count} integers, by up to {self.max_lsb}"


@dataclass(frozen=True)
class Judgement:
    """What one output means, in one number, or what the outputs together decide.

    Attributes:
        of: The output's name; ``"verdict"`` for what an inspection decides.
        by: ``"top-1"``, ``"index"`` and ``"verdict"``: ``value`` is the share of equal decisions. ``"mask"``: the
            smallest intersection over union of a class. ``"steps"``: the largest difference.
        value: See ``by``.
    """

    of: str
    by: str
    value: float

    def limit(self, limits: Limits) -> float:
        """Return what ``value`` must reach, or for ``"steps"`` not exceed."""
        return {STEPS: limits.steps, MASK: limits.overlap}.get(self.by, limits.decisions)

    def within(self, limits: Limits) -> bool:
        """Say whether ``value`` keeps the limits."""
        limit = self.limit(limits)
        return self.value <= limit if self.by == STEPS else self.value >= limit

    def __str__(self) -> str:
        if self.by == STEPS:
            return f"{self.value:g} step(s)"
        return f"IoU {self.value:.3f}" if self.by == MASK else f"{self.by} {self.value:.1%}"


@dataclass(frozen=True)
class Comparison:
    """An engine's outputs beside the golden ones.

    Attributes:
        status: A word of `edgecnn.proof`.
        reason: Why it is not exact; empty if it is.
        outputs: Differences per output.
        judgements: One per output, then the verdict where the task gives one.
    """

    status: str
    reason: str
    outputs: tuple[Differences, ...]
    judgements: tuple[Judgement, ...]


def compare(manifest: Manifest, expected: Sequence[Array], got: Sequence[Array], limits: Limits | None) -> Comparison:
    """Compare the outputs of a batch of frames, all of them.

    Args:
        manifest: The bundle's contract.
        expected: The golden outputs, one array (N, ...) per output.
        got: The engine's, likewise.
        limits: What suffices; None where every integer must be equal.

    Raises:
        ValueError: If shapes differ.
        DataError: If the task cannot read the outputs.
    """
    names = [output.tensor.name for output in manifest.outputs]
    found = tuple(differences(*item) for item in zip(names, expected, got, strict=True))
    judged = judgements(manifest, expected, got)
    wrong = [str(item) for item in found if item.max_lsb]
    if not wrong:
        return Comparison(EXACT, "", found, judged)
    if limits is not None:
        wrong = [f"'{x.of}': {x}, the limit is {x.limit(limits):g}" for x in judged if not x.within(limits)]
        if not wrong:
            return Comparison(EQUIVALENT, limits.why, found, judged)
    return Comparison(FAILED, "; ".join(wrong), found, judged)


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


def judgements(manifest: Manifest, expected: Sequence[Array], got: Sequence[Array]) -> tuple[Judgement, ...]:
    """Judge every output by what it decides, and what they decide together; see `Comparison`."""
    found = [_judge(manifest, *item) for item in zip(manifest.outputs, expected, got, strict=True)]
    return (*found, _verdicts(manifest, expected, got)) if manifest.task in INSPECTIONS else tuple(found)


def _judge(manifest: Manifest, output: OutputContract, expected: Array, got: Array) -> Judgement:
    """Judge one output by the first of these rules that applies.

    1. Indices are compared as they are: many as a mask of classes, one as an index.
    2. What is raw, or an output of a task that decides nothing, is compared in steps.
    3. A map of scores is compared as a mask, a vector of scores by its first place, a single score in steps.
    """
    name, spec = output.tensor.name, output.tensor
    is_map = output.layout == "NHWC" and max(spec.shape[1:3]) > 1
    if spec.quant is None and np.prod(spec.shape) == 1:
        return Judgement(name, INDEX, float(np.mean(expected == got)))
    if spec.quant is None or (is_map and _decides(manifest, output)):
        return Judgement(name, MASK, least_iou(_mask(manifest, output, expected), _mask(manifest, output, got)))
    if spec.shape[-1] > 1 and _decides(manifest, output):
        return Judgement(name, TOP_1, float(np.mean(expected.argmax(axis=-1) == got.argmax(axis=-1))))
    return Judgement(name, STEPS, float(np.abs(got.astype(np.int64) - expected.astype(np.int64)).max()))


def _decides(manifest: Manifest, output: OutputContract) -> bool:
    return manifest.task != "raw" and output.meaning != "raw" and output.layout[-1] == "C"


def _mask(manifest: Manifest, output: OutputContract, values: Array) -> Array:
    """Return a map of classes: indices as they are, else what the task makes of the scores."""
    if output.tensor.quant is None:
        return values
    if manifest.task != "lane" and values.shape[-1] > 1:
        return np.asarray(values.argmax(axis=-1))
    probability = mark_threshold(manifest) if manifest.task == "lane" else 0.5
    if manifest.task in INSPECTIONS:
        probability = Settings.of(manifest.decoding).pixel_threshold
    limit = probability if output.meaning == "probabilities" else logit(probability)
    real = dequantise(values, output.tensor.grid)
    return np.asarray(real >= limit if manifest.task in INSPECTIONS else real > limit)


def _verdicts(manifest: Manifest, expected: Sequence[Array], got: Sequence[Array]) -> Judgement:
    """Compare verdicts, and of what kind a defect is said to be."""
    decode = decoder(manifest)

    def verdict(arrays: Sequence[Array], index: int) -> object:
        pairs = zip(manifest.outputs, arrays, strict=True)
        decision = decode([Output(contract, array[index : index + 1]) for contract, array in pairs])
        return decision.verdict, decision.label

    same = [verdict(expected, index) == verdict(got, index) for index in range(len(expected[0]))]
    return Judgement(VERDICT, VERDICT, sum(same) / len(same))


def least_iou(expected: Array, got: Array) -> float:
    """Return the smallest intersection over union of two class maps, over the classes in either."""
    return min(_iou(expected, got, label) for label in np.union1d(expected, got))


def mean_iou(expected: Array, got: Array) -> float:
    """Return intersection over union of class maps, mean over the classes in ``expected``."""
    ratios = [_iou(expected, got, label) for label in np.unique(expected)]
    return sum(ratios) / len(ratios)


def _iou(expected: Array, got: Array, label: object) -> float:
    wanted, found = expected == label, got == label
    return float(np.sum(wanted & found) / np.sum(wanted | found))


def check_contract(manifest: Manifest, arrays: Sequence[Array]) -> None:
    """Check that an engine returned what the manifest says.

    Raises:
        BundleError: If number, shape or dtype is another.
    """
    came = [(array.shape, array.dtype.name) for array in arrays]
    wanted = [(output.tensor.shape, output.tensor.dtype) for output in manifest.outputs]
    if came != wanted:
        raise BundleError(f"the engine returned {came}, the manifest says {wanted}.")
