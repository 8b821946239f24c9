"""INT8 beside float, in every export: on calibration frames that no weight was rounded on, for every output.

An engine that repeats the integer graph exactly proves nothing about the graph: where boxes up to 320 and scores up to
1 share a grid, no score is left of it. So outputs are compared with the float model's, as a whole and channel by
channel, and one that has collapsed is named.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn.affine import dequantise
from edgecnn.composer.evaluate import float_run
from edgecnn.composer.request import Work
from edgecnn.export import artefact
from edgecnn.integer_graph import Array, IntegerGraph
from edgecnn.manifest import Manifest
from edgecnn.quant.calibrate import Frame
from edgecnn.report.document import ChangedVerdicts, FidelityOutput, FidelitySection
from edgecnn.runtime.engines import usable_processors
from edgecnn.runtime.evaluation.labelled import PASS, REJECT, Labelled
from edgecnn.runtime.evaluation.observe import Observer, Picture, run_of
from edgecnn.runtime.evaluation.section import PictureRow
from edgecnn.runtime.evaluation.statistics import Noise
from edgecnn.vision.tasks import INSPECTIONS

MOST_FRAMES = 32
COLLAPSED_DB = 6.0
"""Below this an output says less than half of what float says (the error has half the signal's amplitude)."""
CHANNEL_DB = 3.0
SMALLEST_SWING = 4 / 256
"""What varies less than this is not looked at: a score that is next to 0 on all frames may well be 0."""
MOST_CHANNELS = 256
Doubles = npt.NDArray[np.float64]


@dataclass
class _Channels:
    """Signal and noise of the channels of one output along one axis, over all frames.

    Attributes:
        axis: The axis, counted with the batch axis.
        low: Smallest float value of every channel.
        high: Largest.
        total: Sum of float values; ``squares`` that of their squares, ``noise`` that of squared errors.
        count: Values a channel.
    """

    axis: int
    low: Doubles
    high: Doubles
    total: Doubles
    squares: Doubles
    noise: Doubles
    count: int = 0

    @classmethod
    def of(cls, real: Array) -> _Channels | None:
        """Return the channels of an output: the last axis of a map, else the shortest one; None for a vector."""
        axes = [3] if real.ndim == 4 else [axis for axis in range(1, real.ndim) if real.ndim > 2]
        axis = min((axis for axis in axes if real.shape[axis] > 1), key=lambda axis: real.shape[axis], default=0)
        if axis == 0 or real.shape[axis] > MOST_CHANNELS:
            return None
        size = real.shape[axis]
        zeros = np.zeros(size)
        return cls(axis, np.full(size, np.inf), np.full(size, -np.inf), zeros, zeros, zeros)

    def add(self, real: Array, got: Array) -> None:
        rows, others = (
            np.moveaxis(array, self.axis, 0).reshape(self.low.size, -1).astype(np.float64) for array in (real, got)
        )
        self.low, self.high = np.minimum(self.low, rows.min(axis=1)), np.maximum(self.high, rows.max(axis=1))
        self.total = self.total + rows.sum(axis=1)
        self.squares = self.squares + np.square(rows).sum(axis=1)
        self.noise = self.noise + np.square(rows - others).sum(axis=1)
        self.count += rows.shape[1]

    def collapsed(self) -> npt.NDArray[np.int64]:
        """Return the channels whose errors are nearly as large as what they say."""
        signal = self.squares - np.square(self.total) / max(self.count, 1)
        lost = self.noise * 10 ** (CHANNEL_DB / 10) > signal
        return np.flatnonzero(lost & (self.high - self.low > SMALLEST_SWING))


@dataclass
class _Compared:
    """One output over all frames."""

    name: str
    noise: Noise = field(default_factory=Noise)
    channels: _Channels | None = None
    frames: int = 0
    low: float = math.inf
    high: float = -math.inf

    def add(self, real: Array, got: Array) -> None:
        self.noise.add(real[None], got[None])
        self.low, self.high = min(self.low, float(real.min())), max(self.high, float(real.max()))
        self.channels = self.channels if self.frames else _Channels.of(real)
        if self.channels is not None:
            self.channels.add(real, got)
        self.frames += 1

    def section(self) -> FidelityOutput:
        ratio = self.noise.decibels
        return {
            "output": self.name,
            "sqnr_db": ratio if math.isfinite(ratio) else None,
            "low": self.low,
            "high": self.high,
            "collapsed": self._collapsed(ratio),
        }

    def _collapsed(self, ratio: float) -> str:
        """Say what is lost, empty if nothing is."""
        if self.high - self.low > SMALLEST_SWING and ratio < COLLAPSED_DB:
            return f"its signal-to-noise ratio is {ratio:.1f} dB"
        lost = [] if self.channels is None else self.channels.collapsed().tolist()
        if self.channels is None or not lost:
            return ""
        names = ", ".join(map(str, lost[:4])) + (", ..." if len(lost) > 4 else "")
        return f"{len(lost)} of {self.channels.low.size} channels along axis {self.channels.axis} are lost: {names}"


def fidelity(
    work: Work, manifest: Manifest, graph: IntegerGraph, frames: Sequence[Frame]
) -> tuple[FidelitySection, list[PictureRow]]:
    """Compare the integer graph with the float model as it was imported.

    Args:
        work: The folded model.
        manifest: The bundle's contract.
        graph: What the bundle is made of.
        frames: uint8 (H, W, C) at the model's size, not those that weights were rounded on.

    Returns:
        The comparison, and what is decided about every frame.
    """
    reference, observer = float_run(work.original, work.entry), Observer(manifest)
    compared = [_Compared(output.tensor.name) for output in manifest.outputs]
    with artefact.opened("onnxruntime", graph, threads=usable_processors()) as engine:
        run = run_of(engine)
        for number, frame in enumerate(frames[:MOST_FRAMES]):
            real, integers = reference(frame), run(frame)
            observer.add(_picture(number, frame), integers, real)
            for item, output, wanted, got in zip(compared, manifest.outputs, real, integers, strict=True):
                quant = output.tensor.quant
                item.add(np.asarray(wanted), got if quant is None else dequantise(got, quant))
    found: FidelitySection = {
        "frames": len(observer.rows),
        "agreement": _agreement(observer),
        "verdicts": _verdicts(observer.rows, manifest) if manifest.task in INSPECTIONS else None,
        "outputs": [item.section() for item in compared],
    }
    return found, observer.rows


def _verdicts(rows: Sequence[PictureRow], manifest: Manifest) -> ChangedVerdicts:
    pairs = [(row["float"] and row["float"]["decision"], row["int8"]["decision"]) for row in rows]
    return {
        "rejected": sum(before == REJECT for before, _ in pairs),
        "escapes": pairs.count((REJECT, PASS)),
        "false_rejects": pairs.count((PASS, REJECT)),
        "threshold": manifest.threshold,
    }


def _picture(number: int, frame: Frame) -> Picture:
    name = f"calibration frame {number}"
    digest = hashlib.sha256(frame.tobytes()).hexdigest()
    return Picture(Labelled(Path(name), name, None), digest, frame, (frame.shape[0], frame.shape[1]))


def _agreement(observer: Observer) -> float | None:
    """Return the share of equal decisions, of masks that of equal pixels; None where nothing is decided."""
    overlaps = [row["overlap"]["pixels"] for row in observer.rows if row["overlap"] is not None]
    if overlaps:
        return float(np.mean(overlaps))
    decided = [(row["int8"], row["float"]) for row in observer.rows]
    if not any(int8["decision"] for int8, _ in decided):
        return None
    same = [before is not None and int8["decision"] == before["decision"] for int8, before in decided]
    return float(np.mean(same))


def warnings(found: FidelitySection) -> list[str]:
    """Return what the user must know of outputs that have collapsed."""
    return [
        f"WARNING: output '{item['output']}' has collapsed in INT8: {item['collapsed']} ({found['frames']} calibration "
        f"frames, float values {item['low']:.4g} to {item['high']:.4g}). Every engine repeats these integers, but they "
        "are not what the model says. Try --recipe best, more and more varied calibration pictures, or let parts of "
        "different ranges leave the model as outputs of their own."
        for item in found["outputs"]
        if item["collapsed"]
    ]
