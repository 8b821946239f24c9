"""What ``report.json`` says of single layers: the noise they make, and how their grids fit. Shares lie in 0..1."""

from __future__ import annotations

from typing import TypedDict

Share = float


class LayerNoiseRow(TypedDict):
    """One layer quantised alone, its weights and its output apart.

    Ratios are SQNR in dB, one an output of the model: None where there is no noise, or no signal; no list where the
    layer has no weights, or its output only moves values. Shares are of the noise of all layers, 0..1.
    """

    layer: str
    kind: str
    weights_db: list[float | None] | None
    output_db: list[float | None] | None
    weights_share: Share
    output_share: Share


class SensitivitySection(TypedDict):
    """Where the noise comes from, measured on ``frames`` calibration frames.

    ``sum_db`` adds up the noise of all layers, ``whole_db`` has everything quantised; both one ratio an output.
    """

    frames: int
    outputs: list[str]
    sum_db: list[float | None]
    whole_db: list[float | None]
    layers: list[LayerNoiseRow]


class TensorRow(TypedDict):
    """An activation and its grid: [low, high] that calibration saw and that the grid holds.

    ``below`` and ``above`` are shares of values that saturate, ``codes`` of the 256 occur, ``effective_codes`` is two
    to the power of their entropy; ``histogram`` has the share of values in equal bins over ``observed``.
    """

    tensor: str
    layer: str
    observed: list[float]
    chosen: list[float]
    below: Share
    above: Share
    codes: int
    effective_codes: float
    histogram: list[float]


class WeightRow(TypedDict):
    """A layer's integer weights: share at the ends of the range, all-zero channels, largest over smallest scale."""

    layer: str
    at_ends: Share
    channels: int
    dead: int
    scale_ratio: float


class TensorSection(TypedDict):
    """How the grids fit."""

    activations: list[TensorRow]
    weights: list[WeightRow]
