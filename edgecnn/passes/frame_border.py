"""Which raw value padding stands for, once the normalisation of the input is folded into the first convolution.

A network pads its *normalised* input with zeros. On raw frames the padding can only be one integer, the input's zero
point, the same for every channel. Where the network's own padding is another raw value, or differs between channels,
the outputs along the border change; the zero point that changes them least is a least-squares problem in one unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn.passes.channel_affine import F64, ChannelAffine
from edgecnn.passes.rewrite import operand, shape_of

LEVELS = 255
EXACT = 1e-6
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Border:
    """The chosen raw padding value.

    Attributes:
        zero_point: The integer, 0..255.
        error: Largest error at the convolution's output along the border, relative to the largest magnitude that
            output can reach; 0 where the padding is exact.
    """

    zero_point: int
    error: float

    @property
    def exact(self) -> bool:
        """Whether the outputs are the same up to float rounding."""
        return self.error <= EXACT


def choose_zero_point(conv: ir.Node, weight: F64, bias: F64, affine: ChannelAffine) -> Border:
    """Choose the zero point for a frame that enters ``conv`` through ``affine``.

    With ``v = raw / 255`` the convolution's input is ``scale * v + shift``. A padded tap k contributes 0 in the model
    and, once folded, ``sum_c W[o, c, k] * (scale_c * zp / 255 + shift_c)``. Minimised is the sum of squares of this
    error over all output channels and positions: ``zp = -sum(p * q) / sum(p * p)`` with p and q below.

    Args:
        conv: A Conv with explicit attributes and group 1 or equal channels.
        weight: Its weight, (O, C/group, kh, kw).
        bias: Its bias, (O,).
        affine: Per channel of the convolution's input, on frames scaled to 0..1.
    """
    p_taps = _per_tap(conv, weight, affine.scale / LEVELS)
    q_taps = _per_tap(conv, weight, affine.shift)
    p, q, count = _border_sums(conv, p_taps, q_taps)
    denominator = float((count * p * p).sum())
    best = 0.0 if denominator == 0 else -float((count * p * q).sum()) / denominator
    zero_point = int(np.clip(np.rint(best), 0, LEVELS))
    reach = float((np.abs(bias) + np.abs(p_taps).sum(axis=(1, 2)) * LEVELS).max(initial=0.0)) or 1.0
    return Border(zero_point, float(np.abs(p * zero_point + q).max(initial=0.0)) / reach)


def _per_tap(conv: ir.Node, weight: F64, factor: F64) -> F64:
    """Return ``sum_c W[o, c, k] * factor_c`` of shape (O, kh, kw)."""
    group = conv.attributes.get_int("group", 1)
    grouped = weight.reshape(group, -1, *weight.shape[1:])
    taps: F64 = (grouped * factor.reshape(group, 1, -1, 1, 1)).sum(axis=2)
    return taps.reshape(weight.shape[0], *weight.shape[2:])


def _border_sums(conv: ir.Node, p_taps: F64, q_taps: F64) -> tuple[F64, F64, F64]:
    """Sum the padded taps of every kind of output position; each result has shape (kinds, O), counts (kinds, 1)."""
    rows, row_count = _padded_taps(conv, 0)
    columns, column_count = _padded_taps(conv, 1)
    padded = rows[:, None, :, None] | columns[None, :, None, :]
    kinds = padded.reshape(-1, padded.shape[2] * padded.shape[3]).astype(np.float64)
    count = (row_count[:, None] * column_count[None, :]).reshape(-1, 1).astype(np.float64)
    channels = p_taps.shape[0]
    return kinds @ p_taps.reshape(channels, -1).T, kinds @ q_taps.reshape(channels, -1).T, count


def _padded_taps(conv: ir.Node, axis: int) -> tuple[Flags, npt.NDArray[np.int64]]:
    """Return the distinct patterns of taps that fall into the padding along an axis, and how often each occurs."""
    attributes = conv.attributes
    stride, dilation = attributes["strides"].as_ints()[axis], attributes["dilations"].as_ints()[axis]
    begin = attributes["pads"].as_ints()[axis]
    size, out = shape_of(operand(conv, 0))[2 + axis], shape_of(conv.outputs[0])[2 + axis]
    taps = attributes["kernel_shape"].as_ints()[axis]
    index = np.arange(out)[:, None] * stride + np.arange(taps)[None, :] * dilation - begin
    patterns, count = np.unique((index < 0) | (index >= size), axis=0, return_counts=True)
    return patterns, count
