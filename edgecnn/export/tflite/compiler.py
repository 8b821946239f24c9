"""The Edge TPU compiler, where it is installed: x86-64 Linux only, from Coral's Debian archive."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgecnn.errors import ModelError

PROGRAM = "edgetpu_compiler"
ABSENT = (
    f"{PROGRAM} is not on the PATH, so the .tflite stays uncompiled: it runs on a CPU as it is. The compiler is for "
    "x86-64 Linux, from Coral's Debian archive (package edgetpu-compiler)."
)


@dataclass(frozen=True)
class Compilation:
    """What the compiler made of a model.

    Attributes:
        path: The compiled model.
        log: What the compiler printed, its table of mapped operations included.
    """

    path: Path
    log: str


def find_compiler() -> Path | None:
    """Return the compiler's path, None where it is not installed."""
    found = shutil.which(PROGRAM)
    return Path(found) if found else None


def compile_model(model: Path, folder: Path, timeout: float = 300) -> Compilation | None:
    """Compile a full-integer TFLite model for the Edge TPU.

    Args:
        model: The ``.tflite`` file.
        folder: Where the compiled model and the compiler's log go.
        timeout: Seconds after which the compiler is stopped.

    Returns:
        The compiled model, or None where the compiler is not installed (`ABSENT` says so in words).

    Raises:
        ModelError: If the compiler fails, takes too long, or leaves no model.
    """
    program = find_compiler()
    if program is None:
        return None
    arguments = [str(program), "-s", "-o", str(folder), str(model)]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{PROGRAM} took longer than {timeout:g} s on {model.name}; give it more time.") from error
    except OSError as error:
        raise ModelError(f"{program} cannot be run: {error}") from error
    compiled = folder / f"{model.stem}_edgetpu.tflite"
    if done.returncode != 0 or not compiled.is_file():
        raise ModelError(f"{PROGRAM} failed on {model.name} (exit code {done.returncode}):\n{done.stdout}{done.stderr}")
    return Compilation(compiled, done.stdout)
