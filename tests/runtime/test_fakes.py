"""A bundle that is not what it claims to be, sealed with right digests: it never is EXACT, and it is not loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.arrays import write_npz
from edgecnn.cli import app, console
from edgecnn.errors import VerificationError
from edgecnn.export import artefact
from edgecnn.integer_graph import Array, IntegerGraph
from edgecnn.manifest import EngineEntry, Manifest, OutputContract
from edgecnn.profile import load_target
from edgecnn.proof import EQUIVALENT, EXACT, FAILED, Limits
from edgecnn.runtime import engines
from edgecnn.runtime.bundle import Bundle, Golden, write_bundle
from edgecnn.runtime.engines.reference import ReferenceEngine
from edgecnn.runtime.verify import verify_engines
from tests.runtime.conftest import tiny_golden, tiny_graph, tiny_manifest

LIMITS = Limits("The accelerator rounds otherwise.", decisions=1.0, overlap=0.99, steps=1)
Write = Callable[["Fake"], Path]


@dataclass
class Fake:
    """What a bundle with two outputs is made of; a test changes one thing.

    Attributes:
        graph: What is said to be the canonical graph.
        written: What the artefacts are lowered from.
        golden: Frames and expected outputs.
        limits: Of the one engine.
    """

    graph: IntegerGraph
    written: IntegerGraph
    golden: Golden
    limits: Limits | None = None

    def manifest(self) -> Manifest:
        tiny = tiny_manifest(self.graph)
        outputs = (*tiny.outputs, OutputContract(self.graph.spec("maps"), "NABD"))
        return replace(
            tiny, outputs=outputs, engines=(EngineEntry("onnxruntime", "rpi", ("model.onnx",), self.limits),)
        )


@pytest.fixture
def honest() -> Fake:
    graph = replace(tiny_graph(), outputs=("logits", "maps"))
    return Fake(graph, graph, tiny_golden(graph))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(fake: Fake) -> Path:
        folder = tmp_path / "files"
        folder.mkdir()
        artefact.write("onnxruntime", fake.written, folder)
        fake.graph.save(folder / "graph.npz")
        write_npz(folder / "golden.npz", fake.golden.arrays())
        write_bundle(tmp_path / "bundle", fake.manifest(), {path.name: path for path in folder.iterdir()})
        return tmp_path / "bundle"

    return write


def words(path: Path) -> dict[str, str]:
    with Bundle.open(path) as bundle:
        return {report.engine: report.status for report in verify_engines(bundle)}


def edited(graph: IntegerGraph) -> IntegerGraph:
    """Return the graph with one weight moved by one."""
    weight = graph.constants["weight"].copy()
    weight[1, 2, 0, 1] += 1 if weight[1, 2, 0, 1] < 0 else -1
    return graph.with_constant("weight", weight)


def changed(array: Array, *at: int) -> Array:
    """Return a copy with one integer moved by one."""
    copy = array.copy()
    copy[at] ^= 1
    return copy


def test_an_honest_one_is_exact(honest: Fake, write: Write) -> None:
    assert words(write(honest)) == {"onnxruntime": EXACT, "reference": EXACT}


@pytest.mark.parametrize("output", [0, 1])
def test_one_golden_integer_moved_by_one(honest: Fake, write: Write, output: int) -> None:
    outputs = list(honest.golden.outputs)
    outputs[output] = changed(outputs[output], *(1,) * outputs[output].ndim)
    path = write(replace(honest, golden=Golden(honest.golden.frames, tuple(outputs))))
    assert words(path) == {"onnxruntime": FAILED, "reference": FAILED}
    name = ("logits", "maps")[output]
    with pytest.raises(VerificationError, match=f"output '{name}' differs in 1 of .* integers, by up to 1"):
        edgecnn.load(path)
    assert app.main(["verify", str(path), "--engine", "reference"]) == 1


def test_a_golden_frame_that_was_changed(honest: Fake, write: Write) -> None:
    frames = honest.golden.frames.copy()
    frames[4] = 255 - frames[4]
    path = write(replace(honest, golden=Golden(frames, honest.golden.outputs)))
    assert words(path) == {"onnxruntime": FAILED, "reference": FAILED}


def test_golden_frames_in_another_order(honest: Fake, write: Write) -> None:
    path = write(replace(honest, golden=Golden(honest.golden.frames[::-1].copy(), honest.golden.outputs)))
    assert words(path) == {"onnxruntime": FAILED, "reference": FAILED}


def test_an_artefact_of_another_recipe(honest: Fake, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """Same shapes and grids, one weight rounded the other way."""
    path = write(replace(honest, written=edited(honest.written)))
    assert words(path) == {"onnxruntime": FAILED, "reference": EXACT}
    assert app.main(["verify", str(path)]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("FAILED: onnxruntime, on this processor (")
    with pytest.raises(VerificationError, match="the proof FAILED: onnxruntime on this processor"):
        edgecnn.load(path)


def test_an_edited_reference_graph(honest: Fake, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(replace(honest, graph=edited(honest.graph)))
    assert words(path) == {"onnxruntime": EXACT, "reference": FAILED}
    for options in ([], ["--engine", "onnxruntime"]):
        assert app.main(["verify", str(path), *options]) == 1
        assert "reference: the integer graph does not give the golden outputs" in capsys.readouterr().err


# What cannot be exact


class Accelerator(ReferenceEngine):
    """Rounds otherwise: ``off`` steps more in one place of the second output; or it swaps the first's classes."""

    exact = False
    off, swaps = 1, False

    def run(self, arrays: list[Array]) -> list[Array]:
        logits, maps = super().run(arrays)
        maps = maps.copy()
        maps[0, 1, 2, 3] ^= np.uint8(self.off)
        return [logits[:, ::-1].copy() if self.swaps else logits, maps]


