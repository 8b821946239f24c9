"""The integer graph as a torch module: the same numbers, with gradients.

Activations and weights are real values on their grids. Rounding has the gradient 1, saturation 0: the straight-through
estimator of Bengio et al. 2013, "Estimating or Propagating Gradients Through Stochastic Neurons".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from edgecnn import exact_sums
from edgecnn.affine import along, dequantise
from edgecnn.exact_sums import WEIGHTED, Rows
from edgecnn.integer_graph import IntegerGraph, IntegerNode
from edgecnn.quant.calibrate import Frame
from edgecnn.quant.differentiable import FUNCTIONS
from edgecnn.quant.placement import rounds

TIE = 1e-3
"""In steps: lifts ties, which a Resize rounds up."""


PARTS = 4096
"""Parts of a step that values are rounded to first: averages often lie half-way, where float32 must not decide."""


class _OnGrid(torch.autograd.Function):
    """Round to a grid and saturate. Keeps one byte an element for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, zero_point: int) -> Tensor:
        steps = (x / scale * PARTS).round_() / PARTS
        integers = steps.round().clamp_(-zero_point, 255 - zero_point)
        ctx.save_for_backward((steps - integers).abs_() <= 0.5)
        return integers * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None


class _Rounded(torch.autograd.Function):
    """Round weights to what `edgecnn.exact_sums` allows; the gradient passes."""

    @staticmethod
    def forward(ctx: FunctionCtx, steps: Tensor, layout: Rows) -> Tensor:
        return torch.from_numpy(_integers(steps, layout))

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def _integers(steps: Tensor, layout: Rows) -> npt.NDArray[np.float32]:
    values = layout.split(steps.detach().numpy().astype(np.float64))
    return np.asarray(layout.join(exact_sums.nearest(values, layout.partners())), np.float32)


_on_grid: Callable[..., Tensor] = _OnGrid.apply
_rounded: Callable[..., Tensor] = _Rounded.apply


class Simulation(nn.Module):
    """An integer graph that can be tuned.

    Attributes:
        steps: Weights in steps of their grids, by node name; near an integer, which is what counts.
        shifts: What is added to biases, in steps of the output's grid, by node name.
    """

    def __init__(self, graph: IntegerGraph) -> None:
        super().__init__()
        self.graph = graph
        self._walk = [
            (_in_real_values(graph, node), dying)
            for node, dying in graph.lifetimes(keep=self.outputs)
            if node.op in FUNCTIONS
        ]
        layers = [node for node in graph.nodes if node.op in WEIGHTED]
        self._keys = {node.name: f"layer{index}" for index, node in enumerate(layers)}
        self.steps = nn.ParameterDict()
        self.shifts = nn.ParameterDict()
        self._scales: dict[str, Tensor] = {}
        for node in layers:
            key, weight = self._keys[node.name], graph.spec(node.inputs[1])
            self.steps[key] = nn.Parameter(torch.from_numpy(graph.constants[weight.name].astype(np.float32)))
            self.shifts[key] = nn.Parameter(torch.zeros(graph.spec(node.inputs[2]).shape))
            self._scales[key] = torch.from_numpy(along(weight.grid.scales, weight.grid.axis, len(weight.shape)).copy())
        self._constants = {
            name: torch.from_numpy(dequantise(array, graph.spec(name).grid)) for name, array in graph.constants.items()
        }

    @property
    def outputs(self) -> list[str]:
        """Names of the tensors that `forward` returns: the graph's outputs, what an ArgMax reads in place of it."""
        before = {node.output: node.inputs[0] for node in self.graph.nodes if node.op == "ArgMax"}
        return [before.get(name, name) for name in self.graph.outputs]

    def effective(self) -> dict[str, Tensor]:
        """Return weights and biases as real values, by constant name, with gradients to the parameters."""
        found: dict[str, Tensor] = {}
        for node in self.graph.nodes:
            if node.op in WEIGHTED:
                key, (_, weight, bias) = self._keys[node.name], node.inputs
                layout = Rows.of(node, self.graph.spec(weight).shape)
                found[weight] = _rounded(self.steps[key], layout) * self._scales[key]
                found[bias] = self._constants[bias] + self.shifts[key] * self.graph.spec(node.output).grid.scale[0]
        return found

    def forward(self, frame: Frame, effective: Mapping[str, Tensor]) -> list[Tensor]:
        """Run one frame.

        Args:
            frame: uint8 (H, W, C) at the model's size.
            effective: Result of `effective`.

        Returns:
            Real values on the grids, float32, one tensor for each of `outputs`.
        """
        entry = self.graph.spec(self.graph.inputs[0])
        values = {**self._constants, **effective, entry.name: torch.from_numpy(dequantise(frame[None], entry.grid))}
        for node, dying in self._walk:
            result = FUNCTIONS[node.op](node, *(values[name] for name in node.inputs))
            values[node.output] = self._on_grid(node, result)
            for name in dying:
                del values[name]
        return [values[name] for name in self.outputs]

    def _on_grid(self, node: IntegerNode, result: Tensor) -> Tensor:
        if not rounds(node.op, node.attributes):
            return result
        grid = self.graph.spec(node.output).grid
        if node.op == "Resize":
            result = result + TIE * grid.scale[0]
        return _on_grid(result, grid.scale[0], grid.zero_point)

    def integers(self) -> IntegerGraph:
        """Return the graph with the weights and biases as they are now."""
        graph = self.graph
        for node in self.graph.nodes:
            if node.op in WEIGHTED:
                key, (_, weight, bias) = self._keys[node.name], node.inputs
                steps = _integers(self.steps[key], Rows.of(node, graph.spec(weight).shape))
                graph = graph.with_constant(weight, steps.astype(np.int8))
                shift = self.shifts[key].detach().numpy().astype(np.float64) * graph.spec(node.output).grid.scale[0]
                moved = graph.constants[bias] + np.rint(shift / graph.spec(bias).grid.scales)
                graph = graph.with_constant(bias, exact_sums.fitting_bias(graph, node, moved))
        return graph


def _in_real_values(graph: IntegerGraph, node: IntegerNode) -> IntegerNode:
    """Return ``node`` with the integers among its attributes that stand on the grid as real values."""
    names = [name for name in ("low", "high", "value") if name in node.attributes]
    grid = graph.spec(node.output).grid if names else None
    real = {} if grid is None else {name: (node.integer(name) - grid.zero_point) * grid.scale[0] for name in names}
    return replace(node, attributes={**node.attributes, **real})
