"""What an Edge TPU will make of a model, before the compiler has seen it.

Every rule is one function with the sentence it stands on. Source, unless a rule names another: Coral documentation,
"TensorFlow models on the Edge TPU", section "Supported operations". Sizes come from the target's profile; where they
rest on users' compiler logs alone they warn and do not refuse. The compiler has the last word: `compile_model` runs
it where it is installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgecnn.export.tflite.model import FileModel, FileOperator, FileTensor
from edgecnn.export.tflite.versions import min_runtime
from edgecnn.export.tflite.writer import Writer
from edgecnn.integer_graph import IntegerGraph
from edgecnn.profile import EdgeTpu

# The table of supported operations, as far as this package writes them.
SUPPORTED = frozenset(
    {
        "ADD",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "LOGISTIC",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MEAN",
        "MINIMUM",
        "MUL",
        "PAD",
        "PRELU",
        "QUANTIZE",
        "REDUCE_MAX",
        "RELU",
        "RELU6",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "SOFTMAX",
        "STRIDED_SLICE",
        "SUB",
        "TANH",
        "TRANSPOSE",
        "TRANSPOSE_CONV",
    }
)
# What to do about operators that lowering may add; for the graph's own the profile says it.
INSTEAD = {"MIRROR_PAD": "Pad with zeros.", "PADV2": "Pad with the zero point, e.g. pool behind a ReLU."}
# The compiler's last release, 16.0 of 2021, was built on TensorFlow 2.5.
COMPILER_RUNTIME = (2, 5)


@dataclass(frozen=True)
class Finding:
    """What a rule has to say about one operator of the file."""

    reason: str
    suggestion: str
    certain: bool = True


@dataclass(frozen=True)
class Verdict:
    """Whether one node of the graph maps to the Edge TPU.

    Attributes:
        node: The node's name.
        op: Its operator in the canonical graph.
        operators: The TFLite operators it became; none where it only relabels axes.
        maps: False where the documentation says that it cannot.
        findings: Reasons and suggestions; with ``maps`` they are warnings.
    """

    node: str
    op: str
    operators: tuple[str, ...]
    maps: bool
    findings: tuple[Finding, ...] = ()

    @property
    def reason(self) -> str:
        """All reasons in one line, empty where nothing is to be said."""
        return " ".join(item.reason for item in self.findings)

    @property
    def suggestion(self) -> str:
        """All suggestions in one line."""
        return " ".join(dict.fromkeys(item.suggestion for item in self.findings))


@dataclass(frozen=True)
class PreFlight:
    """The whole model's outlook.

    Attributes:
        verdicts: One for every node, in the order of execution.
        first_unmapped: Name of the first node that does not map, None if all do. It and everything behind it runs on
            the CPU.
        on_cpu: Nodes from there on.
        parameter_bytes: Weights and biases of what maps.
        cached_bytes: What of it fits on the chip; the rest streams over USB at every inference.
    """

    verdicts: tuple[Verdict, ...]
    first_unmapped: str | None
    on_cpu: tuple[str, ...]
    parameter_bytes: int
    cached_bytes: int

    @property
    def streamed_bytes(self) -> int:
        """Parameters that do not fit on the chip."""
        return self.parameter_bytes - self.cached_bytes


@dataclass(frozen=True)
class Context:
    """One operator with what the rules look at.

    Attributes:
        file: The whole file.
        operator: The operator.
        source: The canonical operator that it came from, e.g. ``"DepthToSpace"``.
        limits: The profile's limits.
        entry: The model's inputs, in uint8 and int8.
    """

    file: FileModel
    operator: FileOperator
    source: str
    limits: EdgeTpu
    entry: frozenset[str]

    @property
    def op(self) -> str:
        """Name of the builtin operator."""
        return self.operator.op

    @property
    def output(self) -> FileTensor:
        """The operator's output."""
        return self.file.tensors[self.operator.output]

    def input(self, index: int) -> FileTensor:
        """The operator's input number ``index``."""
        return self.file.tensors[self.operator.inputs[index]]

    def integers(self, index: int) -> list[int]:
        """The values of a constant int32 input."""
        return self.file.integers(self.operator.inputs[index])

    def option(self, name: str) -> int:
        """An integer option, 1 where it is absent."""
        value = self.operator.options.get(name, 1)
        return value if isinstance(value, int) else 1


