"""Any Conv with any batch normalisation around it, on any frame: the float outputs stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from edgecnn.graph import import_torch
from edgecnn.passes.float_difference import float_difference
from edgecnn.passes.frame_input import FrameInput
from edgecnn.passes.pipeline import normalise

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def blocks(draw: st.DrawFn) -> tuple[nn.Module, int]:
    """Draw [BN] -> Conv or ConvTranspose -> [BN] -> Relu with random geometry, and its number of input channels."""
    group = draw(st.sampled_from([1, 2, 4]))
    channels, outputs = 4, 4 * draw(st.integers(1, 2))
    kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    options = {"stride": stride, "padding": draw(st.integers(0, kernel // 2)), "bias": draw(st.booleans())}
    if draw(st.booleans()):
        layer: nn.Module = nn.ConvTranspose2d(channels, outputs, kernel, **options)
    else:
        layer = nn.Conv2d(channels, outputs, kernel, groups=group, dilation=draw(st.integers(1, 2)), **options)
    before = [nn.BatchNorm2d(channels)] if draw(st.booleans()) else []
    after = [nn.BatchNorm2d(outputs)] if draw(st.booleans()) else []
    torch.manual_seed(draw(st.integers(0, 2**16)))
    module = nn.Sequential(*before, layer, *after, nn.ReLU())
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            for tensor, (low, high) in zip((child.weight, child.bias, child.running_mean), ((-2, 2),) * 3, strict=True):
                nn.init.uniform_(tensor, low, high)
            nn.init.uniform_(child.running_var, 0.05, 3)
    return module, channels


@few
@given(blocks())
def test_folding_keeps_the_outputs(block) -> None:
    module, channels = block
    before = import_torch(module, (1, channels, 9, 9))
    after = before.clone()
    normalise(after)
    x = np.random.default_rng(0).standard_normal((1, channels, 9, 9)).astype(np.float32)
    assert float_difference(before, after, [{"image": x}]) <= 1e-5
    assert not [node for node in after.graph if node.op_type == "BatchNormalization"]


@few
@given(
    mean=st.integers(0, 255),
    std=st.lists(st.floats(0.05, 2), min_size=3, max_size=3),
    padding=st.integers(0, 2),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    color=st.sampled_from(["rgb", "bgr"]),
)
def test_a_mean_that_is_a_raw_value_is_exact(mean, std, padding, stride, dilation, color) -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(3, 4, 3, stride, padding, dilation)
    model = import_torch(module, (1, 3, 11, 13))
    normalise(model)
    frame = np.random.default_rng(1).integers(0, 256, (11, 13, 3), dtype=np.uint8)
    step = FrameInput((mean / 255,), std, color, [frame])
    step(model)
    assert step.report.exact
    assert step.report.measured == pytest.approx(0, abs=1e-5)
    assert step.report.zero_point == (mean if padding else 0)
