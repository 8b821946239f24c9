"""Training of the built-in defect model, and how good the shipped weights are."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from edgecnn import models
from edgecnn.errors import ModelError, OptionError
from edgecnn.models.checkpoint import load_checkpoint, read_state_dict
from edgecnn.train.defect import Plan, Progress, accuracy, as_input, main, train
from edgecnn.vision.synthetic.surfaces import surfaces

SMALL = Plan(steps=3, batch=4)


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    states = [train(SMALL, tmp_path / f"{run}.safetensors").state_dict() for run in range(2)]

    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_the_file_holds_what_was_trained(tmp_path: Path) -> None:
    progress = Progress()
    network = train(SMALL, tmp_path / "weights.safetensors", progress)
    again = models.build("defect", pretrained=False)
    load_checkpoint(again, tmp_path / "weights.safetensors")
    pictures = as_input(np.stack([drawn.frame for drawn in surfaces(2, 0)]))

    assert progress.done == 3
    with torch.no_grad():
        torch.testing.assert_close(network(pictures), again(pictures), rtol=1e-4, atol=1e-4)


def test_an_interrupted_training_keeps_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"

    class Stopping(Progress):
        def __setattr__(self, name: str, value: float) -> None:
            super().__setattr__(name, value)
            if name == "done" and value == 2:
                raise KeyboardInterrupt

    progress = Stopping()
    with pytest.raises(KeyboardInterrupt):
        train(Plan(steps=50, batch=2), path, progress)

    assert progress.done == 2
    assert len(read_state_dict(path)) > 10


@pytest.mark.slow
def test_ctrl_c_ends_with_a_message_and_whole_weights(project_root: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    command = [sys.executable, "-m", "edgecnn.train.defect", "--output", str(path), "--steps", "100000", "--batch", "2"]
    with subprocess.Popen(command, cwd=project_root, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()

    assert first.startswith("step 50/100000  loss")
    assert process.returncode == 130
    assert "stopped after" in rest
    assert "Traceback" not in rest
    load_checkpoint(models.build("defect", pretrained=False), path)


def test_a_missing_folder_is_noticed_before_training(tmp_path: Path) -> None:
    progress = Progress()
    with pytest.raises(ModelError, match=r"the folder .* does not exist"):
        train(SMALL, tmp_path / "missing" / "weights.safetensors", progress)

    assert progress.done == 0


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 1}, {"rate": 0.0}, {"seed": -1}])
def test_wrong_plans_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="training needs steps >= 1, batch >= 2, rate > 0 and seed >= 0"):
        Plan(**wrong)


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(tmp_path / "x.safetensors"), "--steps", "0"]) == 2
    assert "steps >= 1" in capsys.readouterr().err


def test_input_is_normalised_by_the_card() -> None:
    frames = np.zeros((1, 128, 128, 3), np.uint8)
    frames[..., 2] = 255
    picture = as_input(frames)

    assert picture.shape == (1, 3, 128, 128)
    assert picture[0, :, 5, 5].tolist() == [-2.0, -2.0, 2.0]


def test_accuracy_counts_every_surface() -> None:
    """A network that always says 'good' is right as often as surfaces are good."""
    network = models.build("defect", pretrained=False)
    torch.nn.init.zeros_(network.get_parameter("classifier.weight"))
    network.get_parameter("classifier.bias").data.copy_(torch.tensor([1.0, 0.0]))
    good = sum(drawn.label == 0 for drawn in surfaces(23, 1))

    assert accuracy(network, surfaces(23, 1), batch=5) == pytest.approx(good / 23)


def test_shipped_weights_are_small_and_load() -> None:
    path = models.card("defect").weights_path

    assert path is not None
    assert path.stat().st_size < 1_000_000


def test_shipped_weights_on_surfaces_never_seen() -> None:
    """Measured 0.9699 on 10,000; the margin is for 500."""
    assert accuracy(models.build("defect"), surfaces(500, 0, "evaluation")) >= 0.955


@pytest.mark.data
def test_shipped_weights_on_photographs_they_were_not_made_for(data_dir: Path) -> None:
    """Magnetic tiles, no training on them: measured AUROC 0.805, chance is 0.5."""
    network, scores = models.build("defect"), {}
    for folder in sorted((data_dir / "magnetic-tile" / "images").iterdir()):
        pictures = [cv2.imread(str(path)) for path in sorted(folder.glob("*.jpg"))]
        frames = [cv2.resize(picture, (128, 128), interpolation=cv2.INTER_LINEAR_EXACT) for picture in pictures]
        with torch.inference_mode():
            logits = network(as_input(np.stack(frames)))
        scores[folder.name] = (logits[:, 1] - logits[:, 0]).numpy()
    good = scores.pop("free")
    bad = np.concatenate(list(scores.values()))

    assert np.mean(bad[:, None] > good[None, :]) >= 0.78
