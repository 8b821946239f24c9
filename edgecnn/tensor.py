"""What a tensor is: its shape and type, and the grid its integers stand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

DTYPES = {
    "uint8": (0, 255),
    "int8": (-128, 127),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "float32": None,
}


@dataclass(frozen=True)
class QuantParams:
    """An affine integer grid: ``real = scale * (integer - zero_point)``.

    Attributes:
        scale: One positive float32 value per tensor, or one per slice along ``axis``.
        zero_point: The integer that stands for real 0. It is 0 on per-channel grids.
        axis: The axis that ``scale`` runs along, None for a per-tensor grid.

    Raises:
        ValueError: On a scale that is not finite and positive, or a per-channel grid with a zero point.
    """

    scale: tuple[float, ...]
    zero_point: int = 0
    axis: int | None = None

    def __post_init__(self) -> None:
        values = np.asarray(self.scale, np.float32)
        if values.ndim != 1 or values.size == 0:
            raise ValueError(f"scale must be a non-empty 1-D sequence, got shape {values.shape}")
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ValueError(f"every scale must be finite and positive, got {values.min()} .. {values.max()}")
        if self.axis is None and values.size != 1:
            raise ValueError(f"a per-tensor grid has one scale, got {values.size}")
        if self.axis is not None and self.zero_point != 0:
            raise ValueError(f"a per-channel grid has zero point 0, got {self.zero_point}")
        object.__setattr__(self, "scale", tuple(float(value) for value in values))

    @classmethod
    def per_tensor(cls, scale: float, zero_point: int = 0) -> QuantParams:
        """Make a per-tensor grid; ``scale`` is rounded to float32."""
        return cls((scale,), zero_point)

    @classmethod
    def per_channel(cls, scale: npt.ArrayLike, axis: int) -> QuantParams:
        """Make a per-channel grid with zero point 0; ``scale`` has shape (channels,)."""
        return cls(tuple(np.asarray(scale, np.float32).tolist()), 0, axis)

    @property
    def scales(self) -> npt.NDArray[np.float32]:
        """The scales as float32 array of shape (1,) or (channels,)."""
        return np.asarray(self.scale, np.float32)

    def as_json(self) -> dict[str, Any]:
        """Return the grid as plain JSON values."""
        return {"scale": list(self.scale), "zero_point": self.zero_point, "axis": self.axis}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> QuantParams:
        """Read back what `as_json` returned."""
        return cls(tuple(data["scale"]), int(data["zero_point"]), data["axis"])


@dataclass(frozen=True)
class TensorSpec:
    """Name, static shape, dtype and grid of a tensor.

    Attributes:
        name: Unique inside its graph.
        shape: Static shape, batch first.
        dtype: One of `DTYPES`.
        quant: The grid, None for tensors that are not quantised (indices).

    Raises:
        ValueError: On a dynamic or empty shape, or an unknown dtype.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    quant: QuantParams | None = None

    def __post_init__(self) -> None:
        if any(not isinstance(size, int) or size < 1 for size in self.shape):
            raise ValueError(f"tensor '{self.name}': every dimension must be a positive integer, got {self.shape}")
        if self.dtype not in DTYPES:
            raise ValueError(f"tensor '{self.name}': dtype must be one of {', '.join(DTYPES)}, got '{self.dtype}'")

    @property
    def grid(self) -> QuantParams:
        """The grid of a tensor that must have one.

        Raises:
            ValueError: If the tensor is not quantised.
        """
        if self.quant is None:
            raise ValueError(f"tensor '{self.name}' of dtype {self.dtype} has no grid")
        return self.quant

    def as_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON values."""
        quant = None if self.quant is None else self.quant.as_json()
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype, "quant": quant}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TensorSpec:
        """Read back what `as_json` returned."""
        quant = None if data["quant"] is None else QuantParams.from_json(data["quant"])
        return cls(str(data["name"]), tuple(data["shape"]), str(data["dtype"]), quant)
