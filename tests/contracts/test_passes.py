"""Every pass shows the graph before and after; walks over whatever passes there are."""

from __future__ import annotations

import inspect

import onnx_ir as ir
import pytest

from edgecnn import plugins

PACKAGE = "edgecnn.passes"


def passes() -> list[type[ir.passes.PassBase]]:
    """Return the concrete passes of the package, each once, in the order of their names."""
    found = {}
    for name in plugins.discover(PACKAGE):
        for kind in vars(plugins.load(PACKAGE, name)).values():
            is_pass = inspect.isclass(kind) and issubclass(kind, ir.passes.PassBase) and not inspect.isabstract(kind)
            if is_pass and kind.__module__ == f"{PACKAGE}.{name}":
                found[kind.__name__] = kind
    return [found[name] for name in sorted(found)]


def test_there_are_passes_to_walk_over() -> None:
    assert {"FoldBatchNorm", "GlobalPoolToReduce", "RemoveIdentity"} <= {kind.__name__ for kind in passes()}


@pytest.mark.parametrize("kind", passes(), ids=lambda kind: kind.__name__)
def test_pass_shows_the_graph_before_and_after(kind: type[ir.passes.PassBase]) -> None:
    text = inspect.getdoc(kind) or ""

    assert "Given::" in text
    assert "Result::" in text
    assert text.index("Given::") < text.index("Result::")
