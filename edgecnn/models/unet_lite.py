"""A small segmenter after Ronneberger et al., U-Net, MICCAI 2015, made of operators that map on the Edge TPU.

Depthwise-separable convolutions with ReLU6, strides instead of pooling, resizing by 2 to the nearest instead of
transposed convolution (often unmapped with stride 2), concatenation of two maps.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from edgecnn.models.model_card import ModelCard

CARDS = {
    "unet-lite": ModelCard(
        name="unet-lite",
        task="segment",
        input_shape=(3, 256, 256),
        color="rgb",
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        resize="stretch",
        labels=("background", "foreground"),
    )
}

WIDTHS = (16, 32, 64, 128, 256)
"""Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input's size."""


class UNetLite(nn.Module):
    """Input float32 (N, 3, H, W), RGB, normalised by the card, H and W multiples of 32.

    Output float32 logits (N, classes, H, W).
    """

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.stem = _convolution(3, WIDTHS[0], 3, stride=2)
        pairs = list(pairwise(WIDTHS))
        self.down = nn.ModuleList(
            nn.Sequential(_separable(narrow, wide, stride=2), _separable(wide, wide)) for narrow, wide in pairs
        )
        self.up = nn.ModuleList(
            nn.Sequential(_separable(wide + narrow, narrow), _separable(narrow, narrow)) for narrow, wide in pairs[::-1]
        )
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        self.sharpen = _separable(WIDTHS[0], WIDTHS[0])
        self.classifier = nn.Conv2d(WIDTHS[0], classes, 1)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the logits."""
        features = [self.stem(picture)]
        for down in self.down:
            features.append(down(features[-1]))
        current = features.pop()
        for up in self.up:
            current = up(torch.cat([self.enlarge(current), features.pop()], dim=1))
        logits: Tensor = self.classifier(self.sharpen(self.enlarge(current)))
        return logits


def build(name: str = "unet-lite") -> nn.Module:
    """Return the network with random weights; seed torch before for the same ones again."""
    return UNetLite()


def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Filter each channel, then mix them."""
    return nn.Sequential(_convolution(inputs, inputs, 3, stride, groups=inputs), _convolution(inputs, outputs, 1))


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution that keeps the size (over stride), batch norm, ReLU6."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))