@pytest.fixture
def accelerator(honest: Fake, monkeypatch: pytest.MonkeyPatch) -> type[Accelerator]:
    class Here(Accelerator):
        pass

    real = engines.load

    def load(name: str, *args: object) -> engines.Engine:
        return Here(honest.graph) if name == "onnxruntime" else real(name, *args)

    monkeypatch.setattr(engines, "load", load)
    return Here


@pytest.mark.usefixtures("accelerator")
def test_within_the_limits_is_equivalent_with_a_code_of_its_own(
    honest: Fake, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(replace(honest, limits=LIMITS))
    assert words(path) == {"onnxruntime": EQUIVALENT, "reference": EXACT}
    assert app.main(["verify", str(path)]) == console.EQUIVALENT == 9
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1].startswith("EQUIVALENT: onnxruntime, on this processor (")
    assert "onnxruntime: The accelerator rounds otherwise." in printed.err
    with edgecnn.load(path) as model:
        assert model.proof == EQUIVALENT


@pytest.mark.usefixtures("accelerator")
def test_a_bundle_without_limits_must_be_exact(honest: Fake, write: Write) -> None:
    """As those have none that older versions of edgecnn wrote."""
    assert words(write(honest)) == {"onnxruntime": FAILED, "reference": EXACT}


def test_beyond_the_limits_of_any_output_fails(honest: Fake, write: Write, accelerator: type[Accelerator]) -> None:
    path = write(replace(honest, limits=LIMITS))
    accelerator.off = 2
    with pytest.raises(VerificationError, match=r"'maps': 2 step\(s\), the limit is 1"):
        edgecnn.load(path)
    accelerator.off, accelerator.swaps = 1, True
    with pytest.raises(VerificationError, match=r"'logits': top-1 .*, the limit is 1"):
        edgecnn.load(path)


def test_limits_are_no_excuse_for_an_engine_that_must_be_exact(
    honest: Fake, write: Write, accelerator: type[Accelerator]
) -> None:
    accelerator.exact = True
    assert words(write(replace(honest, limits=LIMITS)))["onnxruntime"] == FAILED


def test_limits_of_an_accelerator_travel_in_the_manifest(honest: Fake, write: Write) -> None:
    limits = load_target("coral").equivalent
    assert limits is not None
    assert (limits.decisions, limits.overlap, limits.steps) == (1.0, 0.99, 1)
    assert [load_target(name).equivalent for name in ("rpi", "intel", "x86")] == [None] * 3
    with Bundle.open(write(replace(honest, limits=limits))) as bundle:
        assert bundle.engines[0].equivalent == limits
