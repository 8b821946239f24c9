from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecnn.arrays import write_npz
from edgecnn.errors import BundleError
from edgecnn.runtime.health.features import measure
from edgecnn.runtime.health.gatherer import Gatherer
from edgecnn.runtime.health.reference import FEATURES, Reference
from tests.runtime.health.belt import belt, learnt


@pytest.fixture(scope="module")
def reference() -> Reference:
    return learnt(belt(range(0, 300, 5)))


def test_it_is_read_back_as_it_was(reference: Reference, tmp_path: Path) -> None:
    write_npz(tmp_path / "health.npz", reference.arrays())
    read = Reference.load(tmp_path / "health.npz")
    for name, array in reference.arrays().items():
        assert np.array_equal(read.arrays()[name], array)
        assert read.arrays()[name].dtype == array.dtype
    measured = measure(belt([7])[0])
    assert np.array_equal(read.judge(measured), reference.judge(measured))
    assert (tmp_path / "health.npz").stat().st_size < 20_000


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, learnt(belt(range(40))).arrays())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_no_frames_say_nothing_and_one_is_counted() -> None:
    assert Gatherer().reference() is None
    one = learnt(belt([1]), (48, 64))
    assert (one.count, one.is_enough, one.frames.tolist()) == (1, False, [[48, 48], [64, 64], [1, 1]])


def test_blank_frames_are_counted() -> None:
    frames = belt(range(3)) + [np.full((96, 96, 3), value, np.uint8) for value in (0, 0, 255)]
    found = learnt(frames)
    assert (found.count, found.black, found.saturated) == (6, 2, 1)


def test_limits_hardly_depend_on_the_number_of_frames() -> None:
    rng = np.random.default_rng(0)
    reaches = []
    for count in (30, 100, 1000):
        frames = belt(rng.choice(5000, count, replace=False).tolist())
        found = learnt(frames)
        reaches.append(found.below[FEATURES.index("detail")] + found.above[FEATURES.index("detail")])
    assert max(reaches) < 2 * min(reaches)


def test_one_broken_calibration_frame_does_not_widen_the_limits() -> None:
    frames = belt(range(0, 600, 5))
    clean = learnt(frames)
    spoilt = learnt([*frames, np.full_like(frames[0], 130)])
    index = [FEATURES.index(name) for name in ("detail", "fineness", "brightness")]
    assert (spoilt.below[index] < 1.5 * clean.below[index] + 0.02).all()


def test_memory_is_bounded_however_many_frames_come() -> None:
    gatherer, frame = Gatherer(), np.random.default_rng(0).integers(0, 256, (16, 16, 1), np.uint8)
    for _ in range(5000):
        gatherer.add(frame, (16, 16))
    assert len(gatherer._kept) <= 2048
    assert gatherer.reference().count == 5000


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("mean", np.zeros(255, np.float32), "'mean' must be float32 \\(256,\\), got float32 \\(255,\\)"),
        ("mean", np.zeros(256, np.float64), "'mean' must be float32"),
        ("count", np.array([1, 2]), "'count' must be int64 \\(\\)"),
        ("above", np.full(len(FEATURES), np.nan, np.float32), "'above' must be finite and not negative"),
        ("below", np.full(len(FEATURES), -1, np.float32), "'below' must be finite and not negative"),
        ("movement", np.full((2, 256), np.inf, np.float32), "'movement' must be finite"),
        ("frames", np.zeros((3, 2), np.int64), "'frames' must be the smallest and largest"),
        ("frames", np.array([[9, 8]] * 3), "'frames' must be the smallest and largest"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    reference: Reference, tmp_path: Path, name: str, array: np.ndarray, message: str
) -> None:
    write_npz(tmp_path / "health.npz", reference.arrays() | {name: array})
    with pytest.raises(BundleError, match=f"health.npz: {message}"):
        Reference.load(tmp_path / "health.npz")


def test_a_missing_array_is_named(reference: Reference, tmp_path: Path) -> None:
    arrays = reference.arrays()
    del arrays["variations"]
    write_npz(tmp_path / "health.npz", arrays)
    with pytest.raises(BundleError, match=r"'variations' must be float32 .* got nothing"):
        Reference.load(tmp_path / "health.npz")


def test_pickles_bombs_and_damage_are_refused(reference: Reference, tmp_path: Path) -> None:
    path = tmp_path / "health.npz"
    np.savez(path, **reference.arrays() | {"mean": np.array([{}], object)})
    with pytest.raises(BundleError, match="not a readable"):
        Reference.load(path)
    np.savez_compressed(path, mean=np.zeros(1 << 20, np.float32))
    with pytest.raises(BundleError, match="unpacks to"):
        Reference.load(path)
    write_npz(path, reference.arrays())
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:size])
        with pytest.raises(BundleError, match="not a readable"):
            Reference.load(path)
    path.unlink()
    with pytest.raises(BundleError, match="not a readable"):
        Reference.load(path)
