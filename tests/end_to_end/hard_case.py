"""A trained MobileNetV2 in small that integers find hard: one channel's range is a hundred times the others'.

The weights, ``tests/data/digit_net.safetensors``, were learnt on one half of MNIST's test digits:

    EDGECNN_DATA=../shared/data python -m tests.end_to_end.hard_case

writes them again in half a minute. What makes the network hard is done to them afterwards and keeps what it computes:
a channel times a hundred, and the weights that read it divided by a hundred.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from edgecnn.models.checkpoint import load_checkpoint, save_checkpoint
from edgecnn.models.mobilenetv2 import InvertedResidual
from tests.end_to_end.digits import read_digits, train

WEIGHTS = Path(__file__).parent.parent / "data" / "digit_net.safetensors"
FACTOR = 100.0
EPOCHS = 12
DEAD = 2
"""Channels in every widened tensor that never carry anything: zero weights and zero batch norm."""
BOTTLENECKS: Sequence[tuple[Sequence[int], Sequence[int]]] = (((2, 3), (3, 4)), ((4, 5), (5, 6)), ((6,), (7,)))
"""Blocks that write each linear bottleneck (two where a residual is added), and blocks that read it."""
VARIANTS: Mapping[str, tuple[bool, bool]] = {
    "plain": (False, False),
    "bottlenecks": (True, False),
    "relu6": (False, True),
    "everywhere": (True, True),
}
"""Whether one channel of every linear bottleneck, and one behind every first ReLU6 of a block, stands out."""


class DigitNet(nn.Module):
    """Input float32 (N, 1, 28, 28), normalised; output logits (N, 10). 13,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _unit(1, 8, 3, 2),
            InvertedResidual(8, 8, 1, 1),
            InvertedResidual(8, 12, 2, 4),
            InvertedResidual(12, 12, 1, 4),
            InvertedResidual(12, 16, 2, 4),
            InvertedResidual(16, 16, 1, 4),
            InvertedResidual(16, 20, 1, 4),
            _unit(20, 48, 1),
        )
        self.classifier = nn.Linear(48, 10)
        for block in self.wide():
            _kill(block)

    def forward(self, picture: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(picture).mean((2, 3)))
        return logits

    def wide(self) -> list[nn.Sequential]:
        """Return the layers of the blocks that widen: units of convolution, norm and ReLU6, then convolution, norm."""
        return [block.conv for block in self.features if isinstance(block, InvertedResidual) and len(block.conv) == 4]


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())


@torch.no_grad()
def _kill(block: nn.Sequential) -> None:
    """Zero the last channels of a block; no gradient reaches them, so they stay dead in training."""
    for convolution, norm in ((block[0][0], block[0][1]), (block[1][0], block[1][1])):
        convolution.weight[-DEAD:] = 0
        norm.weight[-DEAD:] = 0
    block[2].weight[:, -DEAD:] = 0


def network(variant: str = "plain") -> DigitNet:
    """Return the trained network, changed as `VARIANTS` says."""
    result = DigitNet().eval()
    load_checkpoint(result, WEIGHTS)
    bottlenecks, behind_relu6 = VARIANTS[variant]
    if bottlenecks:
        for writers, readers in BOTTLENECKS:
            _stretch_bottleneck(result, writers, readers)
    if behind_relu6:
        for block in result.wide():
            _stretch_relu6(block)
    return result


@torch.no_grad()
def _stretch_bottleneck(net: DigitNet, writers: Sequence[int], readers: Sequence[int], channel: int = 0) -> None:
    """Multiply a channel by `FACTOR` wherever it is written, and divide the weights that read it."""
    for index in writers:
        norm = net.features[index].conv[-1]
        norm.weight[channel] *= FACTOR
        norm.bias[channel] *= FACTOR
    for index in readers:
        first = net.features[index]
        convolution = first[0] if isinstance(first, nn.Sequential) else first.conv[0][0]
        convolution.weight[:, channel] /= FACTOR


@torch.no_grad()
def _stretch_relu6(block: nn.Sequential, channel: int = 0) -> None:
    """Divide all channels but one behind the first ReLU6 by `FACTOR`: below 6, that keeps what the block computes."""
    others = torch.arange(block[0][1].num_features) != channel
    block[0][1].weight[others] /= FACTOR
    block[0][1].bias[others] /= FACTOR
    block[1][0].weight[others] *= FACTOR


def main() -> None:
    """Train the network and write its weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EDGECNN_DATA", "../shared/data")))
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    learnt, _ = read_digits(arguments.data / "mnist")
    save_checkpoint(train(DigitNet(), learnt, EPOCHS), arguments.output)


if __name__ == "__main__":
    main()
