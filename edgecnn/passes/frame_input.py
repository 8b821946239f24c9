"""Make the camera frame the network's input: uint8, NHWC, as OpenCV delivers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn.errors import OptionError, unknown_name
from edgecnn.passes.channel_affine import ChannelAffine
from edgecnn.passes.float_difference import FloatModel, largest_difference
from edgecnn.passes.frame_fold import enter_folded
from edgecnn.passes.picture import FRAME, Array, Picture, enter, find_picture

COLORS = ("rgb", "bgr", "gray")
Frames = Sequence[npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class FrameReport:
    """How the frame became the tensor.

    Attributes:
        zero_point: Zero point of the input's grid, ``real = (raw - zero_point) / 255``; what padding stands for.
        exact: Whether the outputs are those of the model before, up to float rounding.
        border_error: Largest error at the first convolution's output along the border, relative to the largest
            magnitude that output can reach.
        measured: Largest difference of the float outputs on the given frames, relative to each output's largest
            magnitude; None where no frames were given.
        fallback: Whether a 1x1 convolution had to be inserted, because the model does not start with a convolution.
        reason: Why the fall-back was needed, empty where it was not.
    """

    zero_point: int
    exact: bool
    border_error: float
    measured: float | None = None
    fallback: bool = False
    reason: str = ""


class FrameInput(ir.passes.InPlacePass):
    """Fold the input's normalisation and channel order into the first convolution.

    Given::

        image [1, C, H, W] float, normalised -> (affine ->) Conv(W, b) -> ...

    Result::

        frame [1, H, W, C] uint8 -> DequantizeLinear(1/255, zp) -> Transpose(0, 3, 1, 2) -> Conv(W', b') -> ...

    Rules:
        N1. ``x_c = (raw_f / 255 - mean_c) / std_c``, with f the frame's channel that the model's channel c reads: the
            reverse for color ``rgb``, the same for ``bgr``, ``gray`` and pictures that have not 3 channels.
        N2. A Transpose from NHWC that the model starts with disappears, and so do 1x1 Convs that keep channels apart,
            Mul, Add and Sub with a constant: what the model's own normalisation and channel order have become by now.
        N3. Slices of the picture whose Concat a Conv reads ("focus") are looked through: they move pixels only.
        N4. The zero point is what padding stands for (see `choose_zero_point`); with no padding it is 0.
        N5. Where the first layer is no Conv with constant parameters, or the picture has several readers, or channels
            must change places in front of a grouped Conv, a 1x1 Conv does N1, exactly, and is reported.

    Requires: the normal form. Ensures: the graph has one input, ``frame``.
    """

    def __init__(
        self, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,), color: str = "rgb", frames: Frames = ()
    ) -> None:
        """Say what the model expects.

        Args:
            mean: On the 0..1 scale, in the model's channel order; one value for all channels or one each.
            std: Likewise, positive.
            color: The model's channel order: ``rgb``, ``bgr`` or ``gray``. Pictures with 2, 4 and more channels keep
                their order.
            frames: Frames [H, W, C] uint8 to measure the effect on.

        Raises:
            OptionError: On an unknown color, a std that is not positive, or a mean or std that is not finite.
        """
        if color not in COLORS:
            raise unknown_name("color", color, COLORS)
        self._mean, self._std = np.asarray(mean, np.float64).reshape(-1), np.asarray(std, np.float64).reshape(-1)
        if not (np.isfinite(self._mean).all() and np.isfinite(self._std).all() and (self._std > 0).all()):
            raise OptionError(f"mean must be finite and std positive, got mean {tuple(mean)}, std {tuple(std)}.")
        self._color, self._frames = color, tuple(frames)
        self._report: FrameReport | None = None
        self._feed: Callable[[npt.NDArray[np.uint8]], dict[str, Array]] | None = None

    def feed(self, frame: npt.NDArray[np.uint8]) -> dict[str, Array]:
        """Return what the model before the pass is fed in place of a frame (H, W, C), by input name.

        Raises:
            ValueError: If the pass has not run.
        """
        if self._feed is None:
            raise ValueError("FrameInput has not run yet")
        return self._feed(frame)

    @property
    def report(self) -> FrameReport:
        """What the pass did; it must have run."""
        if self._report is None:
            raise ValueError("FrameInput has not run yet")
        return self._report

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite the model's input.

        Raises:
            ModelError: If the model has not exactly one input, or it is not a picture.
            OptionError: If mean, std or color do not fit the model's input.
        """
        picture = find_picture(model)
        affine, order = self._normalisation(picture), self._order(picture)
        self._feed = lambda frame: {picture.name: picture.feed(frame[None], affine, order)}
        before = FloatModel(model) if self._frames else None
        entry = enter(model, picture)
        folded = enter_folded(entry, affine, order)
        entry.set_zero_point(folded.border.zero_point)
        border = folded.border
        self._report = FrameReport(
            border.zero_point, border.exact, border.error, fallback=bool(folded.reason), reason=folded.reason
        )
        if before is not None:
            self._measure(before, FloatModel(model), picture, affine, order)
        return ir.passes.PassResult(model, True)

    def _normalisation(self, picture: Picture) -> ChannelAffine:
        """Return what turns a frame on the 0..1 scale into what the model reads, per channel of the model."""
        channels = picture.channels
        for name, values in (("mean", self._mean), ("std", self._std)):
            if values.size not in (1, channels):
                raise OptionError(f"{name} has {values.size} values; the model has {channels} channel(s).")
        mean, std = np.broadcast_to(self._mean, channels), np.broadcast_to(self._std, channels)
        if picture.raw and not ((mean == 0).all() and (std == 1).all()):
            raise OptionError("the model takes uint8 pictures and normalises them itself: give no mean and std.")
        return (
            ChannelAffine(np.full(channels, 255.0), np.zeros(channels))
            if picture.raw
            else ChannelAffine(1 / std, -mean / std)
        )

    def _order(self, picture: Picture) -> tuple[int, ...]:
        """Return for each of the model's channels the frame's channel (N1)."""
        channels = picture.channels
        if (self._color == "gray") != (channels == 1) and channels in (1, 3):
            raise OptionError(f"color is '{self._color}', but the model's input has {channels} channel(s).")
        return (2, 1, 0) if self._color == "rgb" and channels == 3 else tuple(range(channels))

    def _measure(
        self, before: FloatModel, after: FloatModel, picture: Picture, affine: ChannelAffine, order: tuple[int, ...]
    ) -> None:
        batches = [frame.reshape(picture.frame_shape) for frame in self._frames]
        pairs = (
            (before({picture.name: picture.feed(batch, affine, order)}), after({FRAME: batch})) for batch in batches
        )
        self._report = replace(self.report, measured=largest_difference(pairs))
