from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.affine import dequantise
from edgecnn.arrays import write_npz
from edgecnn.errors import BundleError, DataError, MissingEngineError, OptionError, VerificationError
from edgecnn.runtime.bundle import Golden
from edgecnn.vision.results import Verdict

MakeBundle = Callable[..., Path]


@pytest.mark.parametrize("engine", [None, "reference"])
def test_a_frame_becomes_a_result(make_bundle: MakeBundle, golden: Golden, engine: str | None) -> None:
    with edgecnn.load(make_bundle(), engine=engine, threads=1) as model:
        assert model.engine_name == (engine or "onnxruntime")
        result = model(golden.frames[2])
        assert np.array_equal(result.outputs[0].integers[0], golden.outputs[0][2])
        logits = model.manifest.outputs[0].tensor.grid
        assert np.allclose(result.output("logits").real, dequantise(golden.outputs[0][2:3], logits))
        assert result.label == model.manifest.labels[int(golden.outputs[0][2].argmax())]
        assert result.verdict is None


def test_frames_of_any_size(make_bundle: MakeBundle) -> None:
    frame = np.full((720, 1280, 3), 128, np.uint8)
    with edgecnn.load(make_bundle("tiny.zip")) as model:
        small = model(frame[:8, :8])
        large = model(frame)
        assert np.array_equal(small.outputs[0].integers, large.outputs[0].integers)
        assert model.geometry(frame).to_frame([[8, 8]]).tolist() == [[1280, 720]]
        with pytest.raises(DataError, match="got float32"):
            model(frame.astype(np.float32))


def test_results_are_kept_when_the_next_frame_comes(make_bundle: MakeBundle, golden: Golden) -> None:
    with edgecnn.load(make_bundle()) as model:
        results = [model(frame) for frame in golden.frames]
    got = np.concatenate([result.outputs[0].integers for result in results])
    assert np.array_equal(got, golden.outputs[0])


def test_an_inspection_has_a_verdict(make_bundle: MakeBundle, golden: Golden) -> None:
    with edgecnn.load(make_bundle(task="defect")) as model:
        result = model(golden.frames[0])
        assert result.verdict is Verdict.PASS
        assert result.label == "scratch"
        assert result.score is not None
        assert 0 < result.score < 0.5


def off_by_one(golden: Golden, folder: Path) -> Path:
    """Write golden frames of which one expected integer is one too large."""
    outputs = golden.outputs[0].copy()
    outputs[2, 1] += 1
    write_npz(folder / "golden.npz", Golden(golden.frames, (outputs,)).arrays())
    return folder / "golden.npz"


def test_the_self_test_is_as_strict_as_verify(make_bundle: MakeBundle, golden: Golden, tmp_path: Path) -> None:
    path = make_bundle(golden__npz=off_by_one(golden, tmp_path))
    said = (
        r"the proof FAILED: onnxruntime on this processor \(.*\): "
        r"output 'logits' differs in 1 of 24 integers, by up to 1\. See: edgecnn verify .*/tiny"
    )
    for strict in ({}, {"self_test": "on"}, {"self_test": "exact"}, {"self_test": "decisions"}):
        with pytest.raises(VerificationError, match=said):
            edgecnn.load(path, **strict)
    with edgecnn.load(path, self_test="off") as model:
        assert model.proof == "skipped"
    with pytest.raises(OptionError, match="self_test must be on or off, got 'maybe'"):
        edgecnn.load(path, self_test="maybe")


def test_a_model_says_what_was_proven_of_it(make_bundle: MakeBundle) -> None:
    with edgecnn.load(make_bundle()) as model:
        assert model.proof == "exact"


def test_what_cannot_be_loaded(make_bundle: MakeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_bundle()
    with pytest.raises(BundleError, match="no such bundle"):
        edgecnn.load(tmp_path / "none")
    with pytest.raises(OptionError, match="Did you mean 'onnxruntime'"):
        edgecnn.load(path, engine="onnxruntme")
    with pytest.raises(OptionError, match="unknown task 'clasify'"):
        edgecnn.load(make_bundle("other", task="clasify"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingEngineError, match=r"pip install 'edgecnn\[rpi\]'"):
        edgecnn.load(path)


def test_importing_edgecnn_loads_neither_opencv_nor_numpy_nor_an_engine() -> None:
    code = "import sys, edgecnn; print(sorted({'cv2', 'numpy', 'onnxruntime', 'torch'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_the_public_surface() -> None:
    assert dir(edgecnn) == sorted(edgecnn.__all__)
    assert issubclass(edgecnn.errors.BundleError, edgecnn.errors.EdgecnnError)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        edgecnn.__getattr__("lod")
