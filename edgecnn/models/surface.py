"""Surfaces: where is a defect, and of which class is the picture? For the tasks ``defect`` and ``anomaly``.

An encoder, a pyramid that brings what it saw back to half the input's size, a map of logits there; the classes come
from the largest responses of the coarsest map and of the pyramid's, so that one small flaw anywhere counts as much as a
large one. Plain convolutions, ReLU6, Add, MaxPool, Resize to the nearest: all of it has integer kernels on all targets
and is on the Edge TPU's list. 256 x 256 pixels take 274 million multiplications.

The weights of the built-in ``defect`` come from ``python -m edgecnn.train.built_in defect``: drawn surfaces alone.
Measured in float on 1000 surfaces that were never learned from: AUROC 0.9998, pixel F1 0.94, 95 % called by their kind;
at the card's threshold 0.8 % of the defects escape and 0.8 % of the sound ones are rejected. On 507 photographs of
magnetic tiles, a part it was not made for, it ranks defective above sound with an AUROC of 0.79 (blowholes 0.95, frays
0.92, breaks 0.82, cracks 0.73, uneven ones 0.58), and rejects 36 % of the sound ones. It is something to start from and
to try a device with; a part of one's own needs weights trained on it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecnn.models.blocks import MAP_WIDTH, Encoder, Pyramid, rare
from edgecnn.models.model_card import ModelCard

ARGUMENTS = {"height": (64, 1024), "width": (64, 1024), "classes": (0, 256)}
"""Least and most of what `network` takes."""
STRIDE = 32
"""Both sides must be multiples of this."""
WIDTHS, DEPTHS, PYRAMID = (16, 24, 48, 80, 112), (1, 1, 1, 1), 32
SIDE, LABELS = 128, ("good", "scratch", "pit", "crack", "stain", "chip")
"""Of the built-in network."""

CARDS = {
    "defect": ModelCard(
        name="defect",
        task="defect",
        input_shape=(3, SIDE, SIDE),
        color="bgr",
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        resize="stretch",
        labels=LABELS,
        weights="defect.safetensors",
        decoding={"threshold": 0.5, "pixel_threshold": 0.68, "peak_pixels": 4, "smallest_region": 8.0},
    )
}


class SurfaceNet(nn.Module):
    """Input float32 (N, 3, H, W), BGR, normalised by the card.

    Output float32 logits: the map (N, 1, H/2, W/2), "is this pixel defective?", and with classes (N, classes).

    Args:
        height: H, a multiple of `STRIDE`.
        width: W, likewise.
        classes: Number of classes, the sound one included; 0 for the map alone.
    """

    def __init__(self, height: int = 256, width: int = 256, classes: int = 0) -> None:
        super().__init__()
        self.encoder = Encoder(WIDTHS, DEPTHS)
        self.pyramid = Pyramid(WIDTHS, PYRAMID)
        self.map = rare(MAP_WIDTH, 1)
        # Fixed windows become MaxPool, which maps on every Edge TPU runtime; global ones would become ReduceMax.
        self.shrink = nn.MaxPool2d(STRIDE // 4)
        self.pool = nn.MaxPool2d((height // STRIDE, width // STRIDE))
        self.classifier = nn.Linear(WIDTHS[-1] + PYRAMID, classes) if classes else None

    def forward(self, picture: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the map, and the logits of the classes where there are classes."""
        maps = self.encoder(picture)
        fine, quarter = self.pyramid(maps)
        found: Tensor = self.map(fine)
        if self.classifier is None:
            return found
        seen = torch.cat([maps[-1], self.shrink(quarter)], dim=1)
        # Learning is quicker on pieces of pictures, which are of another size.
        largest = functional.adaptive_max_pool2d(seen, 1) if self.training else self.pool(seen)
        return found, self.classifier(torch.flatten(largest, 1))


def build(name: str = "defect") -> nn.Module:
    """Return the built-in network with random weights; seed torch before for the same ones again."""
    return SurfaceNet(SIDE, SIDE, len(LABELS))


def network(height: int, width: int, classes: int) -> nn.Module:
    """Return the network with random weights; seed torch before for the same ones again."""
    return SurfaceNet(height, width, classes)
