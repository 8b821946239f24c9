"""A real bundle that sees pictures in tiles: from the export to the loop and its recordings.

The network says "defective" where the mean of 3 x 3 pixels is above one half, and of what kind by the largest such
mean: what it should say of a picture of any size is known.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgecnn.cli import app
from edgecnn.composer import Request, build, open_model
from edgecnn.errors import DataError, OptionError
from edgecnn.manifest import Resize
from edgecnn.report.document import Report
from edgecnn.runtime.bench import bench
from edgecnn.runtime.loop.loop import LoopSettings
from edgecnn.runtime.loop.parts import PartSettings
from edgecnn.runtime.loop.replay import Recording, replay
from edgecnn.runtime.loop.rules import Rules
from edgecnn.runtime.model import Model, load
from edgecnn.vision.frames import Frames
from edgecnn.vision.results import Verdict

SIDE = 32
TILE = Resize("tile", overlap=8)
LABELS = ("good", "scratch", "stain")
DECODING = {"threshold": 0.5, "pixel_threshold": 0.5, "peak_pixels": 4, "smallest_region": 16.0}
STEEP = 20.0
Export = Callable[..., Path]


def surface(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A dark grey surface with grain, as BGR."""
    return np.random.default_rng(seed).integers(40, 60, (height, width, 3), dtype=np.uint8)


def scratched(height: int, width: int, seed: int = 0) -> np.ndarray:
    """The same with a bright band across most of it, above the lower edge of the first row of tiles."""
    frame = surface(height, width, seed)
    frame[28:36, 10 : width - 10] = 230
    return frame


def write_net(path: Path) -> Path:
    """Write ``image (1, 3, 32, 32) -> mask (1, 1, 16, 16), classes (1, 3)``."""
    kernel = np.full((1, 3, 3, 3), STEEP / 27, np.float32)
    constants = {
        "kernel": kernel,
        "bias": np.array([-STEEP / 2], np.float32),
        "weight": np.array([[0.0], [1.0], [0.5]], np.float32),
        "offset": np.array([0.0, -1.0, -1.0], np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel", "bias"], ["mask"], "conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("MaxPool", ["mask"], ["top"], "pool", kernel_shape=[16, 16]),
        helper.make_node("Flatten", ["top"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "weight", "offset"], ["classes"], "gemm", transB=1),
    ]
    shapes = {"image": (1, 3, SIDE, SIDE), "mask": (1, 1, 16, 16), "classes": (1, 3)}
    ports = {name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, size) for name, size in shapes.items()}
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "net", [ports["image"]], [ports["mask"], ports["classes"]], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def wanted_mask(frame: np.ndarray) -> np.ndarray:
    """What the network should say of a whole picture: means around every second pixel, zero beyond the border."""
    grey = np.pad(frame.astype(np.float64).mean(axis=2) / 255, 1)
    means = sum(
        grey[row : row + frame.shape[0], column : column + frame.shape[1]] for row in range(3) for column in range(3)
    )
    return (means / 9 >= 0.5)[::2, ::2].astype(np.uint8)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_net(tmp_path_factory.mktemp("net") / "net.onnx")


def export(
    net: Path,
    output: Path,
    frames: list[np.ndarray],
    resize: Resize = TILE,
    evaluation: Path | None = None,
    **other: object,
) -> Report:
    source = open_model(str(net))
    told = {"task": "defect", "labels": LABELS, "decoding": DECODING} | other
    expects = replace(source.expects, resize=resize, **told)
    return build(Request(source, expects, ("rpi",), Frames(frames), "fast", evaluation), output)


