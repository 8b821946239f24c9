from __future__ import annotations

import contextlib
import json
import signal

import pytest

from edgecnn.cli import console


def test_json_is_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("a note")
    console.emit_json({"b": 1, "a": [1.5, None]})

    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": [1.5, None], "b": 1}
    assert captured.err == "a note\n"


def test_json_holds_no_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        console.emit_json({"snr": float("nan")})


def test_table_shows_values_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("Layers", ("name", ">MACs"), [("[conv1]", 12), ("fc", 3456)])

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "Layers"
    assert lines[1].split() == ["name", "MACs"]
    assert lines[2].split() == ["[conv1]", "12"]
    assert lines[3].endswith("3456")


def test_progress_yields_everything_and_draws_nothing_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(console.progress([3, 1, 2], "reading")) == [3, 1, 2]

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_table_in_a_pipe_is_not_squeezed(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("", ("path", "remark"), [("a" * 90, "b" * 90)])

    assert capsys.readouterr().out.splitlines()[1].split() == ["a" * 90, "b" * 90]


def test_an_interrupt_is_remembered_where_python_drops_it() -> None:
    before = signal.getsignal(signal.SIGINT)
    with console.interrupts() as pressed:
        assert not pressed.is_set()
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert pressed.is_set()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_patient_interrupt_raises_at_the_second_press() -> None:
    with console.interrupts(patient=True) as pressed:
        signal.raise_signal(signal.SIGINT)
        assert pressed.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
