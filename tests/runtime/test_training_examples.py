"""The examples that train do what they say, on drawn pictures and with a few steps."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edgecnn
from edgecnn.vision.synthetic.surfaces import surfaces

Run = Callable[..., dict[str, Any]]
Frame = np.ndarray


@pytest.fixture
def run(project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs an example with an empty output folder; it returns what the script defined."""

    def run(name: str, *options: str) -> dict[str, Any]:
        path = project_root / "examples" / f"{name}.py"
        # An editor's notebook has options of its own on the command line.
        monkeypatch.setattr(sys, "argv", [str(path), "--output", str(tmp_path), *options, "--f=kernel.json"])
        monkeypatch.chdir(tmp_path)
        # What takes long and is tested elsewhere.
        monkeypatch.setattr("edgecnn.composer.budget.DEFAULT_RECIPE", "fast")
        monkeypatch.setattr("edgecnn.train.jobs.lane.ROADS", 2)
        return runpy.run_path(str(path), run_name="__main__")

    return run


def drawn_on(picture: Path, frame: Frame) -> float:
    """Return the share of pixels that an overlay changed."""
    shown = cv2.imread(str(picture))
    assert shown.shape == frame.shape
    return float((shown != frame).any(axis=2).mean())


def test_inspect_a_surface(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("inspect_a_surface", "--pictures", "48", "--size", "128", "--steps", "2")
    said = capsys.readouterr().out
    report = json.loads((tmp_path / "evaluation" / "report.json").read_text())["decisions"]
    kinds = sorted(path.name for path in (tmp_path / "new-parts" / "images").iterdir())

    assert [line.split()[2] for line in said.splitlines() if line.startswith("$ edgecnn")] == [
        "train",
        "export",
        "evaluate",
    ]
    assert report["images"] == 24
    assert report["ranking"]["int8"]["auroc"]["value"] > 0.8
    assert report["pixels"]["int8"]["auroc"] > 0.8
    assert sorted(path.stem for path in (tmp_path / "verdicts").iterdir()) == kinds
    assert [line.split(":")[0] for line in said.splitlines() if ", score " in line] == kinds
    first = min((tmp_path / "new-parts" / "images" / "good").iterdir())
    assert 0.01 < drawn_on(tmp_path / "verdicts" / "good.png", cv2.imread(str(first))) < 0.5


def test_good_only_inspection(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("good_only_inspection", "--pictures", "40", "--size", "128", "--steps", "2", "--false-rejects", "0.1")
    said = capsys.readouterr().out
    report = json.loads((tmp_path / "evaluation" / "report.json").read_text())["decisions"]

    assert report["images"] == 20
    # The holes are no defects, but two steps do not teach that: pixels are told apart, pictures are not yet.
    assert report["pixels"]["int8"]["auroc"] > 0.8
    with edgecnn.load(tmp_path / "bundle") as model:
        assert model.manifest.labels == ("good", "anomaly")
        limit = model.manifest.threshold_of("anomaly")
    assert f"threshold {limit:.2f}" in said
    assert "good.png" in {path.name for path in (tmp_path / "verdicts").iterdir()}


def test_lane_keeping(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("lane_keeping", "--roads", "4", "--size", "96x160", "--steps", "2", "--seconds", "2")
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if " offset " in line]
    report = json.loads((tmp_path / "evaluation" / "report.json").read_text())["decisions"]
    clip = cv2.VideoCapture(str(tmp_path / "lanes.mp4"))

    assert report["images"] == 12
    assert report["lanes"]["int8"]["f1"]["value"] > 0.8
    assert [row["name"] for row in report["lanes"]["sources"]] == ["road 700"]
    # The drawn car sways by 0.15 m around the middle of its lane.
    assert len(lines) == 2
    assert all(abs(float(line.split("offset ")[1].split()[0])) < 0.4 for line in lines)
    assert all(" /km" in line for line in lines)
    # Two seconds of a drawn road, and every frame of it.
    assert clip.get(cv2.CAP_PROP_FRAME_COUNT) == pytest.approx(40, abs=2)


def test_own_pictures_are_learned_from(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index, drawn in enumerate(surfaces(24, seed=1, size=64)):
        path = tmp_path / "own" / ("free" if drawn.kind == "good" else "flaw") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), drawn.frame)
    run("inspect_a_surface", "--data", str(tmp_path / "own"), "--good", "free", "--size", "64", "--steps", "1")
    said = capsys.readouterr().out

    assert "Without --test the figures below are of pictures that were trained on: they flatter." in said
    assert sorted(path.name for path in (tmp_path / "verdicts").iterdir()) == ["flaw.png", "free.png"]
    with edgecnn.load(tmp_path / "bundle") as model:
        assert model.manifest.labels == ("good", "flaw")


def test_a_command_that_fails_ends_the_example(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        run("lane_keeping", "--roads", "1", "--size", "100")

    assert raised.value.code == 2
    assert "must be a multiple of 32, got 100" in capsys.readouterr().err
