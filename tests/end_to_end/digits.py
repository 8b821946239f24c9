"""Handwritten digits: half of them to learn and to calibrate on, the other half to judge on."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

HALF = 5000
MEAN, STD = 0.1307, 0.3081
"""On the 0..1 scale, what the card of the built-in ``convnet`` says too."""
HEADER = {"images": 16, "labels": 8}


@dataclass(frozen=True)
class Digits:
    """Pictures uint8 (N, 28, 28, 1) and their classes int64 (N,)."""

    frames: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def read_digits(folder: Path) -> tuple[Digits, Digits]:
    """Read MNIST's 10,000 test digits; return the half for training and calibration, and the half for evaluation."""
    frames = _bytes(folder / "t10k-images-idx3-ubyte.gz", HEADER["images"]).reshape(-1, 28, 28, 1)
    labels = _bytes(folder / "t10k-labels-idx1-ubyte.gz", HEADER["labels"]).astype(np.int64)
    return Digits(frames[:HALF], labels[:HALF]), Digits(frames[HALF:], labels[HALF:])


def _bytes(path: Path, header: int) -> npt.NDArray[np.uint8]:
    with gzip.open(path) as stream:
        return np.frombuffer(stream.read(), np.uint8, offset=header)


def normalised(frames: npt.NDArray[np.uint8]) -> Tensor:
    """Return frames as the networks take them: float32 (N, 1, 28, 28)."""
    pictures = torch.tensor(frames, dtype=torch.float32).permute(0, 3, 1, 2)
    return (pictures / 255 - MEAN) / STD


def train(network: nn.Module, digits: Digits, epochs: int, rate: float = 4e-3, seed: int = 0) -> nn.Module:
    """Train ``network`` in place on ``digits``, shifted by up to two pixels, and return it in evaluation mode."""
    torch.manual_seed(seed)
    pictures, labels = normalised(digits.frames), torch.from_numpy(digits.labels)
    batches = len(labels) // 50
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * batches)
    network.train().to(memory_format=torch.channels_last)
    for _ in range(epochs):
        for batch in torch.randperm(len(labels))[: batches * 50].view(batches, 50):
            loss = functional.cross_entropy(network(_shifted(pictures[batch])), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def _shifted(pictures: Tensor) -> Tensor:
    """Move a batch by the same random -2..2 pixels per axis; what comes in is background."""
    down, right = torch.randint(0, 5, (2,)).tolist()
    padded = functional.pad(pictures, (2, 2, 2, 2), value=-MEAN / STD)
    return padded[..., down : down + 28, right : right + 28]
