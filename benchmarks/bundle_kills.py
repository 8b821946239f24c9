"""Kill an export that overwrites its bundle, at random moments: whatever is there afterwards must be a whole bundle.

    python benchmarks/bundle_kills.py --kills 200

Every export is a process of its own, forked from one that has loaded all it needs, and is killed with SIGKILL somewhere
between its start and twice the time that the first one took. Then the bundle is opened: it must be the old one or the
one that was being written. Progress goes to stderr, the result to stdout; exit code 1 if a bundle was lost.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.progress import track

import edgecnn.composer.stages
import edgecnn.runtime.engines.onnxruntime
from edgecnn.cli import app
from edgecnn.errors import EdgecnnError
from edgecnn.runtime.bundle import Bundle
from tests.composer import onnx_files

# Loaded here, so that a copy of this process exports at once.
assert edgecnn.composer.stages
assert edgecnn.runtime.engines.onnxruntime


def export(folder: Path, seed: int) -> int:
    """Export the network over the bundle; the seed of its pictures makes one bundle another."""
    frames = np.random.default_rng(seed).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    np.save(folder / "frames.npy", frames)
    line = ["export", str(folder / "net.onnx"), "-t", "rpi", "--recipe", "fast", "--overwrite"]
    return app.main([*line, "--calibrate", str(folder / "frames.npy"), "-o", str(folder / "out" / "bundle")])


def silent_export(folder: Path, seed: int) -> int:
    """Export in a copy of this process, without a word; return its number."""
    child = os.fork()
    if child == 0:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os._exit(export(folder, seed))
    return child


def whole(path: Path) -> str:
    """Return which bundle is there, by its seal; an error's text where there is none."""
    try:
        with Bundle.open(path) as bundle:
            bundle.golden()
            return bundle.manifest.provenance.calibration_sha256
    except EdgecnnError as error:
        return f"LOST: {error}"


def main() -> int:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    options = parser.parse_args()
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "out").mkdir()
        onnx_files.write(folder / "net.onnx")
        begun = time.monotonic()
        assert os.waitpid(silent_export(folder, 0), 0)[1] == 0
        takes = time.monotonic() - begun
        seen, killed, lost = {whole(folder / "out" / "bundle")}, 0, []
        for seed in track(range(1, options.kills + 1), "killing", disable=not sys.stderr.isatty()):
            child = silent_export(folder, seed)
            time.sleep(chance.uniform(0.0, 2.0 * takes))
            os.kill(child, signal.SIGKILL)
            killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
            state = whole(folder / "out" / "bundle")
            seen.add(state)
            lost += [state] if state.startswith("LOST") else []
        assert os.waitpid(silent_export(folder, 0), 0)[1] == 0
        left = sorted(path.name for path in (folder / "out").iterdir())
    print(f"{killed} of {options.kills} exports killed ({takes:.1f} s each), {len(seen)} different bundles seen")
    print(f"{len(lost)} lost: {lost[:3]}; after one more export the folder holds {', '.join(left)}")
    return int(bool(lost) or left != ["bundle"])


if __name__ == "__main__":
    sys.exit(main())
