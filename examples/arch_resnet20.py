"""A network of one's own for ``--arch``: the CIFAR-10 ResNet-20 of He et al. 2016, section 4.2.

Its weights become a bundle with::

    edgecnn export resnet20.th --arch examples/arch_resnet20.py:resnet20 --input-shape 1,3,32,32
            --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --calibrate photos/ --target rpi
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Two convolutions beside a shortcut; where the shape changes, the shortcut is subsampled and padded with zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.added = (outputs - inputs) // 2
        self.stride = stride

    def forward(self, features: Tensor) -> Tensor:
        """Return the features after the block."""
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(features)))))
        shortcut = features
        if self.added:
            shortcut = features[:, :, :: self.stride, :: self.stride]
            shortcut = functional.pad(shortcut, (0, 0, 0, 0, self.added, self.added))
        return functional.relu(inner + shortcut)


class ResNet20(nn.Module):
    """Input float32 (N, 3, 32, 32), RGB, ImageNet mean and deviation; output logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16, 1), Block(16, 16, 1), Block(16, 16, 1))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the logits."""
        features = functional.relu(self.bn1(self.conv1(picture)))
        features = self.layer3(self.layer2(self.layer1(features)))
        logits: Tensor = self.linear(torch.flatten(functional.adaptive_avg_pool2d(features, 1), 1))
        return logits


def resnet20() -> nn.Module:
    """Return the network with random weights."""
    return ResNet20()
