from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from edgecnn.report.network import Network
from edgecnn.report.pitfalls import RULES, Finding, Knowledge, judge
from tests.report.networks import block, convnet, head, network, resnet18, simple_cnn

KNOWN = Knowledge(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def found(network: Network, knowledge: Knowledge = KNOWN) -> dict[str, Finding]:
    return {finding.rule: finding for finding in judge(network, knowledge).findings}


def stack(*layers: nn.Module, size: int = 32, channels: int = 3) -> Network:
    return network(nn.Sequential(*layers), channels, size, size)


def deep(*layers: nn.Module) -> tuple[nn.Module, ...]:
    """Layers, then enough of a good network to see half of 32 x 32 and to end well."""
    return (*layers, block(16, 32, 3, 2), block(32, 32), block(32, 32), block(32, 32), head(32))


def test_there_are_eight_rules() -> None:
    assert len(RULES) == 8


def test_good_networks_raise_no_alarm() -> None:
    assert found(network(resnet18(), 3, 224, 224)) == {}
    assert found(network(convnet(), 1, 28, 28), Knowledge(mean=(0.1307,), std=(0.3081,))) == {}
    assert found(stack(*deep(block(3, 16)))) == {}


def test_the_tutorials_first_network_sees_too_little_and_nothing_else_is_wrong_with_it() -> None:
    findings = found(network(simple_cnn(), 1, 28, 28))

    assert set(findings) == {"receptive_field"}
    assert "10x10 pixels of a 28x28 picture" in findings["receptive_field"].message


def test_1_a_large_kernel_is_found() -> None:
    finding = found(stack(*deep(block(3, 16), block(16, 16, 7))))["large_kernels"]

    assert finding.layers == ("/1/1.0/Conv",)
    assert "7x7 costs as much as 5.4 with 3x3" in finding.message
    assert "Stack 3 convolutions of 3x3" in finding.advice
    assert "45% fewer weights" in finding.advice


def test_1_needed_large_kernels_are_not_found() -> None:
    depthwise = nn.Conv2d(16, 16, 5, padding=2, groups=16)
    downsampling = nn.Conv2d(16, 16, 4, 2, 1)
    separable = nn.Sequential(nn.Conv2d(16, 16, (1, 7), padding=(0, 3)), nn.Conv2d(16, 16, (7, 1), padding=(3, 0)))

    for layer in (depthwise, downsampling, separable):
        assert "large_kernels" not in found(stack(*deep(block(3, 16, 7, 2), layer), size=64))


def test_2_missing_padding_is_found() -> None:
    layers = (block(3, 16, padding=0), block(16, 16, padding=0), block(16, 16, padding=0))
    finding = found(stack(*deep(*layers)))["missing_padding"]

    assert len(finding.layers) == 3
    assert "cut off 6 rows or columns in all, on maps of 32x32 to 26x26" in finding.message


def test_2_one_valid_convolution_or_a_pad_in_front_is_fine() -> None:
    padded = [nn.Sequential(nn.ZeroPad2d(1), block(16, 16, padding=0)) for _ in range(3)]

    assert "missing_padding" not in found(stack(*deep(block(3, 16, padding=0))))
    assert "missing_padding" not in found(stack(*deep(block(3, 16), *padded)))


def plain(*channels: int) -> list[nn.Module]:
    return [nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU()) for a, b in pairwise(channels)]


def test_3_no_batch_norm_is_found() -> None:
    network = stack(*plain(3, 16, 16, 16, 16, 16, 16, 16, 16), head(16))
    finding = found(network)["no_batch_norm"]

    assert (finding.severity, len(finding.layers)) == ("warning", 8)
    assert found(network, Knowledge(True, False, *((0.5,) * 2,) * 2))["no_batch_norm"].severity == "hint"


def test_3_a_shallow_network_and_a_bundle_are_not_judged_for_it() -> None:
    network = stack(*plain(3, 16, 16, 16, 16, 16, 16, 16, 16), head(16))
    verdict = judge(network, Knowledge(finished=True, mean=(0.5,), std=(0.5,)))

    assert verdict.findings == ()
    assert list(verdict.unjudged) == ["no_batch_norm"]
    assert "no_batch_norm" not in found(stack(*plain(3, 16, 16), head(16)))


def test_4_coarse_pooling_is_found() -> None:
    finding = found(stack(*deep(block(3, 16), nn.MaxPool2d(4)), size=64))["coarse_pooling"]

    assert finding.layers == ("/1/MaxPool",)
    assert "steps 4x4 and keeps 6% of the map" in finding.message


def test_4_two_poolings_in_a_row_are_found() -> None:
    finding = found(stack(*deep(block(3, 16), nn.MaxPool2d(2), nn.ReLU(), nn.AvgPool2d(2)), size=64))["coarse_pooling"]

    assert finding.layers == ("/3/AveragePool",)
    assert "straight behind another pooling" in finding.message


