"""Training of the networks that ship, and how good their weights are."""

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
from edgecnn.models import lane, surface
from edgecnn.models.checkpoint import load_checkpoint
from edgecnn.train import built_in, inspection
from edgecnn.train.job import Plan
from edgecnn.vision.synthetic.surfaces import KINDS, surfaces


def test_the_card_says_what_the_pictures_show() -> None:
    assert models.card("defect").labels == surface.LABELS == KINDS
    assert models.card("lane").labels == lane.MARKINGS


def test_fresh_surfaces_in_every_step_and_the_same_in_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(built_in, "HELD_OUT", 4)
    job = built_in.DrawnSurfaces(Plan(batch=6))
    first, again, other = job.batch(0), job.batch(0), job.batch(1)

    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert ((first[1].amax(dim=(1, 2, 3)) > 0) == (first[3] > 0)).all()
    assert torch.isfinite(job.loss(first))


def test_training_writes_half_precision_weights_that_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(built_in, "HELD_OUT", 12)
    monkeypatch.setattr(built_in.DrawnSurfaces, "pictures", 4)
    path = tmp_path / "weights.safetensors"

    assert built_in.main(["defect", "--output", str(path), "--steps", "2"]) == 0
    assert "image AUROC" in capsys.readouterr().out
    load_checkpoint(models.build("defect", pretrained=False), path)
    assert path.stat().st_size < 1.3e6


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert built_in.main(["defect", "--output", str(tmp_path / "x.safetensors"), "--steps", "0"]) == 2
    assert "steps must be in 1" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_ends_with_a_message_and_a_checkpoint(project_root: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    command = [sys.executable, "-m", "edgecnn.train.built_in", "defect", "--output", str(path)]
    with subprocess.Popen(command, cwd=project_root, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()

    assert first.startswith("step 50/2500  loss")
    assert process.returncode == built_in.INTERRUPTED
    assert "the same command goes on" in rest
    assert "Traceback" not in rest
    assert path.with_suffix(".train").is_dir()


@pytest.mark.parametrize(("name", "most"), [("defect", 1.3e6), ("lane", 2.0e6)])
def test_shipped_weights_are_small(name: str, most: float) -> None:
    path = models.card(name).weights_path

    assert path is not None
    assert path.stat().st_size < most


def test_shipped_weights_on_surfaces_never_seen() -> None:
    drawn = list(surfaces(400, 99, "evaluation"))
    found = list(inspection.judged(models.build("defect"), [item.frame for item in drawn]))
    by_kind: tuple[list[float], list[float]] = ([], [])
    for item, said in zip(drawn, found, strict=True):
        by_kind[item.label].append(said.logit)
    named = [int(np.argmax(said.classes)) == KINDS.index(item.kind) for item, said in zip(drawn, found, strict=True)]

    assert inspection.image_figures(*by_kind)["image AUROC"] >= 0.98
    assert np.mean(named) >= 0.9


@pytest.mark.data
def test_shipped_weights_on_photographs_they_were_not_made_for(data_dir: Path) -> None:
    """Magnetic tiles, no training on them; chance is 0.5."""
    network, logits = models.build("defect"), {}
    for folder in sorted((data_dir / "magnetic-tile" / "images").iterdir()):
        pictures = [cv2.imread(str(path)) for path in sorted(folder.glob("*.jpg"))[::2]]
        frames = [cv2.resize(picture, (128, 128), interpolation=cv2.INTER_LINEAR_EXACT) for picture in pictures]
        logits[folder.name] = [said.logit for said in inspection.judged(network, frames)]
    good = logits.pop("free")
    defective = [value for values in logits.values() for value in values]

    assert inspection.image_figures(good, defective)["image AUROC"] >= 0.7
