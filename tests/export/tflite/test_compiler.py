"""The Edge TPU compiler is run where it is installed, with a time limit and no shell."""

from __future__ import annotations

import sys

import pytest

from edgecnn.errors import ModelError
from edgecnn.export.tflite.compiler import PROGRAM, compile_model, find_compiler
from tests.waiting import PATIENCE


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a compiler on the PATH that runs the given Python lines with the arguments as ``args``."""

    def run(lines):
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / PROGRAM
        program.write_text(f"#!{sys.executable}\nimport pathlib, sys, time\nargs = sys.argv[1:]\n{lines}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return run


def test_absent(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_compiler() is None
    assert compile_model(tmp_path / "model.tflite", tmp_path) is None


def test_compiled(tmp_path, install):
    install("assert args[:2] == ['-s', '-o']\n(pathlib.Path(args[2]) / 'a b_edgetpu.tflite').touch()\nprint('mapped')")
    result = compile_model(tmp_path / "a b.tflite", tmp_path)
    assert result is not None
    assert (result.path, result.log) == (tmp_path / "a b_edgetpu.tflite", "mapped\n")


@pytest.mark.parametrize(
    ("lines", "timeout", "words"),
    [
        ("sys.exit('Invalid model')", PATIENCE, r"failed on model.tflite \(exit code 1\):\nInvalid model"),
        ("print('nothing written')", PATIENCE, r"\(exit code 0\):\nnothing written"),
        ("time.sleep(1000)", 1, "took longer than 1 s"),
    ],
)
def test_failures(tmp_path, install, lines, timeout, words):
    install(lines)
    with pytest.raises(ModelError, match=words):
        compile_model(tmp_path / "model.tflite", tmp_path, timeout=timeout)