def test_4_poolings_that_do_not_step_or_that_end_the_network_are_fine() -> None:
    pyramid = nn.Sequential(block(3, 16), nn.MaxPool2d(5, 1, 2), nn.MaxPool2d(5, 1, 2))
    ending = nn.Sequential(*plain(3, 16), nn.MaxPool2d(2), nn.AvgPool2d(16), nn.Flatten(), nn.Linear(16, 10))

    assert "coarse_pooling" not in found(stack(*deep(pyramid)))
    assert "coarse_pooling" not in found(stack(ending))


def test_5_a_map_that_collapses_too_early_is_found() -> None:
    halving = [nn.Sequential(block(16 if i else 3, 16), nn.MaxPool2d(2)) for i in range(5)]
    finding = found(stack(*halving, block(16, 16), block(16, 16), head(16)))["early_collapse"]

    assert len(finding.layers) == 3
    assert "down to 2x2 before '/4/4.0/4.0.0/Conv' (3x3), and 3 convolution(s) still follow" in finding.message


def test_5_one_by_one_convolutions_on_a_pooled_map_are_fine() -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 4, 1), nn.ReLU(), nn.Conv2d(4, 16, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.sigmoid(self.gate(x))

    assert found(stack(*deep(block(3, 16), Gate()))) == {}


def test_5_a_one_dimensional_signal_is_fine() -> None:
    layers = [block(3 if i == 0 else 8, 8, 3, (1, 2)) for i in range(4)]

    assert "early_collapse" not in found(network(nn.Sequential(*layers, head(8)), 3, 1, 128))


def test_6_a_field_smaller_than_the_object_is_found() -> None:
    network = stack(block(3, 16), block(16, 16), block(16, 16), head(16), size=64)
    finding = found(network)["receptive_field"]

    assert finding.layers == ("/2/2.0/Conv",)
    assert "sees 7x7 pixels of a 64x64 picture: less than 50% of the picture (32x32)" in finding.message


def test_6_what_is_known_of_the_object_counts() -> None:
    network = stack(block(3, 16), block(16, 16), block(16, 16), head(16), size=64)
    small, large = (Knowledge(mean=(0.5,), std=(0.5,), object_size=(size, size)) for size in (7, 8))

    assert "receptive_field" not in found(network, small)
    assert "the object (8x8)" in found(network, large)["receptive_field"].message


def test_6_a_fully_connected_layer_over_the_map_sees_all_of_it() -> None:
    flattened = (nn.Flatten(), nn.Linear(16 * 32 * 32, 4))

    assert "receptive_field" not in found(stack(block(3, 16), *flattened))


def test_7_a_heavy_fully_connected_layer_is_found() -> None:
    layers = (block(3, 16), nn.MaxPool2d(2), block(16, 32), nn.Flatten(), nn.Linear(32 * 256, 128), nn.Linear(128, 10))
    finding = found(stack(*layers))["heavy_dense"]

    assert finding.layers == ("/4/Gemm",)
    assert "holds 1,048,704 of 1,055,130 parameters (99%)" in finding.message
    assert "weighs each of 16x16 places" in finding.message
    assert "4,096 parameters stay" in finding.advice


def test_7_a_convolution_as_large_as_the_map_is_one_too() -> None:
    layers = (block(3, 16), nn.MaxPool2d(2), nn.Conv2d(16, 128, 16), nn.Flatten(), nn.Linear(128, 10))

    assert found(stack(*layers))["heavy_dense"].layers == ("/2/Conv",)


def test_7_a_classifier_behind_a_global_pool_and_a_small_one_are_fine() -> None:
    behind_pool = (block(3, 16, 3, 2), block(16, 64, 3, 2), block(64, 64), head(64, 20_000))
    small = (block(3, 8, 3, 2), block(8, 8, 3, 2), nn.Flatten(), nn.Linear(8 * 64, 64), nn.Linear(64, 10))

    assert "heavy_dense" not in found(stack(*behind_pool))
    assert "heavy_dense" not in found(stack(*small))


@pytest.mark.parametrize(
    ("knowledge", "severity"),
    [(Knowledge(), "hint"), (Knowledge(mean=(0.0, 0.0, 0.0), std=(1.0,)), "warning"), (KNOWN, None)],
)
def test_8_an_input_that_nobody_normalises_is_found(knowledge: Knowledge, severity: str | None) -> None:
    finding = found(stack(*deep(block(3, 16))), knowledge).get("raw_input")

    assert (finding and finding.severity) == severity
    assert finding is None or finding.layers == ("/0/0.0/Conv",)


def test_8_a_network_that_normalises_by_itself_is_fine() -> None:
    class Centred(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x - 0.5) / 0.25

    for first in (Centred(), nn.BatchNorm2d(3)):
        assert "raw_input" not in found(stack(first, *deep(block(3, 16))), Knowledge(mean=(0,), std=(1,)))
