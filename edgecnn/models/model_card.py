"""What a built-in model expects of its input, and what its output means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgecnn.errors import ModelError
from edgecnn.fields import Scalar

TASKS = ("classify", "segment", "defect", "anomaly", "lane")
COLORS = ("rgb", "bgr", "gray")
RESIZES = ("stretch", "letterbox", "crop")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Per RGB channel, as torchvision's ImageNet weights expect them."""
WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the weights that ship with the package, ``.safetensors``."""


@dataclass(frozen=True)
class ModelCard:
    """The fixed facts of one built-in model.

    Attributes:
        name: The model's name, as the command line takes it.
        task: One of `TASKS`.
        input_shape: (C, H, W) in pixels; the network itself takes float32 NCHW.
        color: The network's channel order, one of `COLORS`.
        mean: Subtracted per channel of ``color``, on the 0..1 scale.
        std: Divided by afterwards, per channel, positive.
        resize: How frames of another size are fitted, one of `RESIZES`.
        crop_ratio: Share of the shorter side that ``"crop"`` keeps, in (0, 1]; 0.875 is 224 out of 256.
        labels: Class names by index of the output; None where the weights decide.
        weights: File in `WEIGHTS` that `edgecnn.models.build` loads; None leaves the random initialisation.
        thresholds: Score from which a label rejects a part, by label; for the tasks ``defect`` and ``anomaly``.
        decoding: What else the task must know to read the outputs; see its file in `edgecnn.vision.tasks`.

    Raises:
        ModelError: On values that contradict each other.
    """

    name: str
    task: str
    input_shape: tuple[int, int, int]
    color: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str
    crop_ratio: float = 1.0
    labels: tuple[str, ...] | None = None
    weights: str | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    decoding: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._one_of("task", self.task, TASKS)
        self._one_of("color", self.color, COLORS)
        self._one_of("resize", self.resize, RESIZES)
        channels = 1 if self.color == "gray" else 3
        found = (self.input_shape[0], len(self.mean), len(self.std))
        if found != (channels,) * 3:
            raise ModelError(
                f"card '{self.name}': {self.color} has {channels} channel(s), got {found} (shape, mean, std)."
            )
        if not 0 < self.crop_ratio <= 1:
            raise ModelError(f"card '{self.name}': crop_ratio must be in (0, 1], got {self.crop_ratio}.")
        if min(self.input_shape) < 1 or min(self.std) <= 0:
            raise ModelError(f"card '{self.name}': sizes and std must be positive, got {self.input_shape}, {self.std}.")
        if unknown := set(self.thresholds) - set(self.labels or ()):
            raise ModelError(
                f"card '{self.name}': thresholds for labels it does not have: {', '.join(sorted(unknown))}."
            )

    @property
    def weights_path(self) -> Path | None:
        """The shipped weights file, None for a model without."""
        return None if self.weights is None else WEIGHTS / self.weights

    def _one_of(self, key: str, value: str, allowed: tuple[str, ...]) -> None:
        if value not in allowed:
            raise ModelError(f"card '{self.name}': {key} must be one of {', '.join(allowed)}, got '{value}'.")
