"""Where an export writes, what is never written over, and what it shows of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.cli import app
from edgecnn.runtime.bundle import Bundle
from tests.composer import onnx_files


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return onnx_files.write(tmp_path / "net.onnx")


def test_an_output_that_is_taken_is_seen_before_any_work(
    model: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecnn.composer import stages

    monkeypatch.setattr(stages, "prepare", lambda request: pytest.fail("work was done before"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for name in ("folder", "file"):
        line = ["export", str(model), "-t", "rpi", "--calibrate", str(photos), "-o", str(tmp_path / name)]
        assert app.main(line) == 5
        assert f"{name} exists already. Give another output, or allow it" in capfd.readouterr().err
    assert (tmp_path / "folder" / "thesis.txt").read_text() == (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("name", ["folder", "file"])
def test_overwrite_never_replaces_what_is_no_bundle(
    model: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    line = ["export", str(model), "-t", "rpi", "--recipe", "fast", "--calibrate", str(photos), "--overwrite"]
    assert app.main([*line, "-o", str(tmp_path / name)]) == 5
    assert "is no bundle and is not overwritten" in capfd.readouterr().err
    assert (tmp_path / "folder" / "thesis.txt").read_text() == (tmp_path / "file").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "net.onnx"]


def test_a_place_that_cannot_be_written(
    model: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("precious")
    for folder in (tmp_path / "file", Path("/proc")):
        line = ["export", str(model), "-t", "rpi", "--recipe", "fast", "--calibrate", str(photos)]
        assert app.main([*line, "-o", str(folder / "bundle")]) == 5
        assert "cannot be written" in (message := capfd.readouterr().err)
        assert "Nothing was left behind" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "net.onnx"]


def test_without_o_the_bundle_is_named_after_model_and_targets(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.txt").write_text("\ufeffa\r\nb\r\nc\r\n\r\nd\r\n")
    line = ["export", str(model), *("-t", "rpi") * 2, "-t", "coral", "--recipe", "fast", "--calibrate", str(photos)]
    assert app.main([*line, "--labels", "labels.txt"]) == 0
    with Bundle.open(tmp_path / "net-rpi-coral") as bundle:
        assert [engine.target for engine in bundle.engines] == ["rpi", "coral"]
        assert bundle.manifest.labels == ("a", "b", "c", "d")
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "net-rpi-coral"
    assert lines[-1] == "Report: net-rpi-coral/report.html"


def test_paths_are_shown_as_they_are(
    model: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / ("a very long name " * 5) / "bundle[/b] [red]"
    line = ["export", str(model), "-t", "rpi", "--recipe", "fast", "--calibrate", str(photos), "-o", str(folder)]
    assert app.main(line) == 0
    lines = capfd.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == (str(folder), f"Report: {folder / 'report.html'}")
