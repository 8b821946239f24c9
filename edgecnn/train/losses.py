"""Losses of maps in which few pixels count."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MAP_WEIGHT, OVERLAP_WEIGHT = 8.0, 0.5
POSITIVE = 4.0
"""Weight of a pixel that is meant, against 1 for all others."""
SMOOTH = 5.0
"""Pixels added to both sides of the overlap, so that a map without a marked pixel has one as well."""
MARKED = 0.3
"""A map has something to overlap with where a pixel is covered at least so far."""


def map_loss(logits: Tensor, wanted: Tensor, known: Tensor | None = None) -> Tensor:
    """Return binary cross entropy of all pixels plus the Dice loss of the maps that show anything.

    Dice after Milletari et al., V-Net, 3DV 2016. Alone it does not say where nothing is; cross entropy alone lets small
    areas be forgotten.

    Args:
        logits: Float32 (N, C, H, W).
        wanted: How far each pixel is covered by what is meant, 0..1, same shape.
        known: 1 for the maps whose ``wanted`` is known, 0 for others, (N, 1) or (N, C); None where all are.
    """
    weight = torch.ones(logits.shape[:2], device=logits.device) if known is None else known.expand(logits.shape[:2])
    per_map = functional.binary_cross_entropy_with_logits(
        logits, wanted, pos_weight=torch.tensor(POSITIVE, device=logits.device), reduction="none"
    ).mean(dim=(2, 3))
    shown = weight * (wanted.amax(dim=(2, 3)) > MARKED)
    return MAP_WEIGHT * _mean(per_map, weight) + OVERLAP_WEIGHT * _mean(_dice(logits.sigmoid(), wanted), shown)


def _dice(found: Tensor, wanted: Tensor) -> Tensor:
    both = (found * wanted).sum(dim=(2, 3))
    return 1.0 - (2.0 * both + SMOOTH) / (found.sum(dim=(2, 3)) + wanted.sum(dim=(2, 3)) + SMOOTH)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1.0)
