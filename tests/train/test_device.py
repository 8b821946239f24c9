"""Where it learns, in which precision, and that torch is as before afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgecnn.errors import OptionError
from edgecnn.runtime.processor import Processor
from edgecnn.train import device

CPU = torch.device("cpu")
DENSE, DEPTHWISE = nn.Sequential(nn.Conv2d(4, 4, 3)), nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4))


def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [device.choose(name).type for name in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [device.choose(name).type for name in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(OptionError, match=r"there is no GPU that torch .* can use: take the device cpu, or auto"):
        device.choose("cuda")
    with pytest.raises(OptionError, match="the device must be one of auto, cpu, cuda, got 'tpu'"):
        device.choose("tpu")


@pytest.mark.parametrize(("flag", "dense"), [("avx512_bf16", True), ("amx_bf16", True), ("avx512_vnni", False)])
def test_bfloat16_only_where_it_is_faster(monkeypatch: pytest.MonkeyPatch, flag: str, dense: bool) -> None:
    monkeypatch.setattr(device.processor, "here", lambda: Processor("x86_64", frozenset({"avx2", flag})))

    assert device.in_bfloat16(DENSE, CPU) is dense
    assert device.in_bfloat16(DEPTHWISE, CPU) is False


def test_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    with device.repeatable(before + 1):
        assert torch.get_num_threads() == before + 1
        assert torch.backends.cudnn.deterministic
    assert torch.get_num_threads() == before
    assert not torch.backends.cudnn.deterministic


def test_convolutions_are_channels_last_and_the_network_is_the_same_object() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3))

    assert device.place(network, CPU) is network
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
