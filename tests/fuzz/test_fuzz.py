"""Under a minute of fuzzing in every run of the tests, and that the harness finds what it is there for.

Millions: ``python -m tests.fuzz --inputs 1000000 --jobs 2``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.errors import DataError
from tests.fuzz import __main__ as command
from tests.fuzz import harness
from tests.fuzz.targets import TARGETS, Target

INPUTS = 250
DESK = ("tflite", "onnx-structure", "onnx-import", "safetensors", "pt", "engine-")


def needing(name: str) -> None:
    if name.startswith(DESK):
        pytest.importorskip("torch", reason="needs edgecnn[export]")


@pytest.mark.parametrize("name", TARGETS)
def test_good_inputs_are_read(name: str, tmp_path: Path) -> None:
    """Else everything would be refused, and nothing would be found."""
    needing(name)
    (tmp_path / "seeds").mkdir()
    target = TARGETS[name](tmp_path / "seeds")
    for index, seed in enumerate(target.seeds):
        (tmp_path / str(index)).mkdir()
        target.read(seed, tmp_path / str(index))


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_inputs_end_in_errors_of_edgecnn(name: str) -> None:
    needing(name)
    (*_, found) = harness.run(name, range(INPUTS))
    assert found.done == INPUTS
    assert found.bad == []


@pytest.fixture
def found_at_seven(monkeypatch: pytest.MonkeyPatch) -> Callable[..., harness.Found]:
    def run(act: Callable[[], object], tried: bool = False) -> harness.Found:
        def read(data: bytes, folder: Path) -> None:
            if data == b"7":
                act()
            raise DataError("refused")

        monkeypatch.setitem(TARGETS, "fake", lambda work: Target([b""], read, tried=tried))
        monkeypatch.setattr(harness, "made", lambda name, number, target: str(number).encode())
        (*_, found) = harness.run("fake", range(20))
        assert found.done == 20
        return found

    return run


def endless() -> None:
    while True:
        pass


def test_the_harness_finds_a_raw_traceback(found_at_seven: Callable[..., harness.Found]) -> None:
    found = found_at_seven(lambda: {}["graph"])
    ((number, what),) = found.raw
    assert number == 7
    assert "KeyError" in what
    assert found.bad == found.raw


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_the_harness_finds_a_crash(found_at_seven: Callable[..., harness.Found], number: int) -> None:
    found = found_at_seven(lambda: os.kill(os.getpid(), number))
    assert found.crashes == [(7, f"signal {int(number)}")]
    assert found.bad == found.crashes
    assert found_at_seven(lambda: os.kill(os.getpid(), number), tried=True).tried == 1


def test_the_harness_finds_a_hang(found_at_seven: Callable[..., harness.Found]) -> None:
    assert [number for number, _ in found_at_seven(endless).hangs] == [7]


def test_the_harness_finds_what_eats_memory(found_at_seven: Callable[..., harness.Found]) -> None:
    found = found_at_seven(lambda: len(bytearray(b"x") * (700 << 20)))
    assert [number for number, _ in found.memory] == [7]


def test_the_command_counts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert command.main(["--only", "npy", "--inputs", "30", "--jobs", "2"]) == 0
    assert "30 inputs, 0 crash, 0 hang, 0 memory, 0 raw, 0 caught by a trial" in capsys.readouterr().out
