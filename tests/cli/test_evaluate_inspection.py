"""``edgecnn evaluate`` on inspections with a map: a network made by hand, exported and run for real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgecnn.cli import app
from edgecnn.report import document
from edgecnn.runtime.evaluation.pixels import read_mask
from edgecnn.runtime.model import load
from edgecnn.vision.read import read_image
from tests.composer import inspection


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks, bundles and parts of three kinds; the first bundle was evaluated at the export."""
    folder = tmp_path_factory.mktemp("inspection")
    inspection.parts(folder / "data", 48)
    model = inspection.network(folder / "net.onnx")
    inspection.bundle(folder / "defect", model, "defect", folder / "data")
    inspection.bundle(folder / "anomaly", inspection.network(folder / "map.onnx", False), "anomaly")
    return folder


def evaluate(capsys: pytest.CaptureFixture[str], *line: str) -> str:
    capsys.readouterr()
    code = app.main(["evaluate", *line, "--threads", "1"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed.out


@pytest.fixture(scope="module")
def exported(root: Path) -> dict[str, Any]:
    return dict(document.read(root / "defect" / "report.json")["decisions"])


def test_the_export_says_everything(exported: dict[str, Any]) -> None:
    assert (exported["images"], exported["labelled"], exported["task"]) == (48, 48, "defect")
    assert 0.8 < exported["ranking"]["int8"]["auroc"]["value"] < 1
    assert exported["ranking"]["float"]["auroc"]["value"] == pytest.approx(
        exported["ranking"]["int8"]["auroc"]["value"], abs=0.02
    )
    escapes = [row["int8"]["escapes"] for row in exported["by_kind"]]
    assert [row["name"] for row in exported["by_kind"]] == ["bright", "dark", "good"]
    assert sum(escapes) == exported["inspection"]["int8"]["escapes"] > 0
    assert exported["confusion"]["said"] == list(inspection.LABELS)
    assert exported["pixels"]["images"] == 48
    assert exported["pixels"]["defective"] == exported["pixels"]["regions"] == 32
    for which in ("float", "int8"):
        assert 0.5 < exported["pixels"][which]["iou"] < exported["pixels"][which]["f1"] < 0.9
        assert exported["pixels"][which]["aupro"] > 0.8
    assert exported["inspection"]["more_escapes"]["low"] < 0 < exported["inspection"]["more_escapes"]["high"]


def test_pixels_are_those_that_the_task_marks(root: Path, exported: dict[str, Any]) -> None:
    """Run by `Model`, the masks of all defective parts beside their label masks."""
    both = either = 0
    with load(root / "defect") as model:
        for path in sorted((root / "data" / "images").rglob("*.png")):
            frame = read_image(path)
            mask = model(frame).decision.mask
            assert mask is not None
            # As large as the picture by repeating pixels: near what interpolating the scores gives, not the same.
            found = cv2.resize(mask, frame.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
            label = root / "data" / "masks" / path.parent.name / path.name
            wanted = read_mask(label, frame.shape[:2]) > 0 if label.is_file() else found & False
            both += int((found & wanted).sum())
            either += int((found | wanted).sum())
    assert exported["pixels"]["int8"]["iou"] == pytest.approx(both / either, abs=0.04)


def test_a_bundle_alone_knows_all_but_floats_pixels(
    root: Path, exported: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(evaluate(capsys, str(root / "defect"), "--data", str(root / "data"), "--json"))
    assert found["pixels"] == exported["pixels"] | {"float": None}
    for name in ("ranking", "by_kind", "by_source", "confusion", "inspection", "pictures"):
        assert found[name] == exported[name], name


def test_a_report_shows_mistakes(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = [str(root / "defect"), "--data", str(root / "data"), "--float", str(root / "net.onnx")]
    text = evaluate(capsys, *line, "-o", str(tmp_path / "page"))
    for part in ("whatever the threshold", "AUROC", "kind by kind", "what parts are called", "AUPRO", "lost by"):
        assert part in " ".join(text.split())
    page = (tmp_path / "page" / "report.html").read_text()
    assert page == page.replace("<script", "")
    shown = page.partition("The worst mistakes")[2].partition("Flipped pictures")[0]
    assert 3 <= shown.count('src="data:image/jpeg;base64,') <= 12
    assert shown.count("<b>escape</b>") == 4
    assert "<b>false reject</b>" in shown
    assert "<b>rejected, wrong pixels</b>" in shown
    assert len(page) < 900_000
    assert "The worst mistakes" in (root / "defect" / "report.html").read_text()


def test_good_only_inspections(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = [str(root / "anomaly"), "--data", str(root / "data"), "--good", "good", "--json"]
    found = json.loads(evaluate(capsys, *line, "--float", str(root / "map.onnx")))
    assert (found["task"], found["confusion"], found["labelled"]) == ("anomaly", None, 48)
    assert found["ranking"]["int8"]["auroc"]["value"] > 0.8
    assert {row["name"] for row in found["by_kind"]} == {"good", "dark", "bright"}
    assert found["pixels"]["float"]["f1"] == pytest.approx(found["pixels"]["int8"]["f1"], abs=0.03)
