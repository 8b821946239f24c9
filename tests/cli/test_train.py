"""``edgecnn train``: what it shows, how it ends, and that ``export`` takes its file with no further options."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from edgecnn import plugins
from edgecnn.cli import app
from edgecnn.models.trained import read_trained
from edgecnn.runtime.bundle import Bundle
from tests.train import tiny

Train = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("data") / "parts")


@pytest.fixture(autouse=True)
def _tiny_job(monkeypatch: pytest.MonkeyPatch) -> None:
    load = plugins.load
    monkeypatch.setattr(
        plugins, "load", lambda package, name: tiny if package == "edgecnn.train.jobs" else load(package, name)
    )


@pytest.fixture
def train(parts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Train:
    """Return a function that trains to ``tmp_path/dots.safetensors``: exit code, stdout, stderr."""

    def run(*options: str, data: Path = parts) -> tuple[int, str, str]:
        line = ["train", "--task", "defect", "--data", str(data), "--threads", "1", "--device", "cpu"]
        code = app.main([*line, "-o", str(tmp_path / "dots.safetensors"), *options])
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return run


def test_it_shows_warnings_validations_figures_and_the_next_command(train: Train, tmp_path: Path) -> None:
    code, out, err = train("--steps", "4")

    assert code == 0
    assert "warning: Only 6 pictures of good parts" in err
    assert [line.split()[1] for line in err.splitlines() if line.startswith("step ")] == ["1/4", "2/4", "3/4", "4/4"]
    assert f"{tmp_path}/dots.safetensors: 4 steps in" in out
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["score", "accuracy"]
    assert f"next: edgecnn export {tmp_path}/dots.safetensors --target rpi" in err


def test_export_takes_the_file_as_it_is(train: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert train("--steps", "2")[0] == 0
    file, bundle = tmp_path / "dots.safetensors", tmp_path / "bundle"
    assert app.main(["export", str(file), "--target", "rpi", "--recipe", "fast", "-o", str(bundle)]) == 0
    assert "no --mean and --std were given" not in capfd.readouterr().err
    with Bundle.open(bundle) as opened:
        manifest = opened.manifest
        golden = opened.golden()
    assert (manifest.task, manifest.labels) == ("defect", ("good", "dot"))
    assert manifest.decoding == {"threshold": 0.5, "pixel_threshold": 0.5, "peak_pixels": 4}
    assert manifest.provenance.mean == (0.5, 0.5, 0.5)
    learned = {frame.tobytes() for frame in read_trained(file).frames}
    assert learned & {frame.tobytes() for frame in golden.frames}
    assert [output.tensor.shape for output in manifest.outputs] == [(1, 32, 32, 1), (1, 2)]


def test_pictures_that_are_given_win_over_those_in_the_file(train: Train, parts: Path, tmp_path: Path) -> None:
    train("--steps", "1")
    dots = parts / "dot" / "001.png"
    line = ["export", str(tmp_path / "dots.safetensors"), "-t", "rpi", "--recipe", "fast", "-o", str(tmp_path / "b")]
    assert app.main([*line, "--calibrate", str(dots)]) == 0
    with Bundle.open(tmp_path / "b") as opened:
        assert opened.manifest.provenance.calibration_count == 1


def test_inspect_reads_the_file(train: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train("--steps", "1")
    assert app.main(["inspect", str(tmp_path / "dots.safetensors"), "--target", "coral", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)

    assert found["model"] == "dots"
    assert app.main(["inspect", str(tmp_path / "dots.safetensors"), "--arch", "convnet"]) == 2
    assert "says itself which network it holds: leave --arch out" in capfd.readouterr().err


def test_json_is_one_document(train: Train, tmp_path: Path) -> None:
    code, out, _ = train("--steps", "2", "--json", "--seed", "5")
    found = json.loads(out)

    assert code == 0
    assert found["file"] == str(tmp_path / "dots.safetensors")
    assert (found["plan"]["seed"], found["steps"]["done"]) == (5, 2)
    assert json.loads((tmp_path / "dots.train" / "training.json").read_text()).items() <= found.items()


def test_a_time_is_measured_and_said(train: Train) -> None:
    code, _, err = train("--time", "1h30m")

    assert code == 0
    assert "all 24 steps fit into 5400 s." in err
    assert "step 24/24" in err


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_in_the_middle_then_the_same_command(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, presses: int
) -> None:
    whole = train("--steps", "8", "-o", str(tmp_path / "whole.safetensors"))
    loss, counted = tiny.TinyJob.loss, iter(range(100))

    def interrupted(job: tiny.TinyJob, batch: tuple[Tensor, ...]) -> Tensor:
        if next(counted) == 4:
            for _ in range(presses):
                os.kill(os.getpid(), signal.SIGINT)
        return loss(job, batch)

    monkeypatch.setattr(tiny.TinyJob, "loss", interrupted)
    code, out, err = train("--steps", "8")
    assert (whole[0], code, out) == (0, 130, "")
    assert f"interrupted; the same command goes on with the checkpoint in {tmp_path}/dots.train" in err
    assert [path.name for path in tmp_path.glob("dots.*")] == ["dots.train"]
    monkeypatch.setattr(tiny.TinyJob, "loss", loss)
    code, _, err = train("--steps", "8", "--resume")

    assert code == 0
    assert "step 2/8" not in err
    assert (tmp_path / "dots.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_a_checkpoint_of_another_training(train: Train) -> None:
    assert train("--steps", "1")[0] == 0
    code, _, err = train("--steps", "2", "--seed", "1")
    assert code == 2
    assert "error: " in err
    assert "another training: seed 0 instead of 1, steps 1 instead of 2" in err
    assert train("--steps", "2", "--seed", "1", "--fresh")[0] == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--time", "15"], "--time takes a duration like 15m, 90s or 1h30m; got '15'"),
        (["--time", "15m", "--steps", "9"], "steps and time exclude each other"),
        (["--size", "big"], "--size takes one side in pixels, or rows x columns like 192x320; got 'big'"),
        (["--size", "16"], "a side of the size must be in 64 .. 1024, got 16"),
        (["--validation", "nowhere"], "--validation takes a folder of pictures, or a share like 0.2; got 'nowhere'"),
        (["--validation", "1.5"], "the share of validation data must be in 0.01 .. 0.9, got 1.5"),
        (["--validation", "nan"], "the share of validation data must be in"),
        (["--steps", "0"], "steps must be in 1"),
        (["--device", "tpu"], "the device must be one of auto, cpu, cuda"),
        (["-o", "net.onnx"], "the output must end in .safetensors"),
    ],
)
def test_options_that_are_not_allowed(train: Train, options: list[str], says: str) -> None:
    code, out, err = train(*options)

    assert (code, out) == (2, "")
    assert says in err


def test_data_that_cannot_be_used(train: Train, tmp_path: Path) -> None:
    code, _, err = train(data=tmp_path / "nowhere")

    assert code == 4
    assert "expected a folder of pictures to learn from" in err
    assert list(tmp_path.iterdir()) == []
