"""Segmentation: one class index per pixel of the output."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from edgecnn.errors import DataError
from edgecnn.manifest import Manifest
from edgecnn.vision.results import Decision, Output
from edgecnn.vision.tasks import Decode

MOST_CLASSES = 256
"""What a mask of one byte a pixel can tell apart."""


def decoder(manifest: Manifest) -> Decode:
    """Return `decode` for a bundle."""
    return functools.partial(decode, manifest=manifest)


def decode(outputs: Sequence[Output], manifest: Manifest) -> Decision:
    """Return the mask of the first output.

    Several channels: the index of the largest. One channel: 1 where a logit is above 0 or a probability above 0.5.
    Indices (an ArgMax in the model): as they are.

    Raises:
        DataError: If the output is not (1, H, W, C), or indices do not fit 8 bits.
    """
    output = outputs[0]
    values = output.integers
    if output.contract.tensor.quant is None and values.squeeze().ndim == 2:
        return Decision(mask=_indices(output))
    if values.ndim != 4 or values.shape[3] > MOST_CLASSES:
        raise DataError(
            f"output '{output.name}' must be (1, H, W, up to {MOST_CLASSES} classes), got shape {values.shape}."
        )
    if values.shape[3] > 1:
        return Decision(mask=values[0].argmax(axis=2).astype(np.uint8))
    limit = 0.5 if output.contract.meaning == "probabilities" else 0.0
    return Decision(mask=(output.real[0, :, :, 0] > limit).astype(np.uint8))


def _indices(output: Output) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    values = output.integers.squeeze()
    if values.min() < 0 or values.max() > 255:
        raise DataError(
            f"output '{output.name}' must hold class indices 0 .. 255, got {values.min()} .. {values.max()}."
        )
    return values.astype(np.uint8)