Rule = Callable[[Context], Finding | None]


def listed(at: Context) -> Finding | None:
    """An operator that is not in the table does not map."""
    if at.op in SUPPORTED:
        return None
    advice = INSTEAD.get(at.op) or at.limits.unmapped.get(at.source, "Replace it, or cut the model before it.")
    return Finding(f"{at.op} is not an operation of the Edge TPU.", advice)


def known_version(at: Context) -> Finding | None:
    """The compiler refuses operator versions that are newer than itself."""
    runtime = min_runtime([(at.op, at.operator.version)])
    if tuple(int(part) for part in runtime.split(".")[:2]) <= COMPILER_RUNTIME:
        return None
    advice = "Use groups of one channel, or no groups." if at.op == "CONV_2D" else "Use tensors of rank 4 or less."
    return Finding(f"{at.op} version {at.operator.version} is younger than the compiler.", advice)


def three_dimensions(at: Context) -> Finding | None:
    """Tensors are 1-, 2- or 3-dimensional; with more dimensions only the 3 innermost may have a size above 1."""
    names = [name for name in (*at.operator.inputs, at.operator.output) if name and not at.file.data(name)]
    wide = [name for name in names if any(size > 1 for size in at.file.tensors[name].shape[:-3])]
    if not wide:
        return None
    shape = at.file.tensors[wide[0]].shape
    return Finding(f"'{wide[0]}' {shape} is larger than 1 outside its 3 innermost dimensions.", "Use batch size 1.")


def equal_dilation(at: Context) -> Finding | None:
    """Conv2d, DepthwiseConv2d: must use the same dilation in x and y dimensions."""
    if not at.op.endswith("CONV_2D") or at.option("dilation_h_factor") == at.option("dilation_w_factor"):
        return None
    return Finding("Its dilations differ between height and width.", "Use the same dilation for both.")


def strided_transpose_conv(at: Context) -> Finding | None:
    """TransposeConv with stride 2 is often left to the CPU; source: users' compiler logs."""
    if at.op != "TRANSPOSE_CONV" or max(at.option("stride_h"), at.option("stride_w")) < 2:
        return None
    return Finding("TRANSPOSE_CONV with stride 2 is often left to the CPU.", "Use Resize and a convolution.", False)


def short_softmax(at: Context) -> Finding | None:
    """Softmax: supports only 1-D input tensor with a maximum of 16,000 elements."""
    shape = at.output.shape
    if at.op != "SOFTMAX" or (math.prod(shape) == shape[-1] <= at.limits.softmax_elements):
        return None
    limit = at.limits.softmax_elements
    return Finding(f"Softmax over {shape} is not 1-D of at most {limit} elements.", "Take the softmax on the CPU.")


def plain_concat(at: Context) -> Finding | None:
    """Concatenation: if any input is a compile-time constant there must be 2 inputs, and that constant all zeros."""
    if at.op != "CONCATENATION":
        return None
    constants = [name for name in at.operator.inputs if at.file.data(name)]
    if not constants or (len(at.operator.inputs) == 2 and not any(at.file.data(constants[0]))):
        return None
    return Finding("It joins constants.", "Pad instead, or fold the constant into the following layer.")


def modest_mean(at: Context) -> Finding | None:
    """Mean: no reduction in the batch dimension; a reduction in z only in multiples of 4."""
    if at.op != "MEAN":
        return None
    axes, shape = at.integers(1), at.input(0).shape
    if 0 in axes and shape[0] > 1:
        return Finding("It takes the mean over the batch.", "Use batch size 1.")
    if len(shape) - 1 in axes and shape[-1] % 4:
        return Finding(f"It takes the mean over {shape[-1]} channels.", "Use a multiple of 4 channels.")
    return None


def large_mean(at: Context) -> Finding | None:
    """Mean over large maps fails (256x128x3); source: users' compiler logs."""
    if at.op != "MEAN":
        return None
    pixels = math.prod(at.input(0).shape[axis] for axis in at.integers(1))
    if pixels <= at.limits.mean_pixels:
        return None
    return Finding(f"A mean over {pixels} values was seen to fail.", "Pool in two steps.", False)


