from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecnn.composer import open_model
from edgecnn.composer.evaluate import evaluate, float_model
from edgecnn.errors import DataError
from edgecnn.integer_graph import Array
from edgecnn.manifest import Manifest, OutputContract
from edgecnn.runtime.evaluation.labelled import Labelled
from edgecnn.runtime.evaluation.observe import Picture, Run
from edgecnn.tensor import QuantParams, TensorSpec
from tests.composer import onnx_files
from tests.runtime.conftest import tiny_graph, tiny_manifest

GRID = QuantParams.per_tensor(1.0, 0)


def contract(*shape: int, task: str = "classify") -> Manifest:
    output = OutputContract(TensorSpec("y", shape, "uint8", GRID), "NHWC" if len(shape) == 4 else "NC", "logits")
    return replace(tiny_manifest(tiny_graph()), task=task, outputs=(output,), labels=())


def pictures(*labels: str | None) -> list[Picture]:
    """Pictures whose first pixel is their number."""
    return [
        Picture(Labelled(Path(f"{index}.png"), f"{index}.png", label), "", np.full((1, 1, 3), index, np.uint8))
        for index, label in enumerate(labels)
    ]


def outputs(values: np.ndarray) -> Run:
    """A model that returns ``values[first pixel]``."""
    return lambda frame: [values[frame[0, 0, 0]][None]]


def one_hot(*classes: int) -> np.ndarray:
    return np.eye(3, dtype=np.uint8)[list(classes)]


def test_numbers_of_an_evaluation() -> None:
    engines = {"a": outputs(one_hot(0, 1, 2, 1)), "b": outputs(one_hot(0, 1, 2, 0))}
    reference = outputs(one_hot(0, 1, 2, 0).astype(np.float32))
    found = evaluate(contract(1, 3), [*pictures("0", "1", "1", None), None], reference, engines)

    accuracy = found.accuracy
    assert accuracy["images"] == 4
    assert accuracy["agreement"] is not None
    assert accuracy["agreement"]["value"] == 0.75
    assert accuracy["agreement"]["low"] < 0.75 < accuracy["agreement"]["high"]
    assert accuracy["top1"] == {"float": pytest.approx(2 / 3), "int8": pytest.approx(2 / 3)}
    first, second = accuracy["per_engine"]
    assert (first["engine"], first["agreement"], first["top1"]) == ("a", 0.75, pytest.approx(2 / 3))
    # Four signals of power 2/3, one difference of power 2: 10 log10(8/3 / 2).
    assert first["sqnr_db"] == pytest.approx(10 * np.log10(4 / 3))
    assert (second["agreement"], second["sqnr_db"]) == (1.0, None)


def test_the_first_engine_stands_for_the_bundle() -> None:
    engines = {"a": outputs(one_hot(0, 2)), "b": outputs(one_hot(0, 1))}
    found = evaluate(contract(1, 3), pictures("0", "1"), outputs(one_hot(0, 1)), engines, ["x"], ["a remark"]).decisions

    assert (found["engine"], found["source"], found["skipped"]) == ("a", "model", ["x"])
    assert found["remarks"][0] == "a remark"
    assert found["paired"] is not None
    assert (found["paired"]["lost"], found["paired"]["gained"]) == (1, 0)
    assert [row["picture"] for row in found["pictures"]] == ["0.png", "1.png"]


def test_without_labels_there_is_no_top1() -> None:
    section = evaluate(contract(1, 3), pictures(None, None), outputs(one_hot(0, 1)), {"a": outputs(one_hot(0, 1))})
    assert section.accuracy["top1"] is None
    assert section.accuracy["per_engine"][0]["top1"] is None


def test_maps_are_compared_pixel_by_pixel() -> None:
    scores = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3)).astype(np.uint8)
    other = scores.copy()
    other[0, 0, :3] = 255 - other[0, 0, :3]
    changed = np.mean(scores.argmax(-1) != other.argmax(-1))
    found = evaluate(
        contract(1, 5, 6, 3, task="segment"),
        pictures(None, None),
        outputs(scores.astype(np.float32)),
        {"a": outputs(other)},
    )
    assert found.accuracy["agreement"] is not None
    assert found.accuracy["agreement"]["value"] == pytest.approx(1 - changed)
    assert found.accuracy["top1"] is None
    assert found.decisions["masks"] is not None


def test_what_decides_nothing_has_noise_alone() -> None:
    found = evaluate(contract(1, 3, task="raw"), pictures("0"), outputs(one_hot(1)), {"a": outputs(one_hot(2))})
    assert (found.accuracy["agreement"], found.accuracy["per_engine"][0]["agreement"]) == (None, None)
    # Signal 2/3, difference 2.
    assert found.accuracy["sqnr_db"] == pytest.approx(10 * np.log10(1 / 3))
    assert "decides nothing" in found.decisions["verdict"]


def test_every_picture_goes_through_everything_once() -> None:
    seen: list[tuple[str, int]] = []

    def model(name: str) -> Run:
        return lambda frame: seen.append((name, int(frame[0, 0, 0]))) or [np.zeros((1, 3), np.uint8)]

    evaluate(contract(1, 3), pictures(None, None), model("float"), {"a": model("a")})
    assert seen == [("float", 0), ("a", 0), ("float", 1), ("a", 1)]


def test_no_picture_is_an_error() -> None:
    with pytest.raises(DataError, match="no picture to evaluate on can be used, the first: x"):
        evaluate(contract(1, 3), [None], outputs(one_hot(0)), {"a": outputs(one_hot(0))}, ["x.jpg: empty"])


def bundle_of(size: int, **provenance: object) -> Manifest:
    """The contract of a bundle made from `onnx_files.write`, for frames of ``size`` x ``size``."""
    manifest = contract(1, onnx_files.CLASSES)
    tensor = replace(manifest.input.tensor, shape=(1, size, size, 3))
    provenance = {"mean": (0.5,), "std": (0.25,), "source_color": "rgb"} | provenance
    return replace(
        manifest,
        input=replace(manifest.input, tensor=tensor),
        provenance=replace(manifest.provenance, **provenance),
    )


def convolved(frame: Array) -> np.ndarray:
    """What `onnx_files.write` gives for a frame, mean and std 0.5 and 0.25, RGB, in plain numpy."""
    picture = np.pad((frame[..., ::-1] / 255 - 0.5).transpose(2, 0, 1) / 0.25, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(picture, (3, 3), (1, 2))
    return np.einsum("cyxij,ocij->o", windows, onnx_files.weight()) / frame[..., 0].size


def test_a_source_model_is_fed_as_the_bundle_says(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    run = float_model(open_model(str(onnx_files.write(tmp_path / "net.onnx"))), bundle_of(16))

    assert run(frame)[0] == pytest.approx(convolved(frame)[None], abs=1e-5)


def test_another_source_model_is_refused(tmp_path: Path) -> None:
    path = str(onnx_files.write(tmp_path / "net.onnx"))
    with pytest.raises(DataError, match=r"takes frames of shape \(1, 16, 16, 3\), the bundle \(1, 8, 8, 3\)"):
        float_model(open_model(path), bundle_of(8))
    with pytest.raises(DataError, match="it is not the bundle's source"):
        float_model(open_model(path), replace(bundle_of(16), outputs=contract(1, 3).outputs))
