"""A task a small network learns in two seconds: which way do the stripes run? Also the file given as ``--arch``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

Image = npt.NDArray[np.uint8]

LABELS = ("upright", "falling", "lying", "rising")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = 32
# What every export of the trained network says about it.
EXPECTS = ["--input-shape", f"1,3,{SIZE},{SIZE}"]
EXPECTS += ["--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD))]


class Unit(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class Linear(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs))


class StripeNet(nn.Module):
    """Input float32 (N, 3, 32, 32), RGB, normalised; output logits (N, 4). 14,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Unit(3, 12, stride=2)
        self.separable = nn.Sequential(Unit(12, 12, groups=12), Linear(12, 12, 1))
        self.down = Unit(12, 24, stride=2)
        self.residual = nn.Sequential(Unit(24, 24), Linear(24, 24, 3))
        self.head = nn.Linear(24, len(LABELS))

    def forward(self, picture: Tensor) -> Tensor:
        features = self.stem(picture)
        features = self.down(features + self.separable(features))
        features = functional.relu(features + self.residual(features))
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits


def build() -> StripeNet:
    return StripeNet()


def picture(rng: np.random.Generator, label: int, height: int = SIZE, width: int = SIZE) -> Image:
    """Return stripes in two colours with noise, BGR (height, width, 3)."""
    y, x = np.mgrid[:height, :width] * (SIZE / np.array([height, width])).reshape(2, 1, 1)
    angle = np.pi / 4 * label + rng.uniform(-0.2, 0.2)
    wave = np.sin((np.cos(angle) * x + np.sin(angle) * y) * rng.uniform(0.6, 1.2) + rng.uniform(0, 6.28))
    colours = rng.uniform(80, 170, 3) + wave[..., None] * rng.uniform(20, 60, 3)
    return np.clip(colours + rng.normal(0, 10, colours.shape), 0, 255).astype(np.uint8)


def normalised(frames: Image) -> Tensor:
    """Return frames (N, 32, 32, 3) BGR as the network takes them, without any code of edgecnn."""
    rgb = torch.from_numpy(np.ascontiguousarray(frames[..., ::-1])).permute(0, 3, 1, 2).float() / 255
    return (rgb - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def trained(steps: int = 40) -> StripeNet:
    """Train on fresh pictures; the same weights every time on one machine."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    network = build().train()
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(steps):
        labels = rng.integers(0, len(LABELS), 32)
        frames = np.stack([picture(rng, label) for label in labels])
        loss = functional.cross_entropy(network(normalised(frames)), torch.from_numpy(labels))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def photos(folder: Path, count: int = 20, height: int = 40, width: int = 48) -> Path:
    """Fill ``folder`` with pictures, JPEG and PNG in turns, and return it."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for index in range(count):
        suffix = ("jpg", "png")[index % 2]
        cv2.imwrite(str(folder / f"{index:03d}.{suffix}"), picture(rng, index % len(LABELS), height, width))
    return folder
