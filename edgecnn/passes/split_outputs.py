"""Let scores leave a network apart from boxes, so that each has a grid of its own."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from edgecnn.passes.reach import PROBABILITIES, Reach, reaches
from edgecnn.passes.rewrite import SOURCE_KEY, Array, operand, shape_of, sources
from edgecnn.passes.transposes import permutation


@dataclass(frozen=True)
class Cut:
    """Where an output was cut: at ``offsets`` along ``axis``; nowhere without offsets."""

    axis: int = 0
    offsets: tuple[int, ...] = ()


class SplitOutputs(ir.passes.InPlacePass):
    """Cut an output where probabilities are joined to values of another scale.

    All values of one tensor share one grid. Beside boxes from 0 to 320, whose step is more than 1, no score from 0 to 1
    is left: a detector finds nothing, while the ratio of signal to noise of the whole tensor looks well.

    Given::

        boxes [1, 4, N], Sigmoid -> scores [1, C, N] -> Concat(axis 1) -> y [1, 4 + C, N]

    Result::

        boxes -> y/0 [1, 4, N], scores -> y/1 [1, C, N]

    Rules:
        S1. Only an output that a Concat writes, or Transposes behind one, and that nothing else reads.
        S2. Neighbouring parts of one kind, probabilities or not, stay together (`edgecnn.passes.reach`).
        S3. Parts are called by the output's name and their number, and take its place in the order of outputs.

    Requires: the normal form.
    """

    def __init__(self) -> None:
        self._cuts: tuple[Cut, ...] = ()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Apply S1 to S3 to all outputs."""
        known, outputs, cuts = reaches(model), list[ir.Value](), list[Cut]()
        for output in model.graph.outputs:
            chain, concat = _concat_behind(output)
            groups = [] if concat is None else _groups(concat, known)
            if concat is None or len(groups) < 2:
                outputs.append(output)
                cuts.append(Cut())
                continue
            cuts.append(_cut(concat, groups, chain))
            outputs += [_leave(model.graph, output, index, concat, group, chain) for index, group in enumerate(groups)]
        self._cuts = tuple(cuts)
        modified = len(outputs) != len(model.graph.outputs)
        if modified:
            model.graph.outputs[:] = outputs
            common.RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified)

    def leave(self, outputs: Sequence[Array]) -> list[Array]:
        """Cut the outputs of the model before the pass as the pass has cut them.

        Raises:
            ValueError: If there are not as many as the pass has seen.
        """
        left: list[Array] = []
        for array, cut in zip(outputs, self._cuts, strict=True):
            left += np.split(array, cut.offsets, cut.axis) if cut.offsets else [array]
        return left


def _concat_behind(output: ir.Value) -> tuple[list[ir.Node], ir.Node | None]:
    """Return the Transposes above ``output``, nearest to the Concat first, and the Concat (S1)."""
    chain: list[ir.Node] = []
    node = output.producer()
    if output.uses():
        return chain, None
    while node is not None and node.op_type == "Transpose" and len(operand(node, 0).uses()) == 1:
        chain.insert(0, node)
        node = operand(node, 0).producer()
    if node is None or node.op_type != "Concat" or node.outputs[0].is_graph_output() != (not chain):
        return chain, None
    return chain, node


def _groups(concat: ir.Node, known: Mapping[ir.Value, Reach]) -> list[list[ir.Value]]:
    """Return the parts of a Concat, neighbours of one kind together (S2)."""
    parts = [value for value in concat.inputs if value is not None]
    kinds = itertools.groupby(parts, lambda value: known.get(value, Reach()).meaning == PROBABILITIES)
    return [list(group) for _, group in kinds]


def _cut(concat: ir.Node, groups: Sequence[Sequence[ir.Value]], chain: Sequence[ir.Node]) -> Cut:
    axis = _axis(concat)
    sizes = [sum(shape_of(value)[axis] for value in group) for group in groups]
    for node in chain:
        axis = permutation(node).index(axis)
    return Cut(axis, tuple(itertools.accumulate(sizes))[:-1])


def _axis(concat: ir.Node) -> int:
    return concat.attributes.get_int("axis", 0) % len(shape_of(concat.outputs[0]))


def _leave(
    graph: ir.Graph, output: ir.Value, index: int, concat: ir.Node, group: Sequence[ir.Value], chain: Sequence[ir.Node]
) -> ir.Value:
    """Append what writes one part, and return its value (S3)."""
    axis = _axis(concat)
    shape = list(shape_of(group[0]))
    shape[axis] = sum(shape_of(value)[axis] for value in group)
    steps: list[tuple[str, dict[str, int | tuple[int, ...]]]] = [("Concat", {"axis": axis})]
    steps += [("Transpose", {"perm": permutation(node)}) for node in chain]
    values = list(group)
    for number, (op, attributes) in enumerate(steps):
        last = number == len(steps) - 1
        if op == "Transpose":
            shape = [shape[place] for place in permutation(chain[number - 1])]
        name = f"{output.name}/{index}" if last else f"{output.name}/{index}/{op}{number}"
        written = ir.Value(name=name, type=output.type, shape=ir.Shape(shape))
        node = ir.node(op, values, attributes, outputs=[written], name=f"{name}/{op}")
        node.metadata_props[SOURCE_KEY] = "\n".join(sources(concat))
        graph.append(node)
        values = [written]
    return values[0]
