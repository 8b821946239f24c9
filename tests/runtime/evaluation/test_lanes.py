"""Lane bundles beside label masks: figures of both models, sources, the report, and what the command says."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.cli.app import main
from edgecnn.runtime.evaluation.decisions import MODEL, decisions
from edgecnn.runtime.evaluation.labelled import Labelled, find_labelled
from edgecnn.runtime.evaluation.observe import Observer, read_pictures
from edgecnn.runtime.evaluation.section import DecisionsSection
from edgecnn.runtime.model import load
from edgecnn.vision.preprocess import Preprocess
from tests.runtime.lane_bundle import label, lane_manifest, road, write_lane_bundle


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Nine pictures of three sources: six right, two with a false right line, one without any line."""
    folder = tmp_path / "lane"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rows = []
    for number in range(9):
        shift = 5.0 * number - 20
        wanted = ("left",) if number in (3, 4) else () if number == 8 else ("left", "right")
        shown = () if number == 8 else ("left", "right")
        names = {"image": f"images/{number}.png", "mask": f"masks/{number}.png", "source": "abc"[number // 3]}
        assert cv2.imwrite(str(folder / names["image"]), road(shift, shown))
        assert cv2.imwrite(str(folder / names["mask"]), label(shift, wanted))
        rows.append(names)
    with (folder / "labels.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["image", "mask", "source"])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def evaluated(bundle: Path, items: list[Labelled], worse_by: int | None = None) -> DecisionsSection:
    """Evaluate beside a float model that sees what INT8 sees, ``worse_by`` steps fainter; None for no float model."""
    observer, skipped = Observer(lane_manifest()), list[str]()
    with load(bundle) as model:
        for picture in read_pictures(items, Preprocess.for_input(model.manifest.input), skipped):
            assert picture is not None
            integers = model.run(picture.frame[None])
            grid = model.manifest.outputs[0].tensor.grid
            faint = integers[0].astype(np.int64) - 128 - (worse_by or 0)
            observer.add(picture, integers, None if worse_by is None else [faint * grid.scale[0]])
    return decisions(lane_manifest(), "reference", observer.rows, observer.noise, MODEL, lanes=observer.lanes)


def test_a_folder_is_a_source_where_no_table_says_it(tmp_path: Path, data: Path) -> None:
    (data / "labels.csv").unlink()
    for number in range(9):
        for root in ("images", "masks"):
            place = data / root / "abc"[number // 3]
            place.mkdir(exist_ok=True)
            (data / root / f"{number}.png").rename(place / f"{number}.png")
    lanes = evaluated(write_lane_bundle(tmp_path), find_labelled(data), 0)["lanes"]

    assert lanes is not None
    assert [(row["name"], row["images"]) for row in lanes["sources"]] == [("a", 3), ("b", 3), ("c", 3)]


def test_figures_are_those_of_the_pictures(tmp_path: Path, data: Path) -> None:
    found = evaluated(write_lane_bundle(tmp_path), find_labelled(data), 0)
    lanes = found["lanes"]
    assert lanes is not None
    assert lanes["float"] == lanes["int8"]
    assert (lanes["images"], lanes["over"], lanes["tolerance"]) == (9, "pictures", 7.0)
    figures = lanes["int8"]
    assert figures["recall"] > 0.97
    # Of 16 lines two are false.
    assert figures["precision"] == pytest.approx(14 / 16, abs=0.01)
    assert figures["sided_f1"] == pytest.approx(figures["f1"]["value"], abs=1e-9)
    assert figures["f1"]["low"] < figures["f1"]["value"] < figures["f1"]["high"] <= 1.0
    assert figures["kinds"] is not None
    assert figures["kinds"]["value"] == 1.0
    # Eight pictures have a line; two of them a false one of two.
    assert figures["tusimple_fp"] == pytest.approx(2 * 0.5 / 8)
    assert figures["tusimple_fn"] == 0.0
    assert figures["tusimple_accuracy"] is not None
    assert figures["tusimple_accuracy"] > 0.95
    assert [(row["name"], row["images"]) for row in lanes["sources"]] == [("a", 3), ("b", 3), ("c", 3)]
    assert lanes["sources"][1]["int8"]["precision"] == pytest.approx(4 / 6, abs=0.01)
    assert {row["int8"]["decision"] for row in found["pictures"]} == {"left solid, right solid", ""}
    assert "float with" in found["verdict"]
    assert "9 of 9 pictures" in found["verdict"]


def test_a_float_model_that_sees_less_is_worse(tmp_path: Path, data: Path) -> None:
    found = evaluated(write_lane_bundle(tmp_path), find_labelled(data), 90)
    assert found["lanes"] is not None
    assert found["lanes"]["float"] is not None
    assert found["lanes"]["float"]["recall"] == 0.0
    assert "points less" in found["verdict"]
    assert "1 of 9 pictures" in found["verdict"]


def test_without_float_and_with_masks_that_do_not_fit(tmp_path: Path, data: Path) -> None:
    assert cv2.imwrite(str(data / "masks" / "0.png"), np.zeros((5, 5), np.uint8))
    assert cv2.imwrite(str(data / "masks" / "1.png"), np.full((192, 320), 7, np.uint8))
    found = evaluated(write_lane_bundle(tmp_path), find_labelled(data))
    assert found["lanes"] is not None
    assert found["lanes"]["float"] is None
    assert found["lanes"]["images"] == 7
    assert "--float" in found["verdict"]
    assert any("2 label mask(s)" in remark and "0 .. 6" in remark for remark in found["remarks"])


def test_pictures_without_label_masks_say_nothing(tmp_path: Path, data: Path) -> None:
    (data / "labels.csv").unlink()
    for mask in (data / "masks").iterdir():
        mask.unlink()
    found = evaluated(write_lane_bundle(tmp_path), find_labelled(data / "images"))
    assert found["lanes"] is None


def test_the_command_prints_tables_and_writes_the_worst(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("jinja2", reason="needs edgecnn[export]")
    bundle = write_lane_bundle(tmp_path)
    assert main(["evaluate", str(bundle), "--data", str(data), "-o", str(tmp_path / "page")]) == 0
    shown, remarks = capsys.readouterr()
    assert "have no label" not in remarks
    assert "lane markings of 9 pictures" in shown
    assert "source by source" in shown
    report = json.loads((tmp_path / "page" / "report.json").read_text())
    worst = sorted(report["decisions"]["pictures"], key=lambda row: row["f1"])[:2]
    assert {row["picture"] for row in worst} == {"images/3.png", "images/4.png"}
    page = (tmp_path / "page" / "report.html").read_text()
    assert "TuSimple accuracy" in page
    assert page.index("images/3.png", page.index("farthest off")) > 0
    assert page.count("data:image/jpeg") >= 2
