"""Artefacts that crash, hang or eat an engine do it in a child process, and are not loaded."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import edgecnn
from edgecnn import limits
from edgecnn.cli import app
from edgecnn.errors import BundleError, EngineError, MissingEngineError
from edgecnn.runtime import trial

MakeBundle = Callable[..., Path]

# What stands in the child for the engine.
CHILD = """
import os, signal, sys, time, ctypes
sys.path[:] = __import__("json").loads(sys.argv[1])
from edgecnn.runtime import trial
import edgecnn.runtime.model as model
from edgecnn.errors import MissingEngineError
def load_entry(*arguments, **options):
    {act}
model.load_entry = load_entry
trial.main(sys.argv[2])
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(trial.SWITCH)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgecnn" / "trials"


@pytest.fixture
def act(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda code: monkeypatch.setattr(trial, "_START", CHILD.format(act=code))


def test_what_passes_is_loaded_and_remembered(
    make_bundle: MakeBundle, own_cache: Path, act: Callable[[str], None]
) -> None:
    path = make_bundle()
    with edgecnn.load(path) as model:
        assert model.proof == "exact"
    (mark,) = own_cache.iterdir()
    assert mark.stat().st_size == 0
    act("os.kill(os.getpid(), signal.SIGSEGV)")
    edgecnn.load(path).close()  # no second trial
    with pytest.raises(BundleError, match="SIGSEGV"):
        edgecnn.load(make_bundle("defect", task="defect"))


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGKILL])
def test_a_crash_is_an_error_and_not_ours(
    make_bundle: MakeBundle, act: Callable[[str], None], number: signal.Signals, own_cache: Path
) -> None:
    act(f"os.kill(os.getpid(), {int(number)})")
    with pytest.raises(BundleError, match=rf"model\.onnx: onnxruntime crashed \({number.name}\) when it was tried"):
        edgecnn.load(make_bundle())
    assert list(own_cache.iterdir()) == []


def test_a_hang_ends(make_bundle: MakeBundle, act: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    act("time.sleep(3600)")
    monkeypatch.setattr(limits, "TRIAL_SECONDS", replace(limits.TRIAL_SECONDS, most=1))
    with pytest.raises(BundleError, match="did not come back within 1 s"):
        edgecnn.load(make_bundle())


def test_memory_has_an_end(make_bundle: MakeBundle, act: Callable[[str], None]) -> None:
    act("bytearray(3 << 30)")
    with pytest.raises(BundleError, match="it asks for more memory than there is"):
        edgecnn.load(make_bundle())


def test_what_the_child_raises_is_raised_here(make_bundle: MakeBundle, act: Callable[[str], None]) -> None:
    act("raise MissingEngineError('Install it: pip install x')")
    with pytest.raises(MissingEngineError, match=r"^Install it: pip install x$"):
        edgecnn.load(make_bundle())


def test_a_child_that_says_nothing_has_tried_nothing(
    make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    monkeypatch.setattr(trial, "_START", "raise SystemExit('no such interpreter')")
    with pytest.raises(EngineError, match="cannot be tried: the process failed: no such interpreter"):
        edgecnn.load(make_bundle())
    assert list(own_cache.iterdir()) == []


def test_a_cache_that_others_may_write_to_is_not_believed(make_bundle: MakeBundle, own_cache: Path) -> None:
    own_cache.mkdir(parents=True)
    os.chmod(own_cache, 0o777)
    edgecnn.load(make_bundle()).close()
    assert list(own_cache.iterdir()) == []


def test_another_bundle_version_or_processor_is_tried_anew(
    make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecnn.runtime.bundle import Bundle

    with Bundle.open(make_bundle()) as one, Bundle.open(make_bundle("other", "defect")) as other:
        marks = [trial._mark(one, one.engines[0]), trial._mark(other, other.engines[0])]
        monkeypatch.setattr(trial, "_versions", lambda: {"onnxruntime": "99"})
        marks.append(trial._mark(one, one.engines[0]))
        monkeypatch.setattr(trial, "_machine", lambda: ["another"])
        marks.append(trial._mark(one, one.engines[0]))
    assert None not in marks
    assert len(set(marks)) == 4


@pytest.mark.parametrize("name", ["tfl_segv_69", "tfl_hang_2590"])
def test_hostile_artefacts_do_not_reach_the_loop(cases_dir: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = str(cases_dir / "bundles" / f"{name}.zip")
    code = app.main(["run", bundle, "--engine", "litert", "--source", "road:", "--frames", "1"])
    shown = capfd.readouterr().err
    assert "Traceback" not in shown
    # The second is whole, and gives other integers; with other versions of the interpreter it never came back.
    assert (code, "model.tflite: " in shown) == (5, True) if name == "tfl_segv_69" else code in (1, 5)