def pad_not_batch(at: Context) -> Finding | None:
    """Pad: no padding of the batch dimension."""
    if at.op != "PAD" or not any(at.integers(1)[:2]):
        return None
    return Finding("It pads the batch.", "Use batch size 1.")


def pad_before_add(at: Context) -> Finding | None:
    """A Pad directly before an Add breaks the mapping; source: users' compiler logs."""
    readers = [item.op for item in at.file.operators if at.operator.output in item.inputs]
    if at.op != "PAD" or "ADD" not in readers:
        return None
    return Finding("A PAD directly before an ADD was seen to break the mapping.", "Pad by a convolution.", False)


def modest_resize(at: Context) -> Finding | None:
    """ResizeBilinear, ResizeNearestNeighbor: large outputs do not map (512x512 failed, 128x128 mapped)."""
    pixels = math.prod(at.output.shape[1:3])
    if at.op not in {"RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"} or pixels <= at.limits.resize_bilinear_pixels:
        return None
    height, width = at.output.shape[1:3]
    return Finding(f"A resize to {height}x{width} may be too large.", "Resize outside the model.", False)


def unit_strides(at: Context) -> Finding | None:
    """StridedSlice: supported only when all strides are equal to 1."""
    if at.op != "STRIDED_SLICE" or set(at.integers(3)) == {1}:
        return None
    return Finding("It slices with steps larger than 1.", "Use a convolution or pooling with strides.")


def new_runtime(at: Context) -> Finding | None:
    """Transpose, ReduceMax, ReduceMin: require Edge TPU runtime version 14 or later."""
    name = "".join(part.capitalize() for part in at.op.split("_"))
    if name not in at.limits.min_runtime:
        return None
    version = at.limits.min_runtime[name]
    return Finding(f"{at.op} needs Edge TPU runtime {version} or later.", "Update libedgetpu.", False)


def no_entry_transpose(at: Context) -> Finding | None:
    """A Transpose of the NCHW input fails, NHWC maps; source: users' compiler logs."""
    if at.op != "TRANSPOSE" or at.operator.inputs[0] not in at.entry:
        return None
    return Finding("It transposes the model's input.", "Feed the frame as NHWC.")


RULES: tuple[Rule, ...] = (
    listed,
    known_version,
    three_dimensions,
    equal_dilation,
    strided_transpose_conv,
    short_softmax,
    plain_concat,
    modest_mean,
    large_mean,
    pad_not_batch,
    pad_before_add,
    modest_resize,
    unit_strides,
    new_runtime,
    no_entry_transpose,
)


def pre_flight(graph: IntegerGraph, limits: EdgeTpu) -> PreFlight:
    """Say for every node of ``graph`` whether it maps to the Edge TPU.

    Args:
        graph: The canonical integer graph.
        limits: The profile's limits.

    Raises:
        UnsupportedError: If a node cannot be written as TFLite at all.
    """
    writer = Writer(graph)
    writer.lower()
    verdicts = tuple(_verdicts(graph, writer.file, limits))
    first = next((index for index, verdict in enumerate(verdicts) if not verdict.maps), None)
    mapped = {verdict.node for verdict in verdicts[:first]}
    size = sum(_parameter_bytes(writer.file, mapped).values())
    behind = () if first is None else tuple(verdict.node for verdict in verdicts[first:])
    return PreFlight(
        verdicts,
        None if first is None else verdicts[first].node,
        behind,
        size,
        min(size, limits.weight_bytes),
    )


def _verdicts(graph: IntegerGraph, file: FileModel, limits: EdgeTpu) -> Iterator[Verdict]:
    entry = frozenset(item.output for item in file.operators if item.node == "input") | frozenset(graph.inputs)
    for node in graph.nodes:
        operators = [item for item in file.operators if item.node == node.name]
        contexts = [Context(file, item, node.op, limits, entry) for item in operators]
        found = [rule(context) for context in contexts for rule in RULES]
        findings = tuple(dict.fromkeys(item for item in found if item is not None))
        maps = not any(item.certain for item in findings)
        yield Verdict(node.name, node.op, tuple(item.op for item in operators), maps, findings)


def _parameter_bytes(file: FileModel, nodes: set[str]) -> dict[str, int]:
    """Return the size of every constant that the operators of ``nodes`` read, by name."""
    names = (name for item in file.operators if item.node in nodes for name in item.inputs if name)
    return {name: len(file.data(name)) for name in names}
