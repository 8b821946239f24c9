from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.errors import OptionError
from edgecnn.profile import load_target, read_target, targets
from edgecnn.proof import Limits

GOOD = """
name = "board"
title = "A board"
engine = "reference"
artefact = "model.npz"
requirements = ["numpy"]
sources = ["measured"]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "board.toml"
    path.write_text(text)
    return path


def test_the_targets_load_with_their_engines_and_files() -> None:
    assert targets() == ["coral", "intel", "rpi", "x86"]
    assert {name: (load_target(name).engine, load_target(name).artefact) for name in targets()} == {
        "coral": ("litert", "model.tflite"),
        "intel": ("openvino", "model.xml"),
        "rpi": ("onnxruntime", "model.onnx"),
        "x86": ("onnxruntime", "model.onnx"),
    }


def test_numbers_of_the_targets() -> None:
    rpi, coral = load_target("rpi"), load_target("coral")

    assert (rpi.opset, rpi.ir_version, rpi.edge_tpu) == (18, 8, None)
    assert coral.opset is None
    assert coral.edge_tpu is not None
    assert coral.edge_tpu.weight_bytes < coral.edge_tpu.sram_bytes == 8_000_000
    assert "ArgMax" in coral.edge_tpu.unmapped
    assert coral.edge_tpu.min_runtime["Transpose"] == 14


def test_limits_of_what_cannot_be_exact_are_checked(tmp_path: Path) -> None:
    table = '[equivalent]\nwhy = "It rounds otherwise."\ndecisions = 1.0\noverlap = 0.99\nsteps = {}\n'

    assert read_target(write(tmp_path, GOOD + table.format(2))).equivalent == Limits(
        "It rounds otherwise.", 1.0, 0.99, 2
    )
    with pytest.raises(OptionError, match=r"board.toml: equivalent: limits must say why, .* and 1 step or more, got"):
        read_target(write(tmp_path, GOOD + table.format(0)))


def test_a_good_file_gives_its_values_and_defaults(tmp_path: Path) -> None:
    profile = read_target(write(tmp_path, GOOD))

    assert profile.requirements == ("numpy",)
    assert (profile.opset, profile.edge_tpu) == (None, None)


def test_unknown_target_suggests_a_near_name() -> None:
    with pytest.raises(OptionError, match=r"unknown target 'rpu'\. Did you mean 'rpi'\?"):
        load_target("rpu")


def test_a_path_is_no_target_name() -> None:
    with pytest.raises(OptionError, match="a target's name is letters"):
        load_target("../targets/rpi")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "opsett = 7", "unknown key 'opsett'. Did you mean 'opset'"),
        (GOOD + 'opset = "8"', "opset must be an integer, got '8'"),
        (GOOD + "opset = true", "opset must be an integer, got True"),
        (GOOD.replace('"A board"', "3"), "title must be a string, got 3"),
        (GOOD.replace('["numpy"]', '"numpy"'), "requirements must be a list, got 'numpy'"),
        (GOOD.replace('["numpy"]', "[]"), "requirements must name what the device installs"),
        (GOOD.replace('["measured"]', "[]"), "sources must say where the numbers come from"),
        (GOOD.replace("board", "other", 1), "name must be the file's name 'board', got 'other'"),
        (GOOD.replace("model.npz", "../model.npz"), "artefact must be a plain file name"),
        (GOOD.replace("model.npz", "model.onnx"), "an .onnx artefact needs opset and ir_version"),
        (GOOD.replace('"reference"', '"referense"'), "unknown engine 'referense'. Did you mean 'reference'"),
        (GOOD.replace('title = "A board"', ""), "the key 'title' is missing"),
        (GOOD + "[edge_tpu]\nsram_byte = 1", "unknown key 'edge_tpu.sram_byte'. Did you mean 'edge_tpu.sram_bytes'"),
        (GOOD + "[edge_tpu]\nsram_bytes = 1", "the key 'edge_tpu.weight_bytes' is missing"),
    ],
)
def test_a_wrong_file_is_refused_with_its_path(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OptionError) as raised:
        read_target(write(tmp_path, text))

    assert message in str(raised.value)
    assert "board.toml" in str(raised.value)
