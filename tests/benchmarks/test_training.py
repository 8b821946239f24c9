"""The training benchmark: its folders, how folds are counted together, and its tables; nothing is trained here."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgecnn.train.data import GOOD, Dataset, Sample, read
from tests.waiting import until


@pytest.fixture(autouse=True)
def _importable(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripts' modules be imported as the scripts do."""
    monkeypatch.syspath_prepend(str(project_root / "benchmarks"))


def picture(path: Path, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 10), value, np.uint8))
    return path


def samples(root: Path) -> Iterator[Sample]:
    """Yield twelve pictures; each two of one label show the same part."""
    for index in range(12):
        label, name = (GOOD, "free") if index < 8 else ("crack", "crack")
        image = picture(root / "images" / name / f"{index}.png", index)
        mask = None if label == GOOD else picture(root / "masks" / name / f"{index}.png", 255)
        yield Sample(image, label, mask, cluster=str(index // 2))


@pytest.fixture
def tiles(tmp_path: Path) -> Dataset:
    return Dataset(tuple(samples(tmp_path / "tiles")), (GOOD, "crack"), "image_masks")


def test_pictures_of_one_part_stay_in_one_fold_unless_they_are_parted(tiles: Dataset) -> None:
    import training_cases

    for parts, together in ((training_cases.defects, True), (training_cases.defects_by_image, False)):
        pairs = parts(tiles, 2)
        assert sorted(item.image for _, test in pairs for item in test.samples) == sorted(
            item.image for item in tiles.samples
        )
        part_of = {item.image: index // 2 for index, item in enumerate(tiles.samples)}
        shared = [
            {part_of[item.image] for item in training.samples} & {part_of[item.image] for item in test.samples}
            for training, test in pairs
        ]
        assert any(shared) is not together


def test_good_only_learns_from_good_pictures_and_is_tested_on_all_defects(tiles: Dataset) -> None:
    import training_cases

    [(training, test)] = training_cases.good_only(tiles, 3)
    assert {item.label for item in training.samples} == {GOOD}
    assert test.counts() == {GOOD: 2, "crack": 4}
    assert not {item.image for item in training.samples} & {item.image for item in test.samples}


def test_written_folder_is_read_as_the_one_it_came_from(tiles: Dataset, tmp_path: Path) -> None:
    import training_cases

    root, folder = tmp_path / "tiles", tmp_path / "out" / "train"
    chosen = tiles.with_samples(tiles.samples[6:])
    for _ in range(2):  # A folder that is there is replaced.
        training_cases.write(chosen, root, folder)
    found = read(folder, "defect")
    assert found.counts() == {GOOD: 2, "crack": 4}
    assert [item.image.relative_to(folder) for item in found.samples] == sorted(
        item.image.relative_to(root) for item in chosen.samples
    )
    assert sum(item.mask is not None for item in found.samples) == 4
    assert training_cases.defective_pixels(folder) == 4 * 80
    assert [path.name for path in folder.parent.iterdir()] == ["train"]


def test_folder_of_good_pictures_alone_has_no_sub_folders(tiles: Dataset, tmp_path: Path) -> None:
    import training_cases

    training_cases.write(tiles.with_samples(tiles.samples[:8]), tmp_path / "tiles", tmp_path / "good", flat=True)
    assert sorted(path.name for path in (tmp_path / "good").iterdir()) == [f"{index}.png" for index in range(8)]
    double = Sample(picture(tmp_path / "tiles" / "images" / "other" / "0.png", 1), GOOD)
    with pytest.raises(SystemExit, match="another picture of this name"):
        training_cases.write(
            tiles.with_samples([tiles.samples[0], double]), tmp_path / "tiles", tmp_path / "both", flat=True
        )


def test_table_of_frames_keeps_their_sources(tmp_path: Path) -> None:
    import training_cases
    import training_lanes

    root = tmp_path / "roads"
    pairs = [(picture(root / "images" / f"{name}.png", 9), picture(root / "masks" / f"{name}.png", 2)) for name in "ab"]
    roads = Dataset(
        tuple(Sample(image, None, mask, group=f"video-{image.stem}") for image, mask in pairs), (), "lane_masks"
    )
    (root / "labels.csv").touch()
    training_cases.write(roads, root, tmp_path / "test")
    with (tmp_path / "test" / "labels.csv").open(newline="") as stream:
        assert list(csv.reader(stream))[1:] == [
            ["images/a.png", "masks/a.png", "video-a"],
            ["images/b.png", "masks/b.png", "video-b"],
        ]
    frames = list(training_lanes.frames_of(tmp_path / "test"))
    assert [(name, source, mask.max()) for name, source, _, mask in frames] == [
        ("images/a.png", "video-a", 2),
        ("images/b.png", "video-b", 2),
    ]


def row(label: str, before: float, after: float, kind: str) -> dict[str, Any]:
    found = {
        name: {"decision": "REJECT" if score >= 0.5 else "PASS", "score": score}
        for name, score in (("float", before), ("int8", after))
    }
    return {"label": label, "kind": kind, **found}


def fold(pictures: list[dict[str, Any]], auroc: float) -> dict[str, Any]:
    good = sum(item["label"] == "PASS" for item in pictures)
    point = {"escapes": 1, "false_rejects": 0}
    ranked = {"auroc": {"value": auroc}, "ap": auroc}
    return {
        "pictures": pictures,
        "ranking": {"float": ranked, "int8": ranked},
        "inspection": {"good": good, "defective": len(pictures) - good, "float": point, "int8": point},
    }


def test_auroc_of_all_pictures_is_not_the_mean_over_folds() -> None:
    import training_figures

    # Each fold ranks its own pictures without a mistake; the second one's scores are all lower.
    folds = [
        fold([row("PASS", 0.6, 0.6, "free"), row("REJECT", 0.9, 0.9, "crack")], 1.0),
        fold([row("PASS", 0.1, 0.1, "free"), row("REJECT", 0.3, 0.7, "crack")], 1.0),
    ]
    before, after = (training_figures.inspection(folds, which, [1, 1]) for which in ("float", "int8"))
    assert before["image AUROC, mean"] == 1.0
    assert (before["image AUROC, all"], after["image AUROC, all"]) == (0.75, 1.0)
    assert (before["escapes, share"], before["false rejects, share"]) == (1.0, 0.0)
    assert before["pixel F1, all"] is None
    assert training_figures.wrong_by_kind(folds, "float") == {"crack": (1, 2), "free": (1, 2)}


def test_loss_is_that_of_the_worst_engine_in_points() -> None:
    import training_figures

    assert training_figures.lost("image AUROC, all", 0.98, [0.98, 0.975]) == pytest.approx(0.5)
    assert training_figures.lost("escapes, share", 0.02, [0.02, 0.03]) == pytest.approx(1.0)
    assert training_figures.lost("image AUROC, all", 0.98, [0.99, None]) == pytest.approx(-1.0)
    assert training_figures.lost("image AUROC, all", None, [0.99]) is None


def test_pixel_f1_of_all_folds_counts_pixels() -> None:
    import training_figures

    hits, marked, defective = [30, 5], [40, 50], [60, 10]
    pixels = [{"precision": h / m, "recall": h / d} for h, m, d in zip(hits, marked, defective, strict=True)]
    assert training_figures.pooled_f1(pixels, defective) == pytest.approx(2 * 35 / (90 + 70))
    assert training_figures.pooled_f1([pixels[0], {"precision": None, "recall": 0.0}], defective) is None
    assert training_figures.pooled_f1([pixels[0], None], defective) is None


def test_defects_are_counted_by_the_name_they_are_called() -> None:
    import training_figures

    confusion = {
        "said": ["good", "crack", "fray"],
        "rows": [
            {"kind": "crack", "float": [0, 3, 1], "int8": [1, 2, 1]},
            {"kind": "fray", "float": [0, 0, 2], "int8": [0, 1, 1]},
            {"kind": "free", "float": [9, 1, 0], "int8": [10, 0, 0]},
        ],
    }
    folds = [{"confusion": confusion}, {"confusion": confusion}, {"confusion": None}]
    assert training_figures.by_kind(folds, "int8") == {"crack": (4, 8), "fray": (2, 4)}
    assert training_figures.named_rightly(folds, "float") == pytest.approx(5 / 6)


def test_markings_of_all_folds_are_counted_together() -> None:
    import training_lanes

    def frame(name: str, source: str, right: int) -> dict[str, Any]:
        return {"image": name, "source": source, "float": {"pooled": [10, right, 10, right], "sided": [10, 0, 10, 0]}}

    public = [{"image": "a", "source": "one", "public, all": {"pooled": [20, 5, 10, 5]}}]
    frames = training_lanes.together([frame("a", "one", 10), frame("b", "two", 5), frame("c", "two", 6)], public)
    rows = dict(training_lanes.f1_rows(frames, ["float", "public, all"], "pooled"))
    assert rows["one (1)"] == [1.0, None]  # The public model is not known on all frames.
    assert rows["two (2)"][0] == pytest.approx(0.55)
    assert rows["all sources (3)"][0] == pytest.approx(0.7)
    assert dict(training_lanes.f1_rows(frames[:1], ["public, all"], "pooled"))["one (1)"] == [pytest.approx(1 / 3)]
    assert training_lanes.f1_rows(frames, ["float"], "sided")[-1] == ("all sources (3)", [0.0])


def test_trained_fold_is_kept_and_never_taken_for_another(tmp_path: Path) -> None:
    import training
    import training_cases

    (tmp_path / "trained.safetensors").touch()
    (tmp_path / "train.json").write_text(json.dumps({"options": ["--steps", "4"], "seconds": 7.5}))
    case = training_cases.CASES["defect"]
    assert training.train(case, tmp_path, ["--steps", "4"])["seconds"] == 7.5
    with pytest.raises(SystemExit, match="trained with --steps 4, not --steps 5"):
        training.train(case, tmp_path, ["--steps", "5"])


def test_failed_command_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import training

    monkeypatch.setattr(training, "EDGECNN", (sys.executable, "-c", "import sys; print('why'); sys.exit(sys.argv[1])"))
    with pytest.raises(SystemExit, match=r"(?s)status 1, see .*why\n3 is not here"):
        training.run(["3 is not here"], tmp_path / "log")


def test_interrupt_reaches_the_command_once_and_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import training

    script = """
import pathlib, time
try:
    print("ready", flush=True)
    time.sleep(1000)
except KeyboardInterrupt:
    time.sleep(0.5)
    print("checkpoint", flush=True)
"""
    log = tmp_path / "log"

    def interrupt() -> None:
        until(lambda: log.exists() and "ready" in log.read_text(), "the command")
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(training, "EDGECNN", (sys.executable, "-c", script))
    # Where the tests were started in the background, SIGINT is ignored here and in all that is started.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            training.run([], log)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert log.read_text().split() == ["ready", "checkpoint"]
