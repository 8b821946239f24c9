"""What a model says about a frame."""

from __future__ import annotations

import functools
from collections.abc import ItemsView, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from edgecnn.affine import dequantise
from edgecnn.errors import DataError
from edgecnn.manifest import OutputContract
from edgecnn.tensor import QuantParams

if TYPE_CHECKING:
    from edgecnn.vision.preprocess import Geometry

Array = npt.NDArray[np.generic]
Points = npt.NDArray[np.float64]


class Verdict(Enum):
    """The decision about a part or a frame. INVALID is neither good nor bad: the picture cannot be trusted."""

    PASS = "PASS"
    REJECT = "REJECT"
    INVALID = "INVALID"


@dataclass(frozen=True)
class Finding:
    """Why a picture cannot be trusted.

    Attributes:
        kind: What is wrong, in one word: ``"black"``, ``"saturated"``, ``"frozen"``, ``"blurred"``, ``"no_frame"``, ...
        reason: The same for people, in one sentence with the numbers that decided.
    """

    kind: str
    reason: str


@dataclass(frozen=True)
class Output:
    """One tensor as it left the engine.

    Attributes:
        contract: What the bundle says about it.
        integers: uint8 on the contract's grid, or int64 indices; shape as in the contract, but of a picture seen in
            tiles: maps are those of the whole picture, and vectors have one row a tile.
    """

    contract: OutputContract
    integers: Array

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self.contract.tensor.name

    @property
    def real(self) -> npt.NDArray[np.float32]:
        """The real values, float32, same shape; indices (outputs without a grid) are returned as float32."""
        spec = self.contract.tensor
        if spec.quant is None:
            return self.integers.astype(np.float32)
        if spec.dtype == "uint8" and spec.quant.axis is None:
            return np.asarray(_values(spec.quant)[self.integers], np.float32)
        return dequantise(self.integers, spec.quant)


@functools.cache
def _values(quant: QuantParams) -> npt.NDArray[np.float32]:
    """Return what each of the integers 0..255 stands for: looking it up is quicker than computing it, and the same."""
    return dequantise(np.arange(256, dtype=np.uint8), quant)


class Scores(Mapping[str, float]):
    """The score of every label. A thousand of them cost nothing before somebody looks.

    Args:
        names: The labels.
        values: One score per label, float64, shape (labels,).
    """

    def __init__(self, names: tuple[str, ...] = (), values: npt.NDArray[np.float64] | None = None) -> None:
        self._names, self._values = names, np.empty(0) if values is None else values

    def __getitem__(self, name: str) -> float:
        try:
            return float(self._values[self._names.index(name)])
        except ValueError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def items(self) -> ItemsView[str, float]:
        """Return labels and scores, all at once."""
        return dict(zip(self._names, self._values.tolist(), strict=True)).items()

    def __repr__(self) -> str:
        return f"Scores({dict(self.items())})"


@dataclass(frozen=True)
class Region:
    """A connected area of the picture.

    Attributes:
        label: What is there.
        score: The highest score in it, 0..1.
        polygon: Its outline, (N, 2), (x, y); continuous coordinates, see `edgecnn.vision.preprocess.Geometry`.
        area: In square pixels.
    """

    label: str
    score: float
    polygon: Points
    area: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom)."""
        (left, top), (right, bottom) = self.polygon.min(axis=0), self.polygon.max(axis=0)
        return float(left), float(top), float(right), float(bottom)

    def to_frame(self, geometry: Geometry) -> Self:
        """Return it in pixels of the frame, from pixels of the model's picture."""
        area = self.area / (geometry.scale[0] * geometry.scale[1])
        return replace(self, polygon=geometry.to_frame(self.polygon), area=area)


@dataclass(frozen=True)
class Lane:
    """A line of the lane that the camera is in.

    Attributes:
        side: ``"left"`` or ``"right"`` of the camera.
        kind: ``"solid"`` or ``"dashed"``.
        score: How sure that there is such a line, 0..1.
        points: (N, 2), (x, y) of its middle from near to far, gaps of a dashed line included; continuous coordinates.
    """

    side: str
    kind: str
    score: float
    points: Points

    def to_frame(self, geometry: Geometry) -> Self:
        """Return it in pixels of the frame, from pixels of the model's picture."""
        return replace(self, points=geometry.to_frame(self.points))


@dataclass(frozen=True)
class Ego:
    """Where the camera is in its lane; it looks along the middle column of the frame.

    Attributes:
        offset: How far the camera is right of the lane's middle, in widths of the lane: at 0.5 it is on the right line.
        bend: How far the lane's middle has gone to the right of its tangent at the camera where both lines are last
            seen, in widths of the lane; None where they are seen together too little.
        offset_m: ``offset`` in metres, None where the lane's width is not known.
        curvature: 1 / radius in 1/m, above 0 to the right; None where width or focal length are not known.
    """

    offset: float
    bend: float | None = None
    offset_m: float | None = None
    curvature: float | None = None


@dataclass(frozen=True)
class Decision:
    """What a task reads from the outputs; what a task does not know stays None.

    Regions and lanes are in pixels of the model's picture as a task decodes them, in pixels of the frame in a `Result`.

    Attributes:
        label: Name of the class, or its index as text where the bundle has no labels.
        score: Probability of ``label``, 0..1; for verdicts the score that decided, that of a defect.
        scores: Probability by label.
        verdict: PASS or REJECT, where the task decides.
        mask: uint8 (H, W) class indices at the output's size.
        regions: Where the defects of a rejected part are, the highest score first.
        lanes: The lines of the own lane, left before right.
        ego: Where the camera is in this lane; None without both lines, and where the frame is not known.
    """

    label: str | None = None
    score: float | None = None
    scores: Mapping[str, float] = field(default_factory=Scores)
    verdict: Verdict | None = None
    mask: npt.NDArray[np.uint8] | None = None
    regions: tuple[Region, ...] = ()
    lanes: tuple[Lane, ...] = ()
    ego: Ego | None = None

    @property
    def caption(self) -> str:
        """Label and score as one text for people, empty without a label."""
        if self.label is None:
            return ""
        # The score of a sound part is not that of its label: beside it, it would be misread.
        is_sound = self.verdict is Verdict.PASS and self.scores.get(self.label) != self.score
        return self.label if self.score is None or is_sound else f"{self.label} {self.score:.2f}"

    def to_frame(self, geometry: Geometry) -> Self:
        """Return it with regions and lanes in pixels of the frame, from pixels of the model's picture."""
        if not self.regions and not self.lanes:
            return self
        regions = tuple(region.to_frame(geometry) for region in self.regions)
        return replace(self, regions=regions, lanes=tuple(lane.to_frame(geometry) for lane in self.lanes))


@dataclass(frozen=True)
class Result:
    """Decision about one frame, and the tensors it was made from.

    Attributes:
        decision: What the bundle's task read from the outputs.
        outputs: All outputs, in the bundle's order.
    """

    decision: Decision
    outputs: tuple[Output, ...]

    @property
    def verdict(self) -> Verdict | None:
        """PASS or REJECT, None where the task does not decide."""
        return self.decision.verdict

    @property
    def label(self) -> str | None:
        """Name of the class, None where the task has none."""
        return self.decision.label

    @property
    def score(self) -> float | None:
        """Score of the label or verdict, None where the task has none."""
        return self.decision.score

    def output(self, name: str) -> Output:
        """Return the output called ``name``.

        Raises:
            DataError: If there is none of this name.
        """
        for output in self.outputs:
            if output.name == name:
                return output
        raise DataError(f"no output '{name}'; there are: {', '.join(output.name for output in self.outputs)}.")
