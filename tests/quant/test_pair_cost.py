"""What the limit on pairs costs is said, and nothing where there are no pairs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgecnn.quant.pair_cost import pair_cost
from tests.quant.networks import SmallMobileNet, in_normal_form, settled


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_random_weights_lose_less_than_a_bit(method: str) -> None:
    torch.manual_seed(0)
    found = pair_cost(in_normal_form(settled(SmallMobileNet())), method)
    assert found is not None
    kept, free = found
    assert 1 < free - kept < 6.02
    assert 35 < kept < 50


def test_weights_that_never_meet_lose_nothing() -> None:
    layer = nn.Conv2d(3, 4, 1, bias=False)
    with torch.no_grad():
        layer.weight[:, 1] = 0
    found = pair_cost(in_normal_form(layer), "minmax")
    assert found is not None
    assert found[0] == pytest.approx(found[1])


def test_without_pairs_there_is_nothing_to_say() -> None:
    assert pair_cost(in_normal_form(nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.ReLU())), "mse") is None
