"""An artefact is tried in a process of its own before this one loads it.

An engine is native code that believes its file: a damaged or hostile one makes it read where it must not, allocate
without end or never come back, and nothing in Python can catch that. So a child process, with a limit of time and of
memory, loads the artefact first and runs golden frames; only what it survives is loaded here.

A trial that was passed is remembered for this user, this bundle (by the digest of its manifest, which holds those of
all files), these versions and this processor, in ``~/.cache/edgecnn``: the next start costs nothing.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgecnn import __version__, errors, limits
from edgecnn.boundary import boundary, described
from edgecnn.errors import BundleError, EdgecnnError, EngineError
from edgecnn.manifest import EngineEntry
from edgecnn.runtime import processor
from edgecnn.runtime.bundle import Bundle

SWITCH = "EDGECNN_TRIAL"
"""Environment variable: ``off`` loads artefacts untried, where no process can be started."""
PACKAGES = ("ai-edge-litert", "numpy", "onnxruntime", "openvino", "tflite-runtime")
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from edgecnn.runtime import trial
trial.main(sys.argv[2])
"""
_STARTED = "edgecnn: trial"


def survive(bundle: Bundle, entry: EngineEntry, threads: int | None = None) -> None:
    """Try one artefact in a child process, unless it has passed before.

    Args:
        bundle: Opened.
        entry: The artefact.
        threads: Threads for one inference.

    Raises:
        BundleError: If the child crashed, took too long or too much memory.
        EdgecnnError: What the child raised.
    """
    if os.environ.get(SWITCH) == "off" or not sys.executable:
        return
    mark = _mark(bundle, entry)
    if mark is not None and mark.exists():
        return
    _try(bundle, entry, threads)
    if mark is not None:
        with suppress(OSError):
            mark.touch(mode=0o600)


def _try(bundle: Bundle, entry: EngineEntry, threads: int | None) -> None:
    request = json.dumps({"bundle": str(bundle.folder.resolve()), "engine": entry.name, "threads": threads})
    command = [sys.executable, "-c", _START, json.dumps(sys.path), request]
    name, most = entry.files[0], limits.TRIAL_SECONDS.most
    try:
        child = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=most, check=False)
    except subprocess.TimeoutExpired as error:
        raise _refused(name, entry, f"did not come back within {most} s") from error
    except OSError as error:
        raise EngineError(f"{name}: it cannot be tried: no process can be started: {described(error)}.") from error
    if child.returncode < 0:
        raise _refused(name, entry, f"crashed ({_signal_name(-child.returncode)})")
    _pass_on(child, name)


def _refused(name: str, entry: EngineEntry, what: str) -> BundleError:
    return BundleError(
        f"{name}: {entry.name} {what} when it was tried in a process of its own, so it is not loaded: the file is "
        f"damaged or hostile, or the engine does not work on this processor ({processor.here()})."
    )


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _pass_on(child: subprocess.CompletedProcess[str], name: str) -> None:
    """Raise what the child raised; one that did not say that it had come to its end has tried nothing.

    Raises:
        EdgecnnError: That.
    """
    for line in reversed(child.stdout.splitlines()):
        if line.startswith(_STARTED):
            said: dict[str, str] = json.loads(line.removeprefix(_STARTED))
            if said:
                kind: type[EdgecnnError] = getattr(errors, said["kind"], BundleError)
                raise kind(said["message"])
            return
    last = child.stderr.strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
    raise EngineError(f"{name}: it cannot be tried: the process failed: {last[0]:.300}.")


def _mark(bundle: Bundle, entry: EngineEntry) -> Path | None:
    """Return the file whose being there says that the trial was passed; None where nothing can be remembered."""
    folder = _cache_folder()
    if folder is None:
        return None
    content = hashlib.sha256(bundle.manifest.dumps().encode()).hexdigest()
    parts = (__version__, content, entry.name, _versions(), platform.python_version(), _machine())
    return folder / hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _machine() -> list[str]:
    found = processor.here()
    return [found.machine, *sorted(found.flags)]


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _cache_folder() -> Path | None:
    """Return a folder that nobody but this user can write to."""
    with suppress(OSError, RuntimeError):
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgecnn" / "trials"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return folder
    return None


def main(request: str) -> None:
    """Be the child: load the artefact, run golden frames, print what went wrong as JSON, ``{}`` for nothing."""
    said: dict[str, str] = {}
    _limit_memory()
    try:
        with boundary(BundleError, "the artefact cannot be tried"):
            _load_and_run(json.loads(request))
    except EdgecnnError as error:
        said = {"kind": type(error).__name__, "message": str(error)}
    print(f"\n{_STARTED}{json.dumps(said)}", flush=True)
    os._exit(0)  # what an engine does at the end of a process is nothing that is tried here


def _limit_memory() -> None:
    """Bound what the process may write to: address space alone is reserved in plenty by engines."""
    import resource

    most = limits.TRIAL_MEMORY.most
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _load_and_run(wanted: dict[str, Any]) -> None:
    from edgecnn.runtime.model import SELF_TEST_FRAMES, choose_entry, load_entry, run_frames

    with Bundle.open(wanted["bundle"]) as bundle:
        entry = choose_entry(bundle.manifest, wanted["engine"])
        with load_entry(bundle, entry, wanted["threads"], tried=True) as engine:
            run_frames(engine, bundle.golden().frames[:SELF_TEST_FRAMES])
