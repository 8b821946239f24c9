"""Networks whose facts are known: the tutorial's, and a residual one as large as torchvision's ResNet-18."""

from __future__ import annotations

import torch
from torch import nn

from edgecnn.graph import import_torch
from edgecnn.report.imported import read_model
from edgecnn.report.network import Network


def network(module: nn.Module, *shape: int) -> Network:
    """Import a module and look at it; ``shape`` is (channels, height, width)."""
    torch.set_num_threads(1)
    return read_model(import_torch(module, (1, *shape)))


def block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int | None = None) -> nn.Sequential:
    """Convolution, batch norm, ReLU; padded so that the map keeps its size, if not said otherwise."""
    padding = kernel // 2 if padding is None else padding
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def head(channels: int, classes: int = 10) -> nn.Sequential:
    """Global average pool and one fully connected layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def simple_cnn() -> nn.Module:
    """The tutorial's network without a head: 2 x [convolution, ReLU, max pool]."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


def convnet() -> nn.Module:
    """The tutorial's classifier for 1 x 28 x 28."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(64, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        nn.Sequential(nn.Flatten(), nn.Linear(128, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 10)),
    )


class Residual(nn.Module):
    """Two convolutions and a skip connection."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            block(inputs, outputs, 3, stride), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        changes = stride > 1 or inputs != outputs
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.skip = shortcut if changes else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.skip(x))


def resnet18() -> nn.Module:
    """ResNet-18 for 3 x 224 x 224: 11 689 512 parameters, 1.814 G multiply-accumulates."""
    widths = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
    stages = [nn.Sequential(Residual(a, b, stride), Residual(b, b, 1)) for a, b, stride in widths]
    return nn.Sequential(block(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1), *stages, head(512, 1000))
