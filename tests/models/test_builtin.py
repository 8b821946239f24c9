"""The built-in networks: what they are called, what they expect, and that published weights would fit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from edgecnn import models
from edgecnn.errors import ModelError, OptionError
from edgecnn.graph import import_torch
from edgecnn.models.model_card import ModelCard

NAMES = ["convnet", "defect", "lane", "mobilenetv2", "resnet18", "resnet50", "unet-lite"]
PARAMETERS = {
    # torchvision's documentation states the counts of the last three; the first is the sum of its layers.
    "convnet": 320 + 64 + 18_496 + 128 + 73_856 + 256 + 33_024 + 2_570,
    "mobilenetv2": 3_504_872,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
}
SHAPES = {
    "resnet18": {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.0.conv1.weight": (64, 64, 3, 3),
        "layer1.1.bn2.bias": (64,),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer2.0.downsample.1.running_var": (128,),
        "layer4.1.conv2.weight": (512, 512, 3, 3),
        "fc.weight": (1000, 512),
        "fc.bias": (1000,),
    },
    "resnet50": {
        "layer1.0.conv1.weight": (64, 64, 1, 1),
        "layer1.0.conv3.weight": (256, 64, 1, 1),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer3.5.conv2.weight": (256, 256, 3, 3),
        "layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
        "layer4.2.bn3.num_batches_tracked": (),
        "fc.weight": (1000, 2048),
    },
    "mobilenetv2": {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.0.1.running_mean": (32,),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.1.conv.2.weight": (16,),
        "features.2.conv.0.0.weight": (96, 16, 1, 1),
        "features.2.conv.1.0.weight": (96, 1, 3, 3),
        "features.2.conv.2.weight": (24, 96, 1, 1),
        "features.17.conv.3.bias": (320,),
        "features.18.0.weight": (1280, 320, 1, 1),
        "classifier.1.weight": (1000, 1280),
    },
}
ENTRIES = {"resnet18": 122, "resnet50": 320, "mobilenetv2": 314}
"""Length of torchvision's state dicts, counters of batch norm included."""


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_names() -> None:
    assert models.names() == NAMES


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_parameter_count(name: str) -> None:
    assert parameters(models.build(name)) == PARAMETERS[name]


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_state_dict_is_laid_out_like_torchvisions(name: str) -> None:
    state = models.build(name).state_dict()

    assert len(state) == ENTRIES[name]
    assert {key: tuple(state[key].shape) for key in SHAPES[name]} == SHAPES[name]


@pytest.mark.parametrize(("name", "size"), [("resnet18", 64), ("resnet50", 64), ("mobilenetv2", 64)])
def test_classifiers_give_1000_finite_logits(name: str, size: int) -> None:
    torch.manual_seed(0)
    logits = models.build(name)(torch.randn(2, 3, size, size))

    assert logits.shape == (2, 1000)
    assert bool(torch.isfinite(logits).all())


def test_strides_of_resnet50_are_in_the_3x3_convolutions() -> None:
    block = models.build("resnet50").get_submodule("layer2.0")

    assert block.get_submodule("conv1").stride == (1, 1)
    assert block.get_submodule("conv2").stride == (2, 2)


def test_residual_blocks_of_mobilenetv2_are_those_of_equal_shape() -> None:
    blocks = models.build("mobilenetv2").get_submodule("features")

    assert [index for index, block in enumerate(blocks.children()) if getattr(block, "residual", False)] == [
        *(3, 5, 6, 8, 9, 10, 12, 13, 15, 16)
    ]


