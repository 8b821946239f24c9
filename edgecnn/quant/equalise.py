"""Cross-layer equalisation: scale channels so that every one uses its grid, without changing the function.

All channels of a tensor share one grid, so a channel that is small beside the largest has few steps left. Where
operators allow it (see `edgecnn.quant.channel_sets`) the layers that write a channel multiply it by a factor, and the
layers that read it divide by the same. Channel ``c`` takes the factor ``(r_max / r_c) ** a``, where ``r`` is the
largest magnitude on some frames. The exponent is the one of `EXPONENTS` with the least estimated noise (see
`edgecnn.quant.channel_noise`), for every part of the graph by itself; a part where none pays stays as it is.

Channels behind a clamp such as ReLU6 that never reach it come second: the ranges of what their layers read, which the
first round makes narrow, decide how far they may grow (see `edgecnn.quant.clamp_room`).

Source: Nagel et al. 2019, "Data-Free Quantization through Weight Equalization and Bias Correction", section 4.1, for
the scaling itself. Its factors, from the ranges of weights, are for weights that share one scale; here every row has
its own, so the ranges of activations decide. Xiao et al. 2023, "SmoothQuant", section 4, has the exponent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn.errors import CalibrationError
from edgecnn.passes.rewrite import replace_constant
from edgecnn.quant.calibrate import Frame
from edgecnn.quant.channel_noise import Part, parts
from edgecnn.quant.channel_sets import Channels, ChannelSets, channel_sets
from edgecnn.quant.clamp_room import clamp_room
from edgecnn.quant.float_graph import read

Doubles = npt.NDArray[np.float64]
EXPONENTS = (0.25, 0.5, 0.75, 1.0)
LARGEST_LIFT = 16.0
"""How far a channel is lifted at most beyond the median one: what was silent on some frames may speak on others."""
LIMIT = 2.0**10
WORTH = 0.9
"""A part is scaled where the estimated noise falls below this share of what it was."""


@dataclass(frozen=True)
class Equalised:
    """One part of the graph that was scaled.

    Attributes:
        tensors: The tensors whose channels were scaled.
        ratio: The largest factor over the smallest.
        noise: Estimated noise after over before.
    """

    tensors: tuple[str, ...]
    ratio: float
    noise: float


@dataclass(frozen=True)
class Equalisation:
    """What `equalise` did.

    Attributes:
        parts: Every part that was scaled; parts where it would not have paid are missing.
    """

    parts: tuple[Equalised, ...]


def equalise(model: ir.Model, frames: Sequence[Frame]) -> Equalisation:
    """Scale the channels of ``model`` in place where that lowers quantisation noise; its function stays the same.

    Args:
        model: Float graph in normal form with one uint8 NHWC input.
        frames: uint8 (H, W, C) at the model's size; 32 are enough.

    Raises:
        CalibrationError: If there is no frame, or what a layer in front of a clamp reads is not finite on one.
    """
    if not frames:
        raise CalibrationError("equalisation needs at least one image, got none; give a folder with --calibrate")
    free = channel_sets(read(model))
    done = _equalise(model, free, np.arange(1, free.count), frames)
    clamped = channel_sets(read(model), clamp_room(model, frames))
    return Equalisation((*done, *_equalise(model, clamped, clamped.limited, frames)))


def _equalise(model: ir.Model, sets: ChannelSets, wanted: Channels, frames: Sequence[Frame]) -> list[Equalised]:
    """Scale the parts with some channel that is ``wanted``, where that pays."""
    scales, done = np.ones(sets.count), []
    for part in parts(model, read(model), sets, frames) if wanted.size else ():
        chosen, noise = _best(part, scales, sets.most)
        if noise < WORTH and np.isin(part.channels, wanted).any():
            scales = chosen
            factors = chosen[part.channels]
            names = tuple(item.name for item in part.tensors)
            done.append(Equalised(names, float(factors.max() / factors.min()), noise))
    rescale(model, sets, scales)
    return done


def rescale(model: ir.Model, sets: ChannelSets, scales: Doubles) -> None:
    """Multiply every channel of ``model`` by its factor: rows and biases of what writes it, columns of what reads it.

    Args:
        model: The graph that ``sets`` was made of.
        sets: Its channels.
        scales: Positive factors, shape (``sets.count``,), 1 for the first.
    """
    nodes = {node.outputs[0].name: node for node in model.graph}
    for layer in sets.layers:
        if (scales[layer.inputs] == 1).all() and (scales[layer.outputs] == 1).all():
            continue
        node = nodes[layer.node.output]
        for index, content in enumerate(layer.scaled(scales), start=1):
            if content is not None:
                replace_constant(node, index, content, "equalised")


def _best(part: Part, scales: Doubles, most: Doubles) -> tuple[Doubles, float]:
    """Return the scales up to ``most`` with the least noise, and this noise over that of ``scales``."""
    before = part.noise(scales)
    share = _shares(part, scales.size)[part.channels]
    best, least = scales, before
    for exponent in EXPONENTS:
        candidate = scales.copy()
        candidate[part.channels] = np.minimum(_factors(share, exponent), most[part.channels])
        noise = part.noise(candidate)
        if noise < least:
            best, least = candidate, noise
    return best, least / before if before > 0 else 1.0


def _factors(share: Doubles, exponent: float) -> Doubles:
    """Return ``share ** -exponent``, such that the widest channel stays as wide as it is."""
    factors = share**-exponent
    limited: Doubles = np.clip(factors / (factors * share).max(), 1 / LIMIT, LIMIT)
    return limited


def _shares(part: Part, count: int) -> Doubles:
    """Return what share of its tensor's range each channel uses, the largest of all its tensors, shape (count,).

    Silent channels get the smallest share that is allowed: their columns must shrink with the others', or they would
    set the step of the rows.
    """
    share = np.zeros(count)
    for item in part.tensors:
        widest = float(item.seen.extent.max())
        if widest > 0:
            share[item.seen.channels] = np.maximum(share[item.seen.channels], item.seen.extent / widest)
    used: Channels = part.channels[share[part.channels] > 0]
    floor = float(np.median(share[used])) / LARGEST_LIFT if used.size else 1.0
    return np.maximum(share, floor)
