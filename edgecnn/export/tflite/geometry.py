"""Where a sliding window lies: TFLite knows only SAME and VALID, the integer graph says every pad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A window sliding along one spatial axis.

    Attributes:
        size: Length of the input.
        extent: Length of the window with its dilation.
        stride: Step of the window.
        begin: Padding before the first element.
        out: Length of the output.
    """

    size: int
    extent: int
    stride: int
    begin: int
    out: int

    @property
    def end(self) -> int:
        """Padding after the last element that the last window really reaches."""
        return max((self.out - 1) * self.stride + self.extent - self.size - self.begin, 0)

    def fits(self, padding: str) -> bool:
        """Say whether TFLite's ``padding`` puts every window where this one lies.

        Source: TensorFlow, "Notes on padding": SAME gives ceil(size / stride) windows and pads half of what is
        missing, rounded down, in front.
        """
        if padding == "VALID":
            return self.begin == 0 and self.end == 0 and self.out == (self.size - self.extent) // self.stride + 1
        same = -(-self.size // self.stride)
        missing = max((same - 1) * self.stride + self.extent - self.size, 0)
        return self.out == same and self.begin == missing // 2


def windows(
    size: Sequence[int],
    out: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int] = (1, 1),
) -> tuple[Window, Window]:
    """Return the windows along height and width; every argument is (height, width), ``pads`` (top, left, ...)."""
    rows, columns = (
        Window(size[axis], (kernel[axis] - 1) * dilations[axis] + 1, strides[axis], pads[axis], out[axis])
        for axis in (0, 1)
    )
    return rows, columns


def padding_of(pair: tuple[Window, Window]) -> str | None:
    """Return ``"VALID"`` or ``"SAME"`` where one of them is exact on both axes, else None."""
    return next((name for name in ("VALID", "SAME") if all(window.fits(name) for window in pair)), None)