@pytest.fixture(scope="module")
def bundle(net: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle calibrated on whole pictures."""
    path = tmp_path_factory.mktemp("tiles") / "bundle"
    export(net, path, [make(96, 96, seed) for seed in range(4) for make in (surface, scratched)])
    return path


@pytest.fixture
def model(bundle: Path) -> Model:
    with load(bundle, threads=1) as loaded:
        yield loaded


def test_a_defect_across_many_tiles_is_one_region_in_pixels_of_the_frame(model: Model) -> None:
    frame = scratched(96, 96, 9)
    result = model(frame)
    assert (result.verdict, result.label) == (Verdict.REJECT, "scratch")
    assert np.array_equal(result.decision.mask, wanted_mask(frame))
    (region,) = result.decision.regions
    assert region.box == pytest.approx((10, 28, 86, 36), abs=2)
    assert region.area == pytest.approx(76 * 8, rel=0.15)
    assert result.outputs[0].integers.shape == (1, 48, 48, 1)
    assert result.outputs[1].integers.shape == (25, 3)
    assert model(surface(96, 96, 9)).verdict is Verdict.PASS


def test_only_the_tile_that_sees_a_defect_tells_its_kind(model: Model) -> None:
    frame = surface(130, 70)
    frame[110:122, 50:62] = 255
    result = model(frame)
    (region,) = result.decision.regions
    assert result.label == "scratch"
    assert region.box == pytest.approx((50, 110, 62, 122), abs=2)
    assert np.count_nonzero(result.outputs[1].integers.argmax(axis=1)) < len(result.outputs[1].integers)


def test_frames_smaller_than_a_tile_are_enlarged_and_regions_are_in_their_pixels(model: Model) -> None:
    frame = surface(16, 64)
    frame[4:10, 40:50] = 255
    (region,) = model(frame).decision.regions
    assert region.box == pytest.approx((40, 4, 50, 10), abs=1.5)
    with pytest.raises(DataError, match="would be enlarged more than 4 times"):
        model(frame[:7])


@pytest.mark.parametrize("engine", ["onnxruntime", "reference"])
def test_a_frame_of_one_tile_gives_the_same_integers_as_without_tiles(net: Path, tmp_path: Path, engine: str) -> None:
    frames = [make(SIDE, SIDE, seed) for seed in range(3) for make in (surface, scratched)]
    for name, resize in (("tile", TILE), ("stretch", Resize())):
        export(net, tmp_path / name, frames, resize)
    with load(tmp_path / "tile", engine) as one, load(tmp_path / "stretch", engine) as other:
        for frame in frames:
            left, right = one(frame), other(frame)
            for mine, theirs in zip(left.outputs, right.outputs, strict=True):
                assert np.array_equal(mine.integers, theirs.integers)
            assert left.decision.score == right.decision.score


def test_calibration_takes_tiles_of_all_pictures_and_health_whole_ones(bundle: Path, net: Path, tmp_path: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["provenance"]["calibration_count"] == 64
    with load(bundle) as model:
        assert model.reference is not None
        assert model.reference.count == 8
        assert model.reference.frames.tolist() == [[96, 96], [96, 96], [3, 3]]
    export(net, tmp_path / "b", [surface(SIDE, SIDE, seed) for seed in range(3)])
    with load(tmp_path / "b") as model:
        assert model.reference is None


def test_float_and_int8_are_compared_on_whole_pictures(
    net: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = {f"{make.__name__}{seed}": make(70, 100, seed) for seed in range(2) for make in (surface, scratched)}
    for name, frame in frames.items():
        folder = tmp_path / "images" / ("good" if name.startswith("surface") else "scratch")
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{name}.png"), frame)
    report = export(net, tmp_path / "b", list(frames.values()), evaluation=tmp_path / "images")
    rows = report["decisions"]["pictures"]
    assert [(row["label"], row["float"]["decision"], row["int8"]["decision"]) for row in rows] == [
        ("PASS", "PASS", "PASS"),
        ("PASS", "PASS", "PASS"),
        ("REJECT", "REJECT", "REJECT"),
        ("REJECT", "REJECT", "REJECT"),
    ]
    command = ["evaluate", str(bundle), "--data", str(tmp_path / "images"), "--float", str(net), "--json"]
    assert app.main(command) == 0
    assert [row["int8"]["decision"] for row in json.loads(capsys.readouterr().out)["pictures"]] == ["PASS"] * 2 + [
        "REJECT"
    ] * 2


def watched(
    model: Model, folder: Path, frames: list[np.ndarray], tmp_path: Path, rules: Rules | None = None
) -> list[str]:
    for index, frame in enumerate(frames):
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"{index:02}.png"), frame)
    sinks = [f"recorder:{tmp_path / 'events'}?before=60&after=0", f"jsonl:{tmp_path / 'log.jsonl'}?every=turn"]
    found = model.watch(str(folder), sinks=sinks, settings=LoopSettings(rules=rules or Rules()))
    return [str(observation.verdict and observation.verdict.value) for observation in found]


def test_events_of_pictures_of_many_sizes_are_recorded_and_say_the_same_once_more(model: Model, tmp_path: Path) -> None:
    frames = [surface(96, 96), surface(80, 120), surface(96, 96, 1), scratched(96, 96, 2)]
    assert watched(model, tmp_path / "in", frames, tmp_path) == ["PASS", "PASS", "PASS", "REJECT"]
    (event,) = [path for path in (tmp_path / "events").iterdir() if not path.name.startswith(".")]
    recording = Recording.read(event)
    assert [tensor.shape[:2] for tensor in recording.tensors] == [frame.shape[:2] for frame in frames]
    assert [item.differs for item in replay(model, recording)] == [()] * 4
    assert cv2.imread(str(event / "overlay.jpg")).shape == (96, 96, 3)


def test_replay_refuses_pictures_smaller_than_a_tile(model: Model, tmp_path: Path) -> None:
    watched(model, tmp_path / "in", [scratched(96, 96)], tmp_path)
    (event,) = [path for path in (tmp_path / "events").iterdir() if not path.name.startswith(".")]
    recording = Recording.read(event)
    smaller = replace(recording, tensors=[tensor[:20] for tensor in recording.tensors])
    with pytest.raises(DataError, match="recorded with another bundle"):
        replay(model, smaller)


def test_an_empty_place_of_another_size_makes_pictures_invalid(model: Model, tmp_path: Path) -> None:
    rules = Rules(parts=PartSettings(mode="gap"), empty=np.zeros((96, 100, 3), np.uint8))
    assert watched(model, tmp_path / "in", [surface(96, 96), surface(96, 100)], tmp_path, rules)[0] == "INVALID"


@pytest.mark.parametrize(("margin", "second"), [(0.0, "PASS"), (0.5, "REJECT")])
def test_the_one_threshold_holds_for_sound_parts_too(model: Model, tmp_path: Path, margin: float, second: str) -> None:
    rules = Rules(parts=PartSettings(margin=margin))
    assert watched(model, tmp_path / "in", [scratched(96, 96), surface(96, 96)], tmp_path, rules) == ["REJECT", second]


def test_bench_runs_all_tiles(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecnn.runtime.bench.first_result", lambda *_: None)
    monkeypatch.setattr("edgecnn.runtime.bench.camera_frame", lambda _: surface(64, 80))
    assert bench(bundle, "onnxruntime", threads=1, runs=1).total.median > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--overlap", "40", "--resize", "tile"], "tiles must overlap by 0 to 31 pixels"),
        (["--overlap", "4"], "for --resize tile; got 4 with --resize None"),
        (["--resize", "tile", "--overlap", "4"], "not 'raw'"),
    ],
)
def test_tiles_that_cannot_be_are_refused_before_anything_is_calibrated(
    net: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "frames.npy", np.stack([surface(64, 64, seed) for seed in range(2)]))
    command = ["export", str(net), "-t", "rpi", "--calibrate", str(tmp_path / "frames.npy"), "-o", str(tmp_path / "b")]
    assert app.main([*command, *options]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "b").exists()


def test_labels_must_fit_the_classes_beside_the_map(net: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="has 3 classes, but there are 2 labels"):
        export(net, tmp_path / "b", [surface(64, 64)], labels=("good", "bad"))
