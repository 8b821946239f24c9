from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.errors import BundleError, OptionError
from edgecnn.runtime.bench import Timing, bench, camera_frame, first_result, peak_memory_mib

MakeBundle = Callable[..., Path]


def test_percentiles_are_milliseconds() -> None:
    timing = Timing.of([index / 1000 for index in range(1, 102)])
    assert timing == Timing(pytest.approx(51), pytest.approx(96), pytest.approx(100), pytest.approx(1))


def test_the_frame_is_720p_and_always_the_same() -> None:
    frame = camera_frame(3)
    assert (frame.shape, frame.dtype.name) == ((720, 1280, 3), "uint8")
    assert (frame == camera_frame(3)).all()
    assert len(set(frame.ravel()[:5000].tolist())) > 50


def test_a_bundle_is_measured(make_bundle: MakeBundle) -> None:
    found = bench(make_bundle(), threads=1, runs=5)
    assert (found.bundle, found.engine, found.threads, found.runs) == ("tiny", "onnxruntime", 1, 5)
    assert found.frame == (720, 1280)
    assert 0 < found.inference.best <= found.inference.median <= found.inference.p95 <= found.inference.p99
    assert found.first_result is not None
    assert found.first_result.milliseconds > found.total.median
    assert found.first_result.peak_mib is not None
    assert 20 < found.first_result.peak_mib < 2000
    assert found.machine["processor"]
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["machine"] == found.machine


def test_a_process_that_fails_gives_no_first_result(tmp_path: Path) -> None:
    assert first_result(tmp_path) is None
    with pytest.raises(BundleError, match=r"manifest.json"):
        bench(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("runs", 0), ("threads", -1)])
def test_numbers_below_one_are_refused(tmp_path: Path, name: str, value: int) -> None:
    with pytest.raises(OptionError, match=f"{name} must be at least 1, got {value}"):
        bench(tmp_path, **{name: value})


def test_peak_memory_is_in_mebibytes() -> None:
    peak = peak_memory_mib()
    assert peak is not None
    assert 10 < peak < 100_000
