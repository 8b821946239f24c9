"""The files of a model that runs are damaged: what it says stays the same, whatever the engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.errors import EdgecnnError
from edgecnn.runtime.model import Model
from tests.end_to_end.loop.watch import UNHURRIED, Watch, write_tiny

ENGINES = {
    "litert": "ai_edge_litert",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "reference": "numpy",
}


def overwrite(path: Path) -> None:
    """Write noise over a file, where it is."""
    with path.open("r+b") as file:
        file.write(np.random.default_rng(0).bytes(path.stat().st_size))


def truncate(path: Path) -> None:
    """Cut a file off at its beginning, where it is."""
    with path.open("r+b") as file:
        file.truncate(0)


def said(model: Model) -> list[np.ndarray]:
    frames = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 3), np.uint8)
    return [output.integers for frame in frames for output in model(frame).outputs]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("damage", [overwrite, truncate])
def test_damaged_while_running(tmp_path: Path, engine: str, damage: object) -> None:
    pytest.importorskip(ENGINES[engine])
    bundle = write_tiny(tmp_path, engine=engine)
    with edgecnn.load(bundle, threads=1) as model:
        before = said(model)
        loop = model.watch("conveyor:?fps=100&size=64x64", every="frame", settings=UNHURRIED)
        with Watch(loop) as watch:
            watch.steady()
            for path in bundle.iterdir():
                damage(path)
            count = len(watch.turns)
            watch.until(lambda: len(watch.turns) > count + 30, "30 more turns")
            figures = loop.snapshot()
        after = said(model)

    assert watch.error is None
    assert (figures.verdicts["INVALID"], figures.findings) == (0, {})
    assert len(before) == 20
    assert all(np.array_equal(left, right) for left, right in zip(before, after, strict=True))
    with pytest.raises(EdgecnnError):
        edgecnn.load(bundle)
