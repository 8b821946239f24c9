from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.affine import dequantise
from edgecnn.integer_graph import IntegerGraph
from edgecnn.manifest import Manifest, OutputContract
from edgecnn.runtime.engines.reference import ReferenceEngine
from edgecnn.runtime.evaluation.labelled import Labelled
from edgecnn.runtime.evaluation.observe import Observer, Picture, read_pictures, run_of
from edgecnn.runtime.evaluation.statistics import sqnr_db
from edgecnn.tensor import QuantParams, TensorSpec
from edgecnn.vision.preprocess import Preprocess
from tests.runtime.conftest import LABELS, tiny_manifest

RNG = np.random.default_rng(0)


def picture(seed: int, label: str | None = None) -> Picture:
    frame = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Picture(
        Labelled(Path(f"{seed}.png"), f"{seed}.png", label), hashlib.sha256(bytes([seed])).hexdigest(), frame
    )


@pytest.fixture(scope="module")
def maps(manifest: Manifest) -> Manifest:
    """A contract of two classes a pixel, 4 x 4."""
    spec = TensorSpec("maps", (1, 4, 4, 2), "uint8", QuantParams.per_tensor(0.1, 128))
    return replace(manifest, task="segment", outputs=(OutputContract(spec, "NHWC", "logits"),), labels=())


def test_decisions_of_both_models_are_written_down(graph: IntegerGraph, manifest: Manifest) -> None:
    run, observer = run_of(ReferenceEngine(graph)), Observer(manifest)
    shots, noises = [picture(seed, "dent") for seed in range(3)], RNG.normal(0, 0.01, (3, 1, 4))
    real = [
        dequantise(run(shot.frame)[0], graph.spec("logits").grid) + noise
        for shot, noise in zip(shots, noises, strict=True)
    ]
    for shot, values in zip(shots, real, strict=True):
        observer.add(shot, run(shot.frame), [values])

    for row, shot, values in zip(observer.rows, shots, real, strict=True):
        powers = np.exp(values[0]) / np.exp(values[0]).sum()
        assert row["float"] == {"decision": LABELS[powers.argmax()], "score": pytest.approx(powers.max(), abs=1e-6)}
        assert row["int8"]["decision"] == LABELS[run(shot.frame)[0].argmax()]
        assert (row["picture"], row["digest"], row["label"]) == (shot.item.name, shot.digest, "dent")
    integers = np.concatenate([dequantise(run(shot.frame)[0], graph.spec("logits").grid) for shot in shots])
    (noise,) = observer.noise
    assert noise["sqnr_db"] == pytest.approx(sqnr_db(np.concatenate(real), integers), abs=1e-3)


def test_verdicts_are_written_down_for_inspections(graph: IntegerGraph) -> None:
    observer = Observer(tiny_manifest(graph, "defect"))
    logits = np.full((1, 4), 128, np.uint8)
    logits[0, 1] = 200  # 'scratch', the label with a threshold, by 3.6 above the others
    observer.add(picture(0), [logits], [np.zeros((1, 4), np.float32)])

    (row,) = observer.rows
    assert row["float"] == {"decision": "PASS", "score": 0.25}
    assert row["int8"]["decision"] == "REJECT"
    assert row["int8"]["score"] == pytest.approx(np.exp(3.6) / (np.exp(3.6) + 3), abs=1e-6)


def test_what_was_recorded_is_recalled_by_the_files_digest(graph: IntegerGraph, manifest: Manifest) -> None:
    run, first = run_of(ReferenceEngine(graph)), Observer(manifest)
    first.add(picture(1), run(picture(1).frame), [np.asarray([[0.0, 0.0, 9.0, 0.0]], np.float32)])
    record = {row["digest"]: row for row in first.rows}
    second = Observer(manifest, record)
    second.add(picture(1), run(picture(1).frame))
    second.add(picture(2), run(picture(2).frame))

    assert second.rows[0] == first.rows[0]
    assert second.rows[0]["float"] == {"decision": "dent", "score": pytest.approx(0.999630, abs=1e-6)}
    assert second.rows[1]["float"] is None
    assert second.noise == []


