"""Maps as a lane model gives them, drawn from label masks, and a contract that they fit."""

from __future__ import annotations

import numpy as np

from edgecnn.manifest import EngineEntry, InputContract, Manifest, OutputContract, Provenance
from edgecnn.runtime.evaluation.markings import row_middles
from edgecnn.tensor import QuantParams, TensorSpec
from edgecnn.vision.results import Output

HEIGHT, WIDTH = 96, 160
GRID = QuantParams.per_tensor(0.08, 128)
CONTRACT = OutputContract(TensorSpec("map", (1, HEIGHT, WIDTH, 4), "uint8", GRID), "NHWC", "logits")
MANIFEST = Manifest(
    "lanes",
    "lane",
    InputContract(TensorSpec("frame", (1, 192, 320, 3), "uint8", QuantParams.per_tensor(1 / 255)), "bgr"),
    (CONTRACT,),
    (EngineEntry("reference", "any", ("graph.npz",)),),
    Provenance("0", "m", "0" * 64, "fast", "0" * 64, 1),
    decoding={"mark_threshold": 0.5},
)
HIGH, LOW = 4.0, -6.0
"""Logits in the middle of a marking, and far from any."""


def empty() -> np.ndarray:
    """Return the logits of a map that shows nothing, float64 (H, W, 4)."""
    return np.full((HEIGHT, WIDTH, 4), LOW)


def mark(logits: np.ndarray, row: int, column: float, channel: int) -> None:
    """Draw a marking into one row; ``column`` in pixels of the map, continuous."""
    beside = np.arange(WIDTH) + 0.5 - column
    logits[row, :, channel] = np.maximum(logits[row, :, channel], HIGH - 2 * beside**2)


def of_mask(mask: np.ndarray, seed: int = 0, hidden: float = 0.0) -> np.ndarray:
    """Return the logits that are right for a label mask with classes 1..4, with noise.

    Args:
        mask: uint8 (H, W).
        seed: Of noise and hidden rows.
        hidden: Share of rows in which nothing is seen of a marking.
    """
    rng = np.random.default_rng(seed)
    logits = empty()
    for channel in range(4):
        starts = np.arange(HEIGHT) * mask.shape[0] // HEIGHT
        seen = np.logical_or.reduceat(mask == channel + 1, starts, axis=0)
        for row in np.flatnonzero(seen.any(axis=1)):
            if rng.random() >= hidden:
                for column, _ in row_middles(seen[row : row + 1]):
                    mark(logits, int(row), float(column) * WIDTH / mask.shape[1], channel)
    return logits + rng.normal(0, 1, logits.shape)


def output(logits: np.ndarray) -> Output:
    """Return a map as it leaves an engine."""
    integers = np.clip(np.round(logits / GRID.scale[0]) + 128, 0, 255).astype(np.uint8)
    return Output(CONTRACT, integers[None])
