"""Quantisation-aware fine-tuning: weights and biases follow the float model's outputs, with all rounding in place.

The float model is the teacher and the calibration frames are the data, so no labels are needed (knowledge
distillation: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", on real outputs by squared error).
Grids stay as they are. What is kept is the state that is best on frames that are not trained on; that may be the one at
the start.

Frames run one by one, each on one thread, and their gradients are added in order: the result does not depend on the
number of processors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from edgecnn.integer_graph import Array, IntegerGraph, IntegerNode
from edgecnn.passes.float_difference import FloatModel
from edgecnn.quant.calibrate import Frame
from edgecnn.quant.differentiable import FUNCTIONS
from edgecnn.quant.judge import Judge
from edgecnn.quant.simulation import Simulation
from edgecnn.runtime.engines import usable_processors

BATCH = 8
STEP_RATE, SHIFT_RATE = 2e-3, 2e-2
"""Learning rates in steps of the weights' and of the outputs' grids."""
MOST_WORKERS = 4


def can_tune(graph: IntegerGraph) -> bool:
    """Say whether every operator of ``graph`` has a gradient; an ArgMax at the end needs none."""
    return not obstacle(graph)


def obstacle(graph: IntegerGraph) -> str:
    """Return the first operator without a gradient, as ``Op 'name'``; empty where every one has one."""
    stuck = (node for node in graph.nodes if node.op not in FUNCTIONS and not _ends(graph, node))
    return next((f"{node.op} '{node.name}'" for node in stuck), "")


def _ends(graph: IntegerGraph, node: IntegerNode) -> bool:
    return node.op == "ArgMax" and node.output in graph.outputs


def tune(
    graph: IntegerGraph,
    model: ir.Model,
    frames: Sequence[Frame],
    judge: Judge,
    passes: int,
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> IntegerGraph:
    """Return ``graph`` with tuned weights and biases, or as it is where nothing better was found.

    Args:
        graph: The integer graph.
        model: The float graph that it was made of.
        frames: uint8 (H, W, C) to train on.
        judge: Says how good a graph is, on other frames.
        passes: How often every frame is seen.
        seed: Seed of the order of frames.
        progress: Called once a batch.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _tune(Simulation(graph), _Teacher(model, frames), judge, passes, seed, progress)
    finally:
        torch.set_num_threads(before)


def _tune(
    student: Simulation, teacher: _Teacher, judge: Judge, passes: int, seed: int, progress: Callable[[], None]
) -> IntegerGraph:
    best = student.graph
    highest = judge(best)
    groups = [
        {"params": list(student.steps.values()), "lr": STEP_RATE},
        {"params": list(student.shifts.values()), "lr": SHIFT_RATE},
    ]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
    rng, batches = np.random.default_rng(seed), -(-len(teacher.frames) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, passes * batches)
    with ThreadPoolExecutor(min(usable_processors(), MOST_WORKERS)) as pool:
        for _ in range(passes):
            for batch in np.array_split(rng.permutation(len(teacher.frames)), batches):
                _descend(student, teacher, batch.tolist(), pool)
                optimiser.step()
                schedule.step()
                progress()
            found = judge(student.integers())
            if found > highest:
                best, highest = student.integers(), found
    return best


def _descend(student: Simulation, teacher: _Teacher, batch: Sequence[int], pool: ThreadPoolExecutor) -> None:
    """Set the gradients of ``student`` to their mean over a batch."""
    effective = student.effective()
    leaves = {name: value.detach().requires_grad_() for name, value in effective.items()}
    rows = pool.map(lambda index: teacher.gradients(student, index, leaves), batch)
    totals = [torch.zeros_like(value) for value in leaves.values()]
    for row in rows:
        for total, gradient in zip(totals, row, strict=True):
            total += gradient / len(batch)
    student.zero_grad()
    torch.autograd.backward(list(effective.values()), totals)


class _Teacher:
    """What the float model says of every frame.

    Attributes:
        frames: The frames.
    """

    def __init__(self, model: ir.Model, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self._model, self._entry = model, str(model.graph.inputs[0].name)
        self._runner: FloatModel | None = None

    def gradients(self, student: Simulation, index: int, leaves: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Return the gradient of one frame's loss for every tensor of ``leaves``.

        The loss is the squared error of an output over its variance, added up over the outputs.
        """
        frame = self.frames[index]
        loss = torch.zeros(())
        for got, wanted in zip(student(frame, leaves), self._outputs(student, frame), strict=True):
            target = torch.from_numpy(np.asarray(wanted, np.float32))
            loss = loss + (got - target).square().mean() / target.var(unbiased=False).clamp_min(1e-12)
        return torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)

    def _outputs(self, student: Simulation, frame: Frame) -> list[Array]:
        if self._runner is None:
            self._runner = FloatModel(self._model, threads=1, outputs=student.outputs)
        return self._runner({self._entry: frame[None]})