def test_masks_are_compared_pixel_by_pixel(maps: Manifest) -> None:
    observer, real = Observer(maps), np.zeros((1, 4, 4, 2), np.float32)
    real[0, :2, :, 1] = 1.0  # class 1 in the upper half
    integers = np.full((1, 4, 4, 2), 128, np.uint8)
    integers[0, 0, :, 1] = 140  # class 1 in the first row alone
    observer.add(picture(0), [integers], [real])

    (row,) = observer.rows
    # Class 0: 8 of 12 pixels, class 1: 4 of 8; 12 of 16 pixels are equal.
    assert row["overlap"] == {"iou": pytest.approx((8 / 12 + 4 / 8) / 2), "pixels": 0.75}
    assert row["float"] is not None
    assert row["float"]["decision"] != row["int8"]["decision"]


def test_the_overlap_of_another_mask_is_not_recalled(maps: Manifest) -> None:
    first, real = Observer(maps), np.zeros((1, 4, 4, 2), np.float32)
    integers = np.full((1, 4, 4, 2), 128, np.uint8)
    first.add(picture(0), [integers], [real])
    second = Observer(maps, {row["digest"]: row for row in first.rows})
    second.add(picture(0), [integers])
    integers = integers.copy()
    integers[0, 0, 0, 1] = 200
    second.add(picture(0), [integers])

    assert [row["overlap"] for row in second.rows] == [{"iou": 1.0, "pixels": 1.0}, None]
    assert second.rows[1]["float"] is None


def test_pictures_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 6, 3), np.uint8))
    (tmp_path / "b.png").write_bytes(b"no picture")
    items = [Labelled(tmp_path / name, name, None) for name in ("a.png", "b.png", "c.png")]
    skipped: list[str] = []
    read = list(read_pictures(items, Preprocess((8, 8), 3), skipped))

    assert read[0] is not None
    assert read[0].frame.shape == (8, 8, 3)
    assert read[0].digest == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert read[1:] == [None, None]
    assert [text.partition(":")[0] for text in skipped] == ["b.png", "c.png"]
    assert skipped[0].startswith("b.png: expected a picture")


def test_an_inspections_map_is_no_segmenters_mask(graph: IntegerGraph, tmp_path: Path) -> None:
    """Verdict and score are written down, pixels are counted, and what was recorded of float is recalled by both."""
    spec = TensorSpec("mask", (1, 4, 4, 1), "uint8", QuantParams.per_tensor(0.1, 128))
    maps = replace(
        tiny_manifest(graph, "anomaly"),
        outputs=(OutputContract(spec, "NHWC", "logits"),),
        labels=("good", "anomaly"),
        decoding={"threshold": 0.5},
    )
    wanted, integers = np.zeros((8, 8), np.uint8), np.full((1, 4, 4, 1), 90, np.uint8)
    wanted[:, :4], integers[0, :, :2] = 255, 180
    assert cv2.imwrite(str(tmp_path / "mask.png"), wanted)
    shot = replace(picture(0), size=(8, 8))
    shot = replace(shot, item=replace(shot.item, label="REJECT", mask=tmp_path / "mask.png", kind="cut", source="left"))
    first = Observer(maps)
    first.add(shot, [integers], [np.full((1, 4, 4, 1), -3.0, np.float32)])
    second = Observer(maps, {row["digest"]: row for row in first.rows})
    second.add(shot, [integers])

    (row,) = first.rows
    assert second.rows == [row]
    assert (row["float"], row["overlap"]) == ({"decision": "PASS", "score": pytest.approx(0.047426, abs=1e-6)}, None)
    assert (row["int8"]["decision"], row["int8"]["label"], row["kind"]) == ("REJECT", "anomaly", "cut")
    assert (row["source"], row["iou"]) == ("left", 1.0)
    assert (first.label_masks.section(), first.pixels.section()["float"]["recall"]) == (None, 0.0)
    assert second.pixels.section()["int8"]["f1"] == 1.0
    assert list(first.mistakes) == []
