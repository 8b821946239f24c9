"""A tiny classifier as an integer graph, its artefacts, and bundles made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecnn.arrays import write_npz
from edgecnn.integer_graph import Array, IntegerGraph, IntegerNode
from edgecnn.manifest import EngineEntry, InputContract, Manifest, OutputContract, Provenance
from edgecnn.runtime.bundle import Content, Golden, write_bundle
from edgecnn.runtime.engines.reference import ReferenceEngine
from edgecnn.runtime.model import run_frames
from edgecnn.tensor import QuantParams, TensorSpec
from tests.ops.single import in_pairs
from tests.waiting import unhurried

LABELS = ("good", "scratch", "dent", "stain")


def tiny_graph() -> IntegerGraph:
    """frame (1,8,8,3) -> Transpose -> Conv 3x3/2 to 4 maps -> mean over H and W -> 4 logits."""
    rng = np.random.default_rng(7)
    frame = TensorSpec("frame", (1, 8, 8, 3), "uint8", QuantParams.per_tensor(1 / 255))
    planes = TensorSpec("planes", (1, 3, 8, 8), "uint8", frame.quant)
    scales = np.asarray([0.011, 0.013, 0.017, 0.019], np.float32)
    weight = TensorSpec("weight", (4, 3, 3, 3), "int8", QuantParams.per_channel(scales, 0))
    bias = TensorSpec("bias", (4,), "int32", QuantParams.per_channel(scales * np.float32(1 / 255), 0))
    maps = TensorSpec("maps", (1, 4, 4, 4), "uint8", QuantParams.per_tensor(0.09, 120))
    logits = TensorSpec("logits", (1, 4), "uint8", QuantParams.per_tensor(0.05, 128))
    constants: dict[str, Array] = {
        "weight": in_pairs("Conv", rng.integers(-127, 128, weight.shape, dtype=np.int8)),
        "bias": rng.integers(-9000, 9000, bias.shape, dtype=np.int32),
    }
    conv = {"strides": (2, 2), "pads": (1, 1, 1, 1), "dilations": (1, 1), "group": 1}
    nodes = (
        IntegerNode("to_nchw", "Transpose", ("frame",), "planes", {"perm": (0, 3, 1, 2)}),
        IntegerNode("conv", "Conv", ("planes", "weight", "bias"), "maps", conv),
        IntegerNode("mean", "ReduceMean", ("maps",), "logits", {"axes": (2, 3), "keepdims": 0}),
    )
    tensors = {spec.name: spec for spec in (frame, planes, weight, bias, maps, logits)}
    return IntegerGraph("tiny", ("frame",), ("logits",), nodes, tensors, constants)


def tiny_golden(graph: IntegerGraph, count: int = 6) -> Golden:
    """Random frames and what the reference engine makes of them."""
    frames = np.random.default_rng(3).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return Golden(frames, tuple(run_frames(ReferenceEngine(graph), frames)))


def tiny_manifest(graph: IntegerGraph, task: str = "classify", engine: str = "onnxruntime") -> Manifest:
    """The contract of the tiny classifier."""
    return Manifest(
        name="tiny",
        task=task,
        input=InputContract(graph.spec("frame"), "bgr"),
        outputs=(OutputContract(graph.spec("logits"), "NC", "logits"),),
        engines=(EngineEntry(engine, "rpi", ("model.onnx",)),),
        provenance=Provenance("0.1.0", "tiny", "0" * 64, "fast", "1" * 64, 6, packages={"numpy": np.__version__}),
        labels=LABELS,
        thresholds={"scratch": 0.5} if task == "defect" else {},
    )


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    unhurried(monkeypatch)


@pytest.fixture(scope="session")
def graph() -> IntegerGraph:
    return tiny_graph()


@pytest.fixture(scope="session")
def golden(graph: IntegerGraph) -> Golden:
    return tiny_golden(graph)


@pytest.fixture(scope="session")
def manifest(graph: IntegerGraph) -> Manifest:
    return tiny_manifest(graph)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, graph: IntegerGraph, golden: Golden) -> dict[str, Content]:
    """The content of a bundle with an ONNX artefact."""
    onnx_format = pytest.importorskip("edgecnn.export.onnx", reason="needs edgecnn[export]")
    folder = tmp_path_factory.mktemp("artefacts")
    onnx_format.write(graph, folder / "model.onnx")
    graph.save(folder / "graph.npz")
    write_npz(folder / "golden.npz", golden.arrays())
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def make_bundle(tmp_path: Path, graph: IntegerGraph, files: dict[str, Content]) -> Callable[..., Path]:
    """Return a function that writes the tiny bundle, with files replaced or another task, and returns its path."""

    def make(name: str = "tiny", task: str = "classify", engine: str = "onnxruntime", **replaced: Content) -> Path:
        content = files | {key.replace("__", "."): value for key, value in replaced.items()}
        write_bundle(tmp_path / name, tiny_manifest(graph, task, engine), content)
        return tmp_path / name

    return make


@pytest.fixture
def defect_bundle(make_bundle: Callable[..., Path]) -> Path:
    """The tiny bundle, with a threshold for scratches: REJECT from 0.5 on."""
    return make_bundle("tiny-defect", "defect")
