"""What stops an export halfway: Ctrl-C, a full disk, a package that is not there. Nothing may be left behind."""

from __future__ import annotations

import json
import os
import pty
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edgecnn.cli import app
from tests.composer import onnx_files

# ``edgecnn`` with packages blocked as if they were not installed: their names, then the command line.
BLOCKED = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if any(name == item or name.startswith(item + ".") for item in sys.argv[1].split(",")):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Block())
from edgecnn.cli.app import main
sys.exit(main(sys.argv[2:]))
"""


def run_without(packages: str, root: Path, *line: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED, packages, *line]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=120)


def everything_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Ctrl-C


def shown_until(terminal: int, word: bytes, seconds: float) -> bytes:
    """Read what a process shows on its terminal until ``word`` comes, the process ends, or time is up."""
    shown, end = b"", time.monotonic() + seconds
    while word not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                shown += os.read(terminal, 4096)
            except OSError:  # what Linux says once the other side is closed
                break
    return shown


def test_ctrl_c_during_calibration_leaves_nothing(tmp_path: Path, project_root: Path) -> None:
    # Large enough to calibrate for seconds: on a busy machine the signal comes late.
    model = onnx_files.write(tmp_path / "net.onnx", shape=(1, 3, 1280, 1280))
    np.save(tmp_path / "frames.npy", np.zeros((300, 64, 64, 3), np.uint8))
    (tmp_path / "out").mkdir()
    (tmp_path / "temporary").mkdir()
    line = ["export", str(model), "-t", "rpi", "--calibrate", str(tmp_path / "frames.npy")]
    line += ["-o", str(tmp_path / "out" / "bundle")]
    terminal, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "edgecnn.cli.app", *line],
        cwd=project_root,
        stdout=subprocess.DEVNULL,
        stderr=side,
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary"), "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(side)
    try:
        assert b"calibrating" in (shown := shown_until(terminal, b"calibrating", 90)), shown
        process.send_signal(signal.SIGINT)
        shown = shown_until(terminal, b"never shown", 60)
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    assert b"Traceback" not in shown
    assert list((tmp_path / "out").iterdir()) == []
    assert list((tmp_path / "temporary").glob("edgecnn*")) == []


# A full disk


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond ``size`` bytes: writing fails as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_disk_that_fills_up_at_any_place(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    overwrite: bool,
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    model = onnx_files.write(tmp_path / "net.onnx")
    line = ["export", str(model), "-t", "rpi", "-t", "intel", "-t", "coral", "--recipe", "fast"]
    line += ["--calibrate", str(photos), "-o", str(tmp_path / "out" / "bundle")]
    if overwrite:
        assert app.main(line) == 0
        line.append("--overwrite")
    before = everything_below(tmp_path / "out")
    capfd.readouterr()
    # In the midst of the ONNX file, the TFLite file, the IR, the golden frames and the report, one after the other.
    for size in (1000, 2000, 5000, 9000, 16_000):
        with largest_file(size):
            code = app.main(line)
        message = capfd.readouterr().err
        assert code == 5, (size, message)
        assert "error: " in message
        assert "cannot be written" in message
        assert "Nothing was left behind or replaced" in message
        assert everything_below(tmp_path / "out") == before
        assert list((tmp_path / "temporary").glob("edgecnn*")) == []


# Packages that are not there


def test_a_device_is_told_how_to_export(tmp_path: Path, photos: Path, project_root: Path) -> None:
    model = onnx_files.write(tmp_path / "net.onnx")
    line = ["export", str(model), "-t", "rpi", "--calibrate", str(photos), "-o", str(tmp_path / "bundle")]
    result = run_without("onnx_ir,onnx,onnxscript,torch", project_root, *line)
    assert result.returncode == 6, result.stderr
    assert "pip install 'edgecnn[export]'" in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_lowering_without_its_package_says_so(tmp_path: Path, photos: Path, project_root: Path) -> None:
    model = onnx_files.write(tmp_path / "net.onnx")
    line = ["export", str(model), "--recipe", "fast", "--calibrate", str(photos), "-o", str(tmp_path / "bundle")]
    result = run_without("openvino", project_root, *line, "-t", "intel")
    assert result.returncode == 6, result.stderr
    assert "No module named 'openvino'" in result.stderr
    assert "pip install 'edgecnn[export]'" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_an_engine_that_cannot_run_at_the_desk_is_noted(tmp_path: Path, photos: Path, project_root: Path) -> None:
    model = onnx_files.write(tmp_path / "net.onnx")
    line = ["export", str(model), "-t", "rpi", "-t", "coral", "--recipe", "fast", "--calibrate", str(photos)]
    line += ["--eval", str(photos), "-o", str(tmp_path / "bundle")]
    result = run_without("ai_edge_litert.interpreter,tflite_runtime", project_root, *line)
    assert result.returncode == 0, result.stderr
    assert "not proven on litert: " in result.stderr
    assert "pip install 'edgecnn[coral]'" in result.stderr
    assert (tmp_path / "bundle" / "model.tflite").is_file()
    report = json.loads((tmp_path / "bundle" / "report.json").read_text())
    assert [engine["engine"] for engine in report["engines"]] == ["onnxruntime"]
    assert [engine["engine"] for engine in report["accuracy"]["per_engine"]] == ["onnxruntime"]


def test_verify_and_bench_without_the_engine(bundle: Path, project_root: Path) -> None:
    wanted = {"onnxruntime": "edgecnn[rpi]", "openvino": "edgecnn[intel]"}
    for engine, requirement in wanted.items():
        result = run_without(engine, project_root, "verify", str(bundle), "--engine", engine)
        assert result.returncode == 6, result.stderr
        assert f"pip install '{requirement}'" in result.stderr
        assert "Traceback" not in result.stderr
    result = run_without("onnxruntime,openvino,ai_edge_litert,tflite_runtime", project_root, "verify", str(bundle))
    assert result.returncode == 6, result.stderr
    assert "no engine of this bundle is installed, so nothing was proven" in result.stderr
