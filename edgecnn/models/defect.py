"""The built-in defect model: is a part's surface good, or does it show a scratch, pit, crack, stain or chip?

Depthwise-separable convolutions with ReLU6 and one max pooling, 89,074 parameters: every operator has an integer kernel
on all targets and is on the Edge TPU's list. The maximum, not the mean, is taken over the last feature map, because one
small flaw anywhere makes the whole part defective.

The shipped weights come from ``python -m edgecnn.train.defect --seed 0``, trained on procedural surfaces alone.
Measured in float at the card's threshold: 0.9699 of 10,000 surfaces never trained on are judged right; of the first
2000, 5.4 % of the defects escape and 0.8 % of the good ones are rejected. On 507 photographs of magnetic tiles, a part
it was not made for, it ranks defective above sound with an AUROC of 0.805, but rejects 28 % of the sound ones. It is
something to start from and to try a device with; a part of one's own needs weights trained on it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgecnn.models.model_card import ModelCard

CARDS = {
    "defect": ModelCard(
        name="defect",
        task="defect",
        input_shape=(3, 128, 128),
        color="bgr",
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        resize="stretch",
        labels=("good", "defect"),
        weights="defect.safetensors",
        thresholds={"defect": 0.5},
    )
}

STEM = 16
BLOCKS = ((32, 2), (48, 1), (96, 2), (96, 1), (96, 1), (192, 2), (192, 1))
"""(output channels, stride) of the depthwise-separable blocks; strides multiply to 8 behind the stem's 2."""
LAST_MAP = 8
"""Side of the last feature map for a 128 x 128 input."""


class DefectNet(nn.Module):
    """Input float32 (N, 3, 128, 128), BGR, normalised by the card; output float32 logits (N, 2): good, defect."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, STEM, 3, stride=2)]
        channels = STEM
        for width, stride in BLOCKS:
            layers += [_convolution(channels, channels, 3, stride, groups=channels), _convolution(channels, width, 1)]
            channels = width
        self.features = nn.Sequential(*layers)
        # A fixed window becomes MaxPool, which maps on every Edge TPU runtime; a global one would become ReduceMax.
        self.pool = nn.MaxPool2d(LAST_MAP)
        self.classifier = nn.Linear(channels, 2)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the logits."""
        pooled: Tensor = self.pool(self.features(picture))
        logits: Tensor = self.classifier(torch.flatten(pooled, 1))
        return logits


def build(name: str = "defect") -> nn.Module:
    """Return the network with random weights; seed torch before for the same ones again."""
    return DefectNet()


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution that keeps the size (over stride), batch norm, ReLU6."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))