def test_convnet_is_the_tutorials() -> None:
    module = models.build("convnet")
    layers = [type(layer).__name__ for layer in [*module.features, *module.classifier]]

    block = ["Conv2d", "BatchNorm2d", "ReLU"]
    assert layers == [
        *(*block, "MaxPool2d", *block, "MaxPool2d", *block, "AdaptiveAvgPool2d"),
        *("Flatten", "Linear", "ReLU", "Dropout", "Linear"),
    ]
    assert module(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_unet_lite_keeps_the_size_and_has_few_hundred_thousand_parameters() -> None:
    module = models.build("unet-lite")

    assert 200_000 < parameters(module) < 400_000
    assert module(torch.zeros(1, 3, 64, 96)).shape == (1, 2, 64, 96)


def test_unet_lite_sees_detail_and_surroundings() -> None:
    torch.manual_seed(0)
    module = models.build("unet-lite")
    picture = torch.randn(1, 3, 64, 64, requires_grad=True)
    module(picture)[0, 0, 32, 32].backward()

    assert picture.grad is not None
    touched = picture.grad[0].abs().sum(0) > 0
    assert bool(touched[32, 32])
    assert bool(touched[0, 0])


@pytest.mark.parametrize("name", ["defect", "lane", "unet-lite"])
def test_networks_for_the_edge_tpu_hold_mappable_operators_only(name: str) -> None:
    graph = import_torch(models.build(name, pretrained=False), (1, *models.card(name).input_shape)).graph

    # BatchNormalization folds into its convolution, Clip is ReLU6.
    mappable = {"Conv", "BatchNormalization", "Clip", "Relu", "MaxPool", "Reshape", "Flatten", "Gemm"}
    assert {node.op_type for node in graph} <= mappable | {"Resize", "Concat", "Add"}


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(models.build(name, pretrained=False).state_dict())

    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", NAMES)
def test_networks_come_in_evaluation_mode_and_fit_their_card(name: str) -> None:
    module, card = models.build(name), models.card(name)

    assert not module.training
    assert card.name == name
    with torch.no_grad():
        output = module(torch.zeros(1, *card.input_shape))
    scores = output[-1] if isinstance(output, tuple) else output
    assert scores.shape[1] == len(card.labels or range(1000))


@pytest.mark.parametrize(
    ("name", "color", "mean"),
    [
        ("convnet", "gray", (0.1307,)),
        ("resnet50", "rgb", (0.485, 0.456, 0.406)),
        ("mobilenetv2", "rgb", (0.485, 0.456, 0.406)),
        ("defect", "bgr", (0.5, 0.5, 0.5)),
    ],
)
def test_cards(name: str, color: str, mean: tuple[float, ...]) -> None:
    card = models.card(name)

    assert (card.color, card.mean) == (color, mean)


def test_an_unknown_name_suggests_a_near_one() -> None:
    with pytest.raises(OptionError, match=r"unknown built-in model 'resnet5'\. Did you mean 'resnet50'"):
        models.build("resnet5")
    with pytest.raises(OptionError, match="Did you mean 'unet-lite'"):
        models.card("unet_lite")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "guess"}, "task must be one of classify, segment, defect, anomaly, lane, got 'guess'"),
        ({"color": "cmyk"}, "color must be one of rgb, bgr, gray, got 'cmyk'"),
        ({"resize": "fit"}, "resize must be one of stretch, letterbox, crop, got 'fit'"),
        ({"mean": (0.5,)}, r"rgb has 3 channel\(s\), got \(3, 1, 3\)"),
        ({"std": (1.0, 0.0, 1.0)}, "sizes and std must be positive"),
        ({"crop_ratio": 0.0}, r"crop_ratio must be in \(0, 1\], got 0.0"),
        ({"thresholds": {"bad": math.nan}}, "thresholds for labels it does not have: bad"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(change: dict[str, object], message: str) -> None:
    facts: dict[str, object] = {
        "name": "x",
        "task": "classify",
        "input_shape": (3, 8, 8),
        "color": "rgb",
        "mean": (0.0,) * 3,
        "std": (1.0,) * 3,
        "resize": "stretch",
    }
    with pytest.raises(ModelError, match=message):
        ModelCard(**(facts | change))
