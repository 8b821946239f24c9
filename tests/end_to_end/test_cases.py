"""Small models that once ended in a traceback, a refusal or a wrong decision; where their folder is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgecnn
from edgecnn.cli import app

EXPORTED = (
    "ct_bias_groups",
    "nhwc_input_tf",
    "nhwc_out_nchw_in",
    "scalar_div_rank3",
    "sigmoid_squeeze",
    "unet_sigmoid_deconv",
    "weightonly_dq",
)
REFUSED = {
    "bn_neg_var": "is not in 1 of 8 channels",
    "onnx_double_shape": "tensor 'w1' cannot be read",
    "out_const": "'kk' do not depend on the model's input",
    "onnx_func_bomb": "that a graph may have",
    "onnx_const_bomb": "that a computed constant may have",
}
FRAMES = np.random.default_rng(7).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frames") / "frames.npy"
    np.save(path, FRAMES)
    return path


def export(cases_dir: Path, name: str, frames: Path, output: Path) -> int:
    line = ["export", str(cases_dir / f"{name}.onnx"), "--target", "coral", "--recipe", "fast"]
    return app.main([*line, "--calibrate", str(frames), "--mean", "0", "--std", "1", "-o", str(output)])


def float_values(path: Path, frame: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path)
    (taken,) = session.get_inputs()
    picture = (frame[None, ..., ::-1] / 255).astype(np.float32)
    feed = picture if taken.shape[3] == 3 else picture.transpose(0, 3, 1, 2)
    return np.asarray(session.run(None, {taken.name: feed})[0])


@pytest.mark.parametrize("name", EXPORTED)
def test_it_exports_verifies_and_gives_the_values_of_float(
    name: str, cases_dir: Path, frames: Path, tmp_path: Path
) -> None:
    assert export(cases_dir, name, frames, tmp_path / "bundle") == 0
    assert app.main(["verify", str(tmp_path / "bundle"), "--engine", "litert"]) == 0
    wanted = float_values(cases_dir / f"{name}.onnx", FRAMES[0])
    with edgecnn.load(tmp_path / "bundle", self_test="off") as model:
        result = model(FRAMES[0])
    (output,) = result.outputs
    if output.real.shape != wanted.shape:
        wanted = wanted.transpose(0, 2, 3, 1)
    assert np.abs(output.real - wanted).max() <= 0.04 * np.abs(wanted).max()
    if name == "unet_sigmoid_deconv":
        assert (result.decision.mask == (wanted[0, :, :, 0] > 0.5)).mean() > 0.99
    if name == "sigmoid_squeeze":
        assert result.decision.score == pytest.approx(wanted.max(), abs=0.01)


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_a_reason(
    name: str, cases_dir: Path, frames: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert export(cases_dir, name, frames, tmp_path / "bundle") == 3
    said = capfd.readouterr().err
    assert REFUSED[name] in said
    assert "Traceback" not in said
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("bundles/golden_minus.zip", "golden.npz: not a readable .npz"),
        ("bundles/graph_bad_op.zip", "there is no operator 'Evil'"),
        ("bundles/man_crop_1e-9.zip", "'input.resize.crop_ratio' must be in 0.01 .. 1"),
        ("bundles/man_scale_1e400.zip", "int too large to convert to float"),
        ("bomb_bz2.zip", "'requirements.txt' must be stored or deflated"),
        ("empty_name.zip", "'' is no plain relative path inside the bundle"),
    ],
)
@pytest.mark.parametrize("command", ["verify", "run"])
def test_hostile_bundles_are_refused(
    cases_dir: Path, name: str, says: str, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    line = [command, str(cases_dir / name)]
    assert app.main([*line, "--source", "road:", "--frames", "1"] if command == "run" else line) == 5
    shown = capfd.readouterr().err
    assert says in shown
    assert "Traceback" not in shown
