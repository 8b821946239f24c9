"""Residual networks: He et al., Deep Residual Learning for Image Recognition, CVPR 2016.

Names and shapes of the tensors are those of torchvision's state dicts, so its weights load. As there, ``resnet50``
has the stride of a bottleneck in its 3x3 convolution ("v1.5"), not in the first 1x1 of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgecnn.models.model_card import IMAGENET_MEAN, IMAGENET_STD, ModelCard

CARDS = {
    name: ModelCard(
        name=name,
        task="classify",
        input_shape=(3, 224, 224),
        color="rgb",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        resize="crop",
        crop_ratio=0.875,
    )
    for name in ("resnet18", "resnet50")
}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, features: Tensor) -> Tensor:
        """Return the features after the block, (N, width, H / stride, W / stride)."""
        inner = self.relu(self.bn1(self.conv1(features)))
        inner = self.bn2(self.conv2(inner))
        return _join(self.relu, inner, features, self.downsample)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; four times as many channels leave as the 3x3 has."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, features: Tensor) -> Tensor:
        """Return the features after the block, (N, 4 * width, H / stride, W / stride)."""
        inner = self.relu(self.bn1(self.conv1(features)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        return _join(self.relu, inner, features, self.downsample)


class ResNet(nn.Module):
    """Input float32 (N, 3, H, W), RGB, normalised by the card; output float32 logits (N, classes).

    Args:
        block: Kind of the residual blocks.
        depths: Blocks in each of the four stages.
        classes: Length of the output.
    """

    def __init__(self, block: type[BasicBlock | Bottleneck], depths: Sequence[int], classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(block, 64, 64, depths[0], 1)
        self.layer2 = _stage(block, 64 * block.expansion, 128, depths[1], 2)
        self.layer3 = _stage(block, 128 * block.expansion, 256, depths[2], 2)
        self.layer4 = _stage(block, 256 * block.expansion, 512, depths[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * block.expansion, classes)
        _initialise(self)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the logits."""
        features = self.maxpool(self.relu(self.bn1(self.conv1(picture))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(features), 1))
        return logits


def build(name: str) -> nn.Module:
    """Return ``resnet18`` or ``resnet50`` with random weights; seed torch before for the same ones again."""
    return {"resnet18": _resnet18, "resnet50": _resnet50}[name]()


def _resnet18() -> ResNet:
    return ResNet(BasicBlock, (2, 2, 2, 2))


def _resnet50() -> ResNet:
    return ResNet(Bottleneck, (3, 4, 6, 3))


def _stage(block: type[BasicBlock | Bottleneck], inputs: int, width: int, depth: int, stride: int) -> nn.Sequential:
    """Return ``depth`` blocks, the first of which changes size and channels."""
    rest = [block(width * block.expansion, width, 1) for _ in range(depth - 1)]
    return nn.Sequential(block(inputs, width, stride), *rest)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """Return the projection of the shortcut (option B of the paper), None where shapes already agree."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def _join(relu: nn.Module, inner: Tensor, features: Tensor, shortcut: nn.Module | None) -> Tensor:
    joined: Tensor = relu(inner + (features if shortcut is None else shortcut(features)))
    return joined


def _initialise(network: nn.Module) -> None:
    """He et al., Delving Deep into Rectifiers, ICCV 2015; batch norm starts as the identity by itself."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
