"""Where a network learns: on the processor or a GPU, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from edgecnn.errors import OptionError
from edgecnn.runtime import processor

DEVICES = ("auto", "cpu", "cuda")
BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
"""Instruction sets with products of bfloat16. Elsewhere they are emulated, which is slower than float32."""


def choose(name: str) -> torch.device:
    """Return the device called ``name``, one of `DEVICES`; ``auto`` is the GPU where there is one.

    Raises:
        OptionError: If there is no such device here.
    """
    if name not in DEVICES:
        raise OptionError(f"the device must be one of {', '.join(DEVICES)}, got '{name}'.")
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise OptionError(f"there is no GPU that torch {torch.__version__} can use: take the device cpu, or auto.")
    return torch.device("cuda" if has_gpu and name != "cpu" else "cpu")


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """Move ``network`` to ``device`` in place, convolutions channels-last, which take half the time on a processor."""
    network.to(device)
    nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
    return network


def in_bfloat16(network: nn.Module, device: torch.device) -> bool:
    """Tell whether the products of ``network`` are to be computed in bfloat16 on ``device``.

    Only where that is faster. On a processor with `BFLOAT16`, one thread, a step of 8 pictures of 256x256 took the
    dense convolutions of `edgecnn.models.surface` 138 ms instead of 262; depthwise ones took 77 instead of 46.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    grouped = any(layer.groups > 1 for layer in network.modules() if isinstance(layer, nn.Conv2d))
    return not grouped and bool(BFLOAT16 & processor.here().flags)


@contextmanager
def repeatable(threads: int) -> Iterator[None]:
    """Let torch compute with ``threads`` threads and choose the same algorithms every time, then as it did before."""
    before = torch.get_num_threads(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[1:]
