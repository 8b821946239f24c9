"""MobileNetV2: Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018.

Names and shapes of the tensors are those of torchvision's state dict, so its weights load.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgecnn.models.model_card import IMAGENET_MEAN, IMAGENET_STD, ModelCard

CARDS = {
    "mobilenetv2": ModelCard(
        name="mobilenetv2",
        task="classify",
        input_shape=(3, 224, 224),
        color="rgb",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        resize="crop",
        crop_ratio=0.875,
    )
}

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""(expansion, output channels, blocks, stride of the first block), table 2 of the paper."""
STEM, LAST = 32, 1280


class InvertedResidual(nn.Module):
    """Widen by a 1x1 convolution, filter each channel, narrow by a 1x1 convolution without activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_convolution(inputs, wide, 1)]
        layers += [_convolution(wide, wide, 3, stride, groups=wide)]
        layers += [nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """Return the features after the block, (N, outputs, H / stride, W / stride)."""
        inner: Tensor = self.conv(features)
        return features + inner if self.residual else inner


class MobileNetV2(nn.Module):
    """Input float32 (N, 3, H, W), RGB, normalised by the card; output float32 logits (N, classes)."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, STEM, 3, 2)]
        channels = STEM
        for expansion, width, depth, stride in STAGES:
            for index in range(depth):
                layers.append(InvertedResidual(channels, width, stride if index == 0 else 1, expansion))
                channels = width
        self.features = nn.Sequential(*layers, _convolution(channels, LAST, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(LAST, classes))
        _initialise(self)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the logits."""
        features = self.avgpool(self.features(picture))
        logits: Tensor = self.classifier(torch.flatten(features, 1))
        return logits


def build(name: str = "mobilenetv2") -> nn.Module:
    """Return the network with random weights; seed torch before for the same ones again."""
    return MobileNetV2()


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution that keeps the size (over stride), batch norm, ReLU6."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


def _initialise(network: nn.Module) -> None:
    """He et al., Delving Deep into Rectifiers, ICCV 2015; batch norm starts as the identity by itself."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
            nn.init.zeros_(module.bias)
