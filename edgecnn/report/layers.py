"""Facts of every layer: shapes, parameters, multiplications, grids, memory and receptive field.

Formulas:

- Multiply-accumulates (MACs) of a convolution: one for every output element and weight of its filter; of a transposed
  one: for every input element and weight it is spread by; of a fully connected layer: for every weight and row.
  Everything else counts as none, as in He et al. 2015, "Deep Residual Learning", table 1.
- Peak memory: the largest sum of activations alive at one step, an output beside its inputs. This is what a planner
  that neither works in place nor cuts tensors cannot go below (Liberis and Lane 2019, "Neural networks on
  microcontrollers: saving memory at inference via operator reordering").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgecnn.integer_graph import IntegerGraph
from edgecnn.report.document import LayerRow
from edgecnn.report.network import Network, Shape, Step, read_integers
from edgecnn.report.receptive_field import receptive_fields
from edgecnn.tensor import QuantParams


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        name: The node's name.
        op: Operator type.
        inputs: Names of the activations it reads.
        output: Name of its (first) output.
        input_shapes: Shapes of ``inputs``.
        shape: Shape of the output.
        parameters: Constants it computes with, in elements; what an earlier layer has counted is not counted again.
        macs: Multiply-accumulates for one picture.
        grid: Grid of the output, None where it is not quantised.
        bytes: Size of all outputs on the device.
        receptive_field: Height and width in input pixels, None where the input is no picture.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    input_shapes: tuple[Shape, ...]
    shape: Shape
    parameters: int
    macs: int
    grid: QuantParams | None
    bytes: int
    receptive_field: tuple[int, int] | None

    @property
    def range(self) -> tuple[float, float] | None:
        """Smallest and largest real value that the grid holds, None without a grid."""
        if self.grid is None:
            return None
        scale, zero_point = self.grid.scale[0], self.grid.zero_point
        return scale * (0 - zero_point), scale * (255 - zero_point)

    def row(self) -> LayerRow:
        """Return the layer as a row of the report."""
        low, high = self.range or (None, None)
        return {
            "name": self.name,
            "op": self.op,
            "output": self.output,
            "shape": list(self.shape),
            "parameters": self.parameters,
            "macs": self.macs,
            "scale": None if self.grid is None else self.grid.scale[0],
            "zero_point": None if self.grid is None else self.grid.zero_point,
            "low": low,
            "high": high,
            "receptive_field": None if self.receptive_field is None else list(self.receptive_field),
        }


@dataclass(frozen=True)
class LayerTable:
    """All layers and their totals.

    Attributes:
        name: The model's name.
        input_shape: Shape of the first input.
        layers: In order of execution.
        peak_bytes: Most bytes of activations alive at one time.
        peak_layer: Name of the layer during which they are; empty for a network without layers.
    """

    name: str
    input_shape: Shape
    layers: tuple[Layer, ...]
    peak_bytes: int
    peak_layer: str

    @property
    def parameters(self) -> int:
        """Parameters of the whole network."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole network for one picture."""
        return sum(layer.macs for layer in self.layers)

    def rows(self) -> list[LayerRow]:
        """Return the layers as rows of the report."""
        return [layer.row() for layer in self.layers]


def integer_layers(graph: IntegerGraph) -> LayerTable:
    """Return the facts of an integer graph; see `layer_table`."""
    return layer_table(read_integers(graph))


def layer_table(network: Network) -> LayerTable:
    """Return the facts of every layer of a network."""
    fields = receptive_fields(network)
    counted: set[str] = set()
    layers = []
    for step in network.steps:
        field = fields.get(step.outputs[0])
        layers.append(
            Layer(
                name=step.name,
                op=step.op,
                inputs=step.inputs,
                output=step.outputs[0],
                input_shapes=tuple(network.shapes[name] for name in step.inputs),
                shape=network.shapes[step.outputs[0]],
                parameters=_new_parameters(step, counted),
                macs=macs(step, network),
                grid=network.grids.get(step.outputs[0]),
                bytes=sum(network.bytes_of(name) for name in step.outputs),
                receptive_field=None if field is None else field.pixels(),
            )
        )
    peak_bytes, peak_layer = peak_memory(network)
    return LayerTable(network.name, network.shapes[network.inputs[0]], tuple(layers), peak_bytes, peak_layer)


def _new_parameters(step: Step, counted: set[str]) -> int:
    fresh = {name: shape for name, shape in step.constants.items() if name not in counted}
    counted.update(fresh)
    return sum(math.prod(shape) for shape in fresh.values())


def macs(step: Step, network: Network) -> int:
    """Return the multiply-accumulates of one step; see the formulas of this module."""
    output = math.prod(network.shapes[step.outputs[0]])
    if step.op == "Conv":
        return output * math.prod(step.weight[1:])
    if step.op == "ConvTranspose":
        return math.prod(network.shapes[step.inputs[0]]) * math.prod(step.weight[1:])
    if step.op in ("Gemm", "MatMul"):
        # The length of the sums; of a Gemm whose activation is transposed (transA) it is the first axis.
        axis = 0 if step.attributes.get("transA") else -1
        return output * network.shapes[step.inputs[0]][axis]
    return 0


def peak_memory(network: Network) -> tuple[int, str]:
    """Return the most bytes of activations alive at one step, and that step's name."""
    last = {name: index for index, step in enumerate(network.steps) for name in step.inputs}
    last |= dict.fromkeys(network.outputs, len(network.steps))
    alive = {name: network.bytes_of(name) for name in network.inputs}
    peak, where = sum(alive.values()), ""
    for index, step in enumerate(network.steps):
        alive |= {name: network.bytes_of(name) for name in step.outputs}
        if sum(alive.values()) > peak or not where:
            peak, where = sum(alive.values()), step.name
        alive = {name: size for name, size in alive.items() if last.get(name, -1) > index}
    return peak, where
