"""Files whose parts do not fit together: an interpreter would read beside its bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.errors import BundleError
from edgecnn.runtime.engines import _tflite_file

tflite = pytest.importorskip("edgecnn.export.tflite", reason="needs edgecnn[export]")

Change = Callable[[Any], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    from tests.runtime.conftest import tiny_graph

    path = tmp_path_factory.mktemp("tflite") / "model.tflite"
    tflite.write(tiny_graph(), path)
    return path.read_bytes()


def changed(content: bytes, change: Change) -> bytes:
    from edgecnn.export.tflite.schema import pack, unpack

    model = unpack(content, Path("model.tflite"))
    change(model)
    return pack(model)


def constant(model: Any) -> Any:
    sizes = [0 if buffer.data is None else len(buffer.data) for buffer in model.buffers]
    return next(tensor for tensor in model.subgraphs[0].tensors if sizes[tensor.buffer] > 4)


def grid(model: Any) -> Any:
    grids = [tensor.quantization for tensor in model.subgraphs[0].tensors]
    return next(item for item in grids if item is not None and item.scale is not None)


def set_buffer(model: Any, data: bytes) -> None:
    model.buffers[constant(model).buffer].data = np.frombuffer(data, np.uint8)


CHANGES: dict[str, tuple[Change, str]] = {
    "another version": (lambda m: setattr(m, "version", 2), "expected version 3"),
    "a second graph": (lambda m: m.subgraphs.append(m.subgraphs[0]), "one graph"),
    "a constant too short": (lambda m: set_buffer(m, b"x"), "a constant of shape"),
    "a constant too long": (lambda m: set_buffer(m, bytes(9999)), "a constant of shape"),
    "a buffer that there is not": (lambda m: setattr(constant(m), "buffer", 99), "there is no buffer 99"),
    "a negative size": (lambda m: setattr(constant(m), "shape", [-4, 3]), "a type or shape"),
    "a size that is a bomb": (lambda m: setattr(constant(m), "shape", [1 << 30, 1 << 30]), "that a tensor may have"),
    "a type that there is not": (lambda m: setattr(constant(m), "type", 99), "a type or shape"),
    "a variable": (lambda m: setattr(constant(m), "isVariable", True), "sparse, variable"),
    "scales that do not fit": (lambda m: setattr(grid(m), "scale", [1.0, 2.0]), "a grid does not fit"),
    "a scale of zero": (lambda m: setattr(grid(m), "scale", [0.0]), "a grid does not fit"),
    "a scale that is no number": (lambda m: setattr(grid(m), "scale", [np.nan]), "a grid does not"),
    "an input that there is not": (lambda m: setattr(m.subgraphs[0], "inputs", [500]), "there is no tensor 500"),
    "an output of nobody": (lambda m: m.subgraphs[0].operators.pop(), "written by no operator|what was not written"),
    "a tensor that there is not": (
        lambda m: setattr(m.subgraphs[0].operators[0], "inputs", [0, 1 << 20, 1]),
        "there is no tensor 1048576",
    ),
    "a code that there is not": (lambda m: setattr(m.subgraphs[0].operators[0], "opcodeIndex", 77), "no operator 77"),
    "operators in another order": (lambda m: m.subgraphs[0].operators.reverse(), "was not written before"),
    "an output twice": (
        lambda m: m.subgraphs[0].operators.append(m.subgraphs[0].operators[-1]),
        "what is there already",
    ),
    "nothing written": (lambda m: setattr(m.subgraphs[0].operators[-1], "outputs", []), "writes nothing"),
}


def test_what_we_write_is_right(good: bytes) -> None:
    _tflite_file.check(good, "model.tflite")


@pytest.mark.parametrize("name", CHANGES)
def test_what_does_not_fit_together_is_refused(good: bytes, name: str) -> None:
    change, says = CHANGES[name]
    with pytest.raises(BundleError, match=says):
        _tflite_file.check(changed(good, change), "model.tflite")


def test_an_input_larger_than_the_bundle_says_is_refused(good: bytes) -> None:
    """It would be allocated before its shape is compared."""
    content = changed(good, lambda model: setattr(model.subgraphs[0].tensors[0], "shape", [1, 8, 8_000_000, 3]))
    _tflite_file.check(content, "model.tflite")
    with pytest.raises(BundleError, match=r"of shape \(1, 8, 8000000, 3\) is larger than the bundle says"):
        _tflite_file.check(content, "model.tflite", 192)


def test_offsets_out_of_the_file_are_refused(good: bytes) -> None:
    for offset in (0, 0x7FFFFFFF, 0xFFFFFFFF, len(good)):
        with pytest.raises(BundleError, match=r"model\.tflite: it is no TFLite file, or damaged"):
            _tflite_file.check(struct.pack("<I", offset) + good[4:], "model.tflite")
    for end in (0, 3, 7, 40, len(good) // 2):
        with pytest.raises(BundleError):
            _tflite_file.check(good[:end], "model.tflite")


@pytest.mark.parametrize("name", ["tf2_mobilenet_v2_1.0_224_ptq", "mobilenet_v1_0.25_128_quant_edgetpu"])
@pytest.mark.data
def test_files_of_others_are_right(data_dir: Path, name: str) -> None:
    _tflite_file.check((data_dir / "models" / "coral" / f"{name}.tflite").read_bytes(), name)


def test_the_interpreter_survives_what_passes() -> None:
    """In copies of this process: of 3,000 such files the interpreter had crashed on nine."""
    from tests.fuzz import harness

    (*_, found) = harness.run("engine-litert", range(500, 700))
    assert found.done == 200
    assert found.tried <= 1, "what is left for the trial"
