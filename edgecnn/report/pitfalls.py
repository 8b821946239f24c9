"""The eight pitfalls of convolutional networks, one rule each, with its threshold and the reason for it.

A rule returns at most one finding, which names every layer it is about. Rules read the model as it was imported: a
bundle's batch norms are folded, so that rule cannot judge one and says so.

1. ``large_kernels``     kernels larger than 3x3, needlessly
2. ``missing_padding``   padding forgotten, so that the map shrinks at each layer
3. ``no_batch_norm``     no batch norm
4. ``coarse_pooling``    pooling that is too aggressive
5. ``early_collapse``    too many poolings: the map is down to 1x1 (or smaller than the kernel) too early
6. ``receptive_field``   receptive field not considered
7. ``heavy_dense``       fully connected layers with too many parameters behind convolutions
8. ``raw_input``         inputs not normalised
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgecnn.report.network import Network, Step, Window, output_size
from edgecnn.report.receptive_field import Field, receptive_fields

WARNING, HINT = "warning", "hint"

PLAIN_KERNEL = 3
PICTURE_CHANNELS = 4
SHRINKING_LAYERS = 2
DEEP_CONVOLUTIONS = 3
GENTLE_STRIDE = 2
OBJECT_SHARE = 0.5
DENSE_SHARE = 0.5
DENSE_PARAMETERS = 100_000

_NORMS = ("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization")
_POOLS = ("MaxPool", "AveragePool")
_AFFINE = (*_NORMS, "Sub", "Add", "Mul", "Div")
_MOVING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Dropout", "Identity", "Relu", "Clip")


@dataclass(frozen=True)
class Finding:
    """A pitfall that a network has.

    Attributes:
        rule: Name of the rule.
        severity: ``"warning"``, or ``"hint"`` where the file alone cannot tell.
        layers: Names of the layers it is about; empty where it is about the whole network.
        message: What is wrong, with the numbers.
        advice: What to do.
    """

    rule: str
    severity: str
    layers: tuple[str, ...]
    message: str
    advice: str


@dataclass(frozen=True)
class Knowledge:
    """What the network's graph does not say.

    Attributes:
        folded: Whether batch norms may have been folded before this graph was read (True for bundles and .onnx files).
        finished: Whether it is a bundle: normalisation and batch norms are folded for certain.
        mean: Mean that is subtracted from the picture, on the 0..1 scale; None if nobody said.
        std: Standard deviation that it is divided by; None if nobody said.
        object_size: Height and width in input pixels of what is looked for; None for `OBJECT_SHARE` of the picture.
    """

    folded: bool = False
    finished: bool = False
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    object_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Verdict:
    """What the rules found, and the rules that could not judge, with the reason."""

    findings: tuple[Finding, ...]
    unjudged: dict[str, str]


Rule = Callable[[Network, Knowledge], Finding | None]


def judge(network: Network, knowledge: Knowledge | None = None) -> Verdict:
    """Apply all rules to a network."""
    knowledge = knowledge or Knowledge()
    unjudged = _unjudged(network, knowledge)
    found = (rule(network, knowledge) for name, rule in RULES.items() if name not in unjudged)
    return Verdict(tuple(finding for finding in found if finding is not None), unjudged)


def _unjudged(network: Network, knowledge: Knowledge) -> dict[str, str]:
    reasons = {}
    if knowledge.finished:
        reasons["no_batch_norm"] = "in an integer graph every batch norm is folded into a convolution"
    if network.image_size is None:
        reasons["receptive_field"] = f"the input {network.shapes[network.inputs[0]]} is not a picture of rank 4"
    return reasons


def large_kernels(network: Network, knowledge: Knowledge) -> Finding | None:
    """Rule 1: dense convolutions over more than 3 elements on both axes.

    Two stacked 3x3 see as much as one 5x5 with 18/25 of the weights, three as much as one 7x7 with 27/49 (Simonyan and
    Zisserman 2014, section 2.3). Not needless: a strided first layer (few channels, and it saves a whole map), a kernel
    that only downsamples (no larger than twice its stride), depthwise ones (k*k weights a channel), one-dimensional
    ones, and a kernel that covers the whole map (rule 7 looks at it).
    """
    large = [step for step in network.steps if _is_large(step, network)]
    if not large:
        return None
    worst = max(large, key=lambda step: math.prod(_window(step).kernel))
    rows, columns = _window(worst).kernel
    stacked = max(rows, columns) // 2
    saved = 1 - stacked * 9 / (rows * columns)
    fewer = f"{saved:.0%} fewer weights and " if saved > 0 else ""
    cost = f"one with {rows}x{columns} costs as much as {rows * columns / 9:.1f} with 3x3"
    return Finding(
        "large_kernels",
        WARNING,
        _names(large),
        f"{len(large)} convolution(s) have kernels larger than 3x3; {cost}.",
        f"Stack {stacked} convolutions of 3x3: they see as much, with {fewer}an activation in between.",
    )


def _is_large(step: Step, network: Network) -> bool:
    if step.op != "Conv" or step.window is None or min(step.window.kernel) <= PLAIN_KERNEL:
        return False
    strides, kernel = step.window.strides, step.window.kernel
    near = step.inputs[0] in network.picture_tensors() or step.weight[1] <= PICTURE_CHANNELS
    stem = near and min(strides) > 1
    downsampling = all(size <= 2 * stride for size, stride in zip(kernel, strides, strict=True))
    depthwise = step.weight[1] == 1 and step.weight[0] > 1 and network.shapes[step.inputs[0]][1] > 1
    whole = network.shapes[step.outputs[0]][2:] == (1, 1)
    return not (stem or downsampling or depthwise or whole)


def missing_padding(network: Network, knowledge: Knowledge) -> Finding | None:
    """Rule 2: at least two convolutions that return a smaller map than padding by ``kernel - 1`` in all would give.

    One may be meant (a valid convolution before the head); two are a habit that eats the border: each 3x3 takes two
    rows and columns, and a pixel at the edge is seen by one window instead of nine. A Pad in front counts as padding.
    """
    bare = [step for step in network.steps if _shrinks(step, network)]
    if len(bare) < SHRINKING_LAYERS:
        return None
    first, last = network.shapes[bare[0].inputs[0]][2:], network.shapes[bare[-1].outputs[0]][2:]
    lost = sum(max(window.reach) - 1 - min(window.padding) for window in map(_window, bare))
    return Finding(
        "missing_padding",
        WARNING,
        _names(bare),
        f"{len(bare)} convolutions have too little padding: they cut off {lost} rows or columns in all, on maps of "
        f"{first[0]}x{first[1]} to {last[0]}x{last[1]}.",
        "Give them padding = dilation * (kernel - 1) / 2 (torch: padding='same', or padding=1 for 3x3).",
    )


def _shrinks(step: Step, network: Network) -> bool:
    if step.op != "Conv" or step.window is None or max(step.window.kernel) == 1:
        return False
    source = network.writer(step.inputs[0])
    given = network.shapes[source.inputs[0] if source and source.op == "Pad" else step.inputs[0]][2:]
    got = network.shapes[step.outputs[0]][2:]
    if got == (1, 1) or step.window.kernel == tuple(given):
        return False
    axes = zip(given, step.window.reach, step.window.strides, strict=True)
    full = [output_size(size, reach, stride, padding=reach - 1) for size, reach, stride in axes]
    patches = step.window.kernel == step.window.strides
    return not patches and any(size < wanted for size, wanted in zip(got, full, strict=True))


def no_batch_norm(network: Network, knowledge: Knowledge) -> Finding | None:
    """Rule 3: three or more convolutions over space and no normalisation layer.

    It lets deeper networks train at higher rates and is free at inference, because it folds (Ioffe and Szegedy 2015).
    One or two convolutions train without it. An exporter may have folded it, so an .onnx file gives a hint only.
    """
    spatial = [step for step in network.steps if step.window is not None and _is_spatial(step)]
    if len(spatial) < DEEP_CONVOLUTIONS or any(step.op in _NORMS for step in network.steps):
        return None
    if knowledge.folded:
        message = f"{len(spatial)} convolutions and no batch norm in this file; its exporter may have folded them."
        advice = "If the network was trained with batch norm, all is well. If not, train it with one behind each."
        return Finding("no_batch_norm", HINT, (), message, advice)
    return Finding(
        "no_batch_norm",
        WARNING,
        _names(spatial),
        f"{len(spatial)} convolutions and no batch norm or other normalisation layer.",
        "Put a BatchNorm2d behind each convolution and train again; folding makes it free on the device.",
    )


def coarse_pooling(network: Network, knowledge: Knowledge) -> Finding | None:
    """Rule 4: a pooling with stride above 2, or two in a row with no convolution between them.

    A stride of 2 already drops three of four values; 3 drops eight of nine at once, and no convolution could save what
    was in them. Pooling of the whole map (the head) is meant and not counted.
    """
    coarse = [step for step in network.steps if _is_coarse(step, network)]
    if not coarse:
        return None
    strides = _window(coarse[0]).strides
    kept = 1 / math.prod(strides)
    return Finding(
        "coarse_pooling",
        WARNING,
        _names(coarse),
        f"'{coarse[0].name}' steps {strides[0]}x{strides[1]} and keeps {kept:.0%} of the map"
        + ("" if max(strides) > GENTLE_STRIDE else ", straight behind another pooling")
        + ".",
        "Pool by 2 at a time, with a convolution (and more channels) before each further step.",
    )


def _is_coarse(step: Step, network: Network) -> bool:
    if step.op not in _POOLS or step.window is None or network.shapes[step.outputs[0]][2:] == (1, 1):
        return False
    if max(step.window.strides) == 1:
        return False
    return max(step.window.strides) > GENTLE_STRIDE or _follows_pooling(step, network)


def _follows_pooling(step: Step, network: Network) -> bool:
    before = network.writer(step.inputs[0])
    while before is not None and before.op in _MOVING:
        before = network.writer(before.inputs[0])
    if before is None or before.window is None or before.op not in _POOLS:
        return False
    return max(before.window.strides) > 1


def early_collapse(network: Network, knowledge: Knowledge) -> Finding | None:
    """Rule 5: a convolution over space on a map that is smaller than its kernel.

    Most of its weights then only ever see padding: of a 3x3 on a 1x1 map eight of nine. An axis that has one element
    from the input on (a one-dimensional signal) is not counted.
    """
    late = [step for step in network.steps if _is_starved(step, network)]
    if not late:
        return None
    rows, columns = network.shapes[late[0].inputs[0]][2:]
    kernel = _window(late[0]).kernel
    return Finding(
        "early_collapse",
        WARNING,
        _names(late),
        f"the map is down to {rows}x{columns} before '{late[0].name}' ({kernel[0]}x{kernel[1]}), and "
        f"{len(late)} convolution(s) still follow: most of their weights see padding alone.",
        "Leave out a pooling or a stride, or use a larger input; come down to 1x1 once, with a global average pool "
        "behind the last convolution.",
    )


def _is_starved(step: Step, network: Network) -> bool:
    if step.op != "Conv" or step.window is None:
        return False
    picture = network.image_size or (0, 0)
    given = network.shapes[step.inputs[0]][2:]
    sizes = zip(given, step.window.kernel, picture, strict=True)
    return any(size < kernel and whole > 1 for size, kernel, whole in sizes) and sum(step.window.padding) > 0


def receptive_field(network: Network, knowledge: Knowledge) -> Finding | None:
    """Rule 6: no output sees, place by place, as much as the object is large.

    Where nothing is known of the object, it is taken to fill half of the picture on each axis. The limit is generous:
    the part of the field that really has weight is smaller (Luo et al. 2016, "Understanding the effective receptive
    field"). Means and maxima over the whole map see all of it but not what is where, so they do not count; a fully
    connected layer over a flattened map does.
    """
    fields = receptive_fields(network)
    seen = {name: fields[name] for name in network.outputs if name in fields}
    size = network.image_size
    if not seen or size is None or not any(step.window is not None for step in network.steps):
        return None
    widest = max(seen, key=lambda name: math.prod(seen[name].local))
    rows, columns = (min(seen[widest].local[axis], size[axis]) for axis in (0, 1))
    wanted = knowledge.object_size or (math.ceil(size[0] * OBJECT_SHARE), math.ceil(size[1] * OBJECT_SHARE))
    if rows >= min(wanted[0], size[0]) and columns >= min(wanted[1], size[1]):
        return None
    what = "the object" if knowledge.object_size else f"{OBJECT_SHARE:.0%} of the picture"
    return Finding(
        "receptive_field",
        WARNING,
        (_last_local(network, fields),),
        f"an output sees {rows:.0f}x{columns:.0f} pixels of a {size[0]}x{size[1]} picture: less than "
        f"{what} ({wanted[0]}x{wanted[1]}).",
        "Add convolutions, a stride of 2 or dilation, or use a smaller input; say --object-size if objects are small.",
    )


def _last_local(network: Network, fields: dict[str, Field]) -> str:
    """Return the layer behind which the local field grows no more."""
    windows = [step for step in network.steps if step.window is not None and step.outputs[0] in fields]
    return max(windows, key=lambda step: math.prod(fields[step.outputs[0]].local)).name


def heavy_dense(network: Network, knowledge: Knowledge) -> Finding | None:
    """Rule 7: a layer that weighs every place of a flattened map and holds more than half of all parameters.

    Below 100 000 parameters (100 kB in INT8) it fits into the cache of any of the boards and is not worth a change. A
    fully connected layer behind a global pool is not counted: there the cure has been applied already.
    """
    fields = receptive_fields(network)
    total = sum(step.parameters for step in network.steps)
    large = [step for step in network.steps if step.parameters > max(DENSE_PARAMETERS, DENSE_SHARE * total)]
    heavy = [step for step in large if _flattens(step, network, fields)]
    if not heavy:
        return None
    count = heavy[0].parameters
    rows, columns = fields[heavy[0].inputs[0]].extent
    return Finding(
        "heavy_dense",
        WARNING,
        _names(heavy),
        f"'{heavy[0].name}' holds {count:,} of {total:,} parameters ({count / total:.0%}): it weighs each of "
        f"{rows}x{columns} places of the map on its own.",
        f"Put a global average pool before it: {count // (rows * columns):,} parameters stay.",
    )


def _flattens(step: Step, network: Network, fields: dict[str, Field]) -> bool:
    """Say whether a step reads a whole map with its own weight for each place."""
    field = fields.get(step.inputs[0]) if step.inputs else None
    if field is None or math.prod(field.extent) == 1 or not step.constants:
        return False
    if step.op in ("Gemm", "MatMul"):
        return field.axes == (None, None) and len(network.shapes[step.inputs[0]]) == 2
    return step.op == "Conv" and step.window is not None and step.window.kernel == field.extent


def raw_input(network: Network, knowledge: Knowledge) -> Finding | None:
    """Rule 8: nothing is known to bring the picture to mean 0 and deviation 1 before the first convolution.

    Inputs that are all positive make the first layer's gradients agree in sign and training slow (LeCun et al. 1998,
    "Efficient BackProp", section 4.3); and a network fed on another scale than it was trained on is wrong without an
    error. Constants that shift or scale the input inside the graph count as normalisation.
    """
    tensors = network.picture_tensors()
    if any(step.op in _AFFINE and step.constants and set(step.inputs) <= tensors for step in network.steps):
        return None
    if knowledge.mean is None or knowledge.std is None:
        message = "nothing says how pictures are normalised for this model."
        advice = "Give --mean and --std as they were in training, on the 0..1 scale (ImageNet: 0.485 0.456 0.406 ...)."
        return Finding("raw_input", HINT, _first_layers(network), message, advice)
    if any(knowledge.mean) or any(value != 1 for value in knowledge.std):
        return None
    return Finding(
        "raw_input",
        WARNING,
        _first_layers(network),
        "pictures go in on the 0..1 scale, neither centred nor scaled (mean 0, std 1).",
        "If it was trained otherwise, give --mean and --std; if not, train with the data's mean and deviation: "
        "it is free on the device.",
    )


def _first_layers(network: Network) -> tuple[str, ...]:
    tensors = network.picture_tensors()
    return _names([step for step in network.steps if step.inputs and step.inputs[0] in tensors and step.window])


def _is_spatial(step: Step) -> bool:
    return step.op in ("Conv", "ConvTranspose") and max(_window(step).kernel) > 1


def _window(step: Step) -> Window:
    if step.window is None:
        raise ValueError(f"{step.op} '{step.name}' has no window")
    return step.window


def _names(steps: Sequence[Step]) -> tuple[str, ...]:
    return tuple(step.name for step in steps)


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        large_kernels,
        missing_padding,
        no_batch_norm,
        coarse_pooling,
        early_collapse,
        receptive_field,
        heavy_dense,
        raw_input,
    )
}
