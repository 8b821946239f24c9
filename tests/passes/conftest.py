from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from edgecnn.graph import settle
from edgecnn.passes.float_difference import float_difference
from edgecnn.passes.pipeline import Report, normalise


@dataclass(frozen=True)
class Normalised:
    before: ir.Model
    after: ir.Model
    report: Report
    difference: float

    @property
    def ops(self) -> Counter[str]:
        return Counter(node.op_type for node in self.after.graph)

    def node(self, op: str) -> ir.Node:
        return next(node for node in self.after.graph if node.op_type == op)


def samples(model: ir.Model, count: int = 2) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    shapes = {str(value.name): tuple(value.shape.numpy()) for value in model.graph.inputs}
    return [
        {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()} for _ in range(count)
    ]


@pytest.fixture
def text_model() -> Callable[..., ir.Model]:
    """Build a model from ONNX's text form; constants by name are added as initialisers."""

    def build(text: str, opset: int = 18, **constants: np.ndarray) -> ir.Model:
        header = f'<ir_version: 8, opset_import: ["" : {opset}]>\n'
        proto = onnx.parser.parse_model(header + text)
        for name, content in constants.items():
            proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(content), name))
        onnx.checker.check_model(proto)
        return settle(ir.from_proto(proto))

    return build


@pytest.fixture
def normalised() -> Callable[[ir.Model], Normalised]:
    """Normalise a copy, check the file it makes, and prove the float outputs equal to 1e-5."""

    def run(model: ir.Model) -> Normalised:
        after = model.clone()
        report = normalise(after)
        onnx.checker.check_model(ir.to_proto(after), full_check=True)
        assert [value.name for value in after.graph.outputs] == [value.name for value in model.graph.outputs]
        assert [value.shape for value in after.graph.outputs] == [value.shape for value in model.graph.outputs]
        difference = float_difference(model, after, samples(model))
        assert difference <= 1e-5
        assert normalise(after).passes == (), "a second run must find nothing to do"
        return Normalised(model, after, report, difference)

    return run
