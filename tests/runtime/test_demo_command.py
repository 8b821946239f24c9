"""``edgecnn demo``: what it says and what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from edgecnn.cli import watching
from edgecnn.cli.app import main
from edgecnn.runtime.sources import _pace, conveyor, road
from tests.clock import Clock
from tests.runtime.lane_bundle import write_lane_bundle


@pytest.fixture
def drawn_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the seconds of the demo and of what is drawn be the same, and none be missed, as quick as the machine is.

    The drawn cameras wait for who is late, as a file does.
    """
    clock = Clock()
    for module in (_pace, watching):
        monkeypatch.setattr(module, "time", clock)
    for module in (conveyor, road):
        monkeypatch.setattr(module, "LIVE", False)


@pytest.mark.usefixtures("drawn_time")
def test_a_given_bundle(defect_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = "conveyor:?fps=60&parts=4&faults=black&size=160x120"
    line = ["demo", str(defect_bundle), "--headless", "--seconds", "12", "-o", str(tmp_path), "--source", source]

    assert main(line) == 0

    shown = capsys.readouterr()
    assert "camera faults, in frames" in shown.out
    faults = [line for line in shown.out.splitlines() if line.startswith("black")][-1].split()
    assert (faults[1], faults[2]) == ("0", "0")
    # Two of ten seconds, sixty frames each.
    assert faults[3] == "120"
    assert "written:" in shown.err
    assert cv2.VideoCapture(str(tmp_path / "demo.mp4")).read()[0]
    events = [json.loads((folder / "event.json").read_text()) for folder in (tmp_path / "events").glob("*-INVALID")]
    assert events


@pytest.mark.usefixtures("drawn_time")
def test_a_given_bundle_on_a_road(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["demo", str(write_lane_bundle(tmp_path)), "--task", "lane", "--headless", "--seconds", "3"]

    assert main([*line, "-o", str(tmp_path / "made"), "--source", "road:?fps=20&size=160x90"]) == 0

    shown = capsys.readouterr().out
    (row,) = [line.split() for line in shown.splitlines() if line.startswith(("solid/", "dashed/"))]
    assert int(row[1]) > 50
    assert "both found" in shown
    turns = [json.loads(line) for line in (tmp_path / "made" / "verdicts.jsonl").read_text().splitlines()]
    assert turns


def test_a_task_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--task", "lanes", "--headless"]) == 2
    assert "defect, lane" in capsys.readouterr().err


@pytest.mark.slow
def test_the_built_in_model_on_its_conveyor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = "conveyor:?fps=30&defects=0.4&parts=2"
    assert main(["demo", "--headless", "--seconds", "30", "-o", str(tmp_path), "--source", source]) == 0

    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    parts = {row[0]: [int(count) for count in row[1:]] for row in rows if row and row[0] in ("good", "pit", "crack")}
    passed, rejected, invalid = parts["good"]
    assert passed > 10 * (rejected + invalid)
    event = next((tmp_path / "events").glob("*-REJECT"))
    assert main(["replay", str(event), str(tmp_path / "bundle")]) == 0
