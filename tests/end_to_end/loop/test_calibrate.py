"""``edgecnn calibrate``: a bundle learns on site what its camera's pictures look like."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgecnn
from edgecnn.cli import app
from edgecnn.runtime.bundle import Bundle
from edgecnn.runtime.sources.conveyor import ConveyorSource
from tests.end_to_end.loop.watch import write_tiny

BELT = "conveyor:?fps=0&size=128x96&parts=20"


def digests(path: Path) -> dict[str, str]:
    with Bundle.open(path) as bundle:
        return {name: entry.sha256 for name, entry in bundle.manifest.files.items()}


def test_a_bundle_learns_and_nothing_else_in_it_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tiny(tmp_path)
    before = digests(path)
    with edgecnn.load(path) as model, model.watch(BELT) as loop:
        assert "edgecnn calibrate" in loop.remarks[0]

    assert app.main(["calibrate", str(path), "--source", BELT, "--frames", "60", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["frames"], set(told["finds"])) == (60, {"blur", "noise", "dark", "bright", "movement"})
    after = digests(path)
    assert {name: digest for name, digest in after.items() if name != "health.npz"} == before

    assert app.main(["verify", str(path)]) == 0
    with edgecnn.load(path) as model, model.watch(BELT) as loop:
        assert model.reference is not None
        assert any("found within a second" in remark or "NOT found" in remark for remark in loop.remarks)


def test_it_may_go_into_another_bundle_a_zip_too(tmp_path: Path) -> None:
    path, other = write_tiny(tmp_path), tmp_path / "line3.zip"
    before = {item.name: hashlib.sha256(item.read_bytes()).hexdigest() for item in path.iterdir()}
    assert app.main(["calibrate", str(path), "--source", BELT, "--frames", "30", "-o", str(other)]) == 0
    assert {item.name: hashlib.sha256(item.read_bytes()).hexdigest() for item in path.iterdir()} == before
    with edgecnn.load(other) as model:
        assert model.reference is not None
        assert model.reference.count == 30


def test_with_the_empty_place_only_parts_in_full_view_count(tmp_path: Path) -> None:
    path, size = write_tiny(tmp_path), (128, 96)
    empty = ConveyorSource(size)
    cv2.imwrite(str(tmp_path / "belt.png"), empty.empty)
    source = "conveyor:?fps=0&size=128x96&parts=2"
    options = ["--empty", str(tmp_path / "belt.png"), "--fill", "0.98", "--frames", "40"]
    assert app.main(["calibrate", str(path), "--source", source, *options]) == 0
    with edgecnn.load(path) as model:
        assert model.reference is not None
        # The belt is darker than any part.
        assert np.exp(model.reference.middle[0] - model.reference.below[0]) > 40


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--source", "PHOTOS"], 4, "gave 5 frames, at least 20 are needed"),
        (["--source", BELT, "--fixed", "1,2,3"], 2, "left,top,width,height"),
        (["--source", BELT, "--fixed", "100,0,64,20"], 4, "does not lie in frames of 128 x 96"),
        (["--source", "camera9:"], 2, "camera9"),
    ],
)
def test_what_cannot_be_learnt_is_said_and_the_bundle_stays(
    options: list[str], code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, photos = write_tiny(tmp_path), tmp_path / "photos"
    photos.mkdir()
    for number in range(5):
        cv2.imwrite(str(photos / f"{number}.png"), np.full((96, 128, 3), 40 * number, np.uint8))
    before = digests(path)
    options = [option.replace("PHOTOS", str(photos)) for option in options]
    assert app.main(["calibrate", str(path), "--frames", "30", *options]) == code
    assert says in capsys.readouterr().err.replace("\n", " ")
    assert digests(path) == before
