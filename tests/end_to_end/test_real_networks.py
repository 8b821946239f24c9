"""Networks and pictures from elsewhere through all three targets: every engine proves its artefact."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from edgecnn.cli import app

TARGETS = ["--target", "rpi", "--target", "intel", "--target", "coral"]
ENGINES = ["onnxruntime", "openvino", "litert"]
IMAGENET = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]


def subset(folder: Path, pictures: list[Path]) -> Path:
    """Copy pictures into a folder of their own."""
    folder.mkdir()
    for path in pictures:
        shutil.copy(path, folder)
    return folder


def proven(bundle: Path, capfd: pytest.CaptureFixture[str], *options: str) -> dict:
    """Verify the bundle and return what was found."""
    capfd.readouterr()
    assert app.main(["verify", str(bundle), "--threads", "2", "--json", *options]) == 0, capfd.readouterr().err
    document = json.loads(capfd.readouterr().out)
    assert {item["engine"]: item["status"] for item in document["engines"]} == dict.fromkeys(
        [*ENGINES, "reference"], "exact"
    )
    assert [item["status"] for item in document["grids"]] == ["exact"] * 3
    return document


@pytest.mark.data
def test_resnet20_on_cifar10(
    data_dir: Path, tmp_path: Path, project_root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with (data_dir / "cifar10" / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    paths = [data_dir / "cifar10" / row["image"] for row in rows]
    evaluation = subset(tmp_path / "eval", paths[:200])
    table = "".join(f"{path.name},{row['label']}\n" for path, row in zip(paths[:200], rows[:200], strict=True))
    (evaluation / "labels.csv").write_text("image,label\n" + table)
    line = ["export", str(data_dir / "models" / "cifar10-resnet20.th"), "--input-shape", "1,3,32,32"]
    line += ["--arch", f"{project_root / 'examples' / 'arch_resnet20.py'}:resnet20", *IMAGENET, *TARGETS]
    line += ["--calibrate", str(subset(tmp_path / "calibration", paths[500:600])), "--eval", str(evaluation)]
    assert app.main([*line, "-o", str(tmp_path / "bundle")]) == 0

    report = json.loads((tmp_path / "bundle" / "report.json").read_text())
    assert (len(report["folds"]["folded"]), report["folds"]["unfolded"]) == (19, [])
    assert report["folds"]["float_difference"] <= 1e-5
    assert report["accuracy"]["images"] == 200
    assert report["accuracy"]["top1"]["float"] > 0.5
    for row in report["accuracy"]["per_engine"]:
        assert row["agreement"] >= 0.95, row
        assert row["top1"] >= report["accuracy"]["top1"]["float"] - 0.03, row
    found = proven(tmp_path / "bundle", capfd, "--per-op")
    assert max(item["max_lsb"] for item in found["ops"]) == 0


@pytest.mark.data
@pytest.mark.slow
def test_a_detector(data_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photos = sorted((data_dir / "imagenet" / "calibration").iterdir())[:40]
    line = ["export", str(data_dir / "models" / "nanodet-320.onnx"), *TARGETS, "--color", "bgr"]
    line += ["--mean", "0.406,0.456,0.485", "--std", "0.225,0.224,0.229", "--resize", "letterbox"]
    line += ["--calibrate", str(subset(tmp_path / "photos", photos)), "-o", str(tmp_path / "bundle")]
    assert app.main(line) == 0
    report = json.loads((tmp_path / "bundle" / "report.json").read_text())
    assert report["frame"]["fallback"] is None
    assert report["model"]["task"] == "raw"
    proven(tmp_path / "bundle", capfd)


@pytest.mark.data
def test_the_built_in_segmenter(data_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photos = sorted((data_dir / "imagenet" / "calibration").iterdir())[:32]
    folder = subset(tmp_path / "photos", photos)
    line = ["export", "unet-lite", *TARGETS, "--input-shape", "1,3,128,128", "--recipe", "fast"]
    line += ["--calibrate", str(folder), "--eval", str(subset(tmp_path / "eval", photos[:8]))]
    assert app.main([*line, "-o", str(tmp_path / "bundle")]) == 0
    report = json.loads((tmp_path / "bundle" / "report.json").read_text())
    assert report["model"]["task"] == "segment"
    assert [row["engine"] for row in report["accuracy"]["per_engine"]] == ENGINES
    assert report["accuracy"]["agreement"]["value"] > 0.85
    found = proven(tmp_path / "bundle", capfd)
    assert {row["by"] for item in found["engines"] for row in item["judgements"]} == {"mask"}
