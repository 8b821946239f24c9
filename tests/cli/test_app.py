from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

import edgecnn
from edgecnn import errors
from edgecnn.cli import app, console


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Replace the command ``doctor`` by one that raises what ``failing.error`` holds."""
    import edgecnn.cli.doctor as module

    def command() -> None:
        """Fail."""
        raise module.error

    monkeypatch.setattr(module, "command", command)
    monkeypatch.setattr(module, "error", KeyboardInterrupt(), raising=False)
    return module


def test_help_lists_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--help"]) == 0

    text = capsys.readouterr().out
    assert [name for name in app.command_names() if f" {name} " not in text] == []
    assert "Exit codes" in text


@pytest.mark.parametrize("name", app.command_names())
def test_help_of_every_command_ends_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([name, "--help"]) == 0

    text = capsys.readouterr().out
    assert f"edgecnn {name}" in text.partition("Examples")[2]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--version"]) == 0
    assert capsys.readouterr().out == f"edgecnn {edgecnn.__version__}\n"


@pytest.mark.parametrize("arguments", [["no-such-command"], ["targets", "--no-such-option"], ["targets", "extra"]])
def test_wrong_usage_is_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_near_command_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["docter"]) == 2
    assert "doctor" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.VerificationError("x"), 1),
        (errors.OptionError("x"), 2),
        (errors.ModelError("x"), 3),
        (errors.UnsupportedError([errors.Refusal("LSTM", "n", "r.", "s.")]), 3),
        (errors.DataError("x"), 4),
        (errors.CalibrationError("x"), 4),
        (errors.BundleError("x"), 5),
        (errors.EngineError("x"), 6),
        (errors.MissingEngineError("x"), 6),
    ],
)
def test_an_error_is_one_message_and_its_code(
    error: errors.EdgecnnError, code: int, failing: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    failing.error = error

    assert app.main(["doctor"]) == code
    captured = capsys.readouterr()
    assert captured.err == f"error: {error}\n"
    assert captured.out == ""


def test_ctrl_c_is_130(failing: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["doctor"]) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), MemoryError(), RecursionError("deep"), KeyError("x")])
def test_an_unexpected_error_has_its_own_code_and_is_to_be_reported(
    error: Exception, failing: types.ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code 1 says that a proof failed, and what nobody had thought of has proven nothing."""
    failing.error = error

    assert app.main(["doctor"]) == 70
    shown = capsys.readouterr().err
    assert f"error: {type(error).__name__} in test_app.py, line " in shown
    assert "This is an error of edgecnn" in shown
    assert "issue tracker" in shown
    assert "Traceback" not in shown
    monkeypatch.setenv(console.TRACEBACK, "1")
    assert app.main(["doctor"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_what_a_terminal_would_obey_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\x9bm \udcff good\r"
    console.note(hostile)
    console.say(hostile)
    console.table(hostile, [hostile, f">{hostile}"], [[hostile, hostile]])
    console.fail(errors.BundleError(hostile))
    printed = "".join(capsys.readouterr())
    assert printed.count("good") == 8
    assert not [char for char in printed if not char.isprintable() and char != "\n"]


def test_help_of_every_error_is_documented() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    codes = {console.exit_code(kind.__new__(kind)) for kind in kinds if kind is not errors.EdgecnnError}

    assert [code for code in codes if f" {code} " not in console.EXIT_CODE_HELP] == []


def test_help_in_a_fresh_process_loads_nothing_heavy(project_root: Path) -> None:
    code = (
        "import sys; from edgecnn.cli.app import main; main(['--help']); "
        "heavy = {'torch', 'onnx', 'onnxruntime', 'openvino', 'cv2', 'numpy'} & set(sys.modules); "
        "print(*sorted(heavy), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, check=True)

    assert result.stderr.strip() == ""
