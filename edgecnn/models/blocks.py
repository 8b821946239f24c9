"""What the networks that edgecnn trains are made of; every operator is on the Edge TPU's list."""

from __future__ import annotations

from torch import Tensor, nn

MAP_WIDTH = 16
"""Channels of the map at half the input's size, the dearest one."""
BEGINNING = -3.0
"""The logit that `rare` begins with: a probability of 0.05."""


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a short cut (He et al., Deep Residual Learning, CVPR 2016), then ReLU6."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        self.activation = nn.ReLU6(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Return as many channels of the same size."""
        summed: Tensor = self.activation(features + self.second(self.first(features)))
        return summed


class Encoder(nn.Module):
    """Feature maps at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input's size.

    Args:
        widths: Channels of the five maps.
        depths: Residual blocks in each of the last four.
    """

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = convolution(3, widths[0], stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(convolution(narrow, wide, stride=2), *(Residual(wide) for _ in range(depth)))
            for narrow, wide, depth in zip(widths, widths[1:], depths, strict=False)
        )

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Return the maps, largest first."""
        maps = [self.stem(picture)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps


class Pyramid(nn.Module):
    """From coarse to fine, after Lin et al., Feature Pyramid Networks, CVPR 2017: enlarge, add, filter.

    Args:
        widths: Channels of the encoder's maps.
        width: Channels of the sums; `MAP_WIDTH` in the last one.
    """

    def __init__(self, widths: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(convolution(channels, width, 1) for channels in widths[1:])
        self.mix = nn.ModuleList(convolution(width, width) for _ in widths[1:-1])
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        self.narrow = convolution(width, MAP_WIDTH, 1)
        self.fine = convolution(widths[0], MAP_WIDTH, 1)
        self.last = convolution(MAP_WIDTH, MAP_WIDTH)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the map at half the input's size, `MAP_WIDTH` channels, and that at a quarter, ``width`` channels."""
        sides = [lateral(features) for lateral, features in zip(self.lateral, maps[1:], strict=True)]
        current = sides.pop()
        for mix in self.mix:
            current = mix(self.enlarge(current) + sides.pop())
        finest: Tensor = self.last(self.enlarge(self.narrow(current)) + self.fine(maps[0]))
        return finest, current


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution that keeps the size (over stride), batch norm, ReLU6."""
    filters = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(filters, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


def rare(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a 1 x 1 convolution to logits that begins by saying no: few pixels are ever meant.

    After Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, section 4.1: training is unstable otherwise.
    """
    last = nn.Conv2d(inputs, outputs, 1)
    nn.init.constant_(last.get_parameter("bias"), BEGINNING)
    return last
