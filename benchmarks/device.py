"""What the device half costs: each extra alone in a fresh virtual environment, with one bundle run in it.

    python benchmarks/device.py BUNDLE

Prints the installed size, that torch, onnx and scipy are absent, the time of ``import edgecnn``, and the time from
starting Python to the first result.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

ENGINES = {"rpi": "onnxruntime", "intel": "openvino", "coral": "litert"}
ABSENT = ("torch", "onnx", "onnx_ir", "onnxscript", "scipy", "tensorflow")
PROBE = """
import importlib.util, json, sys
bundle, engine, absent = json.loads(sys.argv[1])
import numpy, edgecnn
with edgecnn.load(bundle, engine=engine, threads=1) as model:
    height, width = model.manifest.input.size
    result = model(numpy.full((height, width, model.manifest.input.channels), 128, numpy.uint8))
    found = [name for name in absent if importlib.util.find_spec(name)]
    loaded = [name for name in absent if name in sys.modules]
    print(json.dumps({"outputs": len(result.outputs), "found": found, "loaded": loaded}))
"""


def run(arguments: list[str], folder: Path) -> tuple[str, float]:
    """Run a process in ``folder``; return its output and its wall-clock seconds."""
    begun = time.perf_counter()
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode:
        raise SystemExit(f"{arguments[:4]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout, time.perf_counter() - begun


def median(arguments: list[str], folder: Path, times: int = 5) -> float:
    """Return the median wall-clock seconds of a process, the first run left out."""
    return statistics.median(run(arguments, folder)[1] for _ in range(times + 1))


def megabytes(folder: Path) -> float:
    """Return the size of a folder in MB."""
    return sum(item.stat().st_size for item in folder.rglob("*") if item.is_file()) / 1e6


def measure(extra: str, bundle: Path, scratch: Path) -> dict[str, Any]:
    """Install one extra alone and run the bundle with its engine."""
    home = scratch / extra
    venv.create(home, with_pip=True)
    python, site = str(home / "bin" / "python"), next((home / "lib").glob("python*/site-packages"))
    before = megabytes(site)
    project = Path(__file__).resolve().parent.parent
    wanted = [python, "-m", "pip", "install", "-q", "-c", str(project / "constraints.txt"), f"{project}[{extra}]"]
    run(wanted, scratch)
    probe = [python, "-c", PROBE, json.dumps([str(bundle), ENGINES[extra], ABSENT])]
    found = json.loads(run(probe, scratch)[0].splitlines()[-1])
    if found["found"] or found["loaded"]:
        raise SystemExit(f"{extra}: these must not be on a device: {found}")
    empty = median([python, "-c", "pass"], scratch)
    return {
        "extra": extra,
        "installed": megabytes(site) - before,
        "import edgecnn": median([python, "-c", "import edgecnn"], scratch) - empty,
        "first result": median(probe, scratch),
    }


def main() -> None:
    """Measure all extras and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="a bundle for rpi, intel and coral")
    parser.add_argument("--extra", action="append", choices=ENGINES)
    arguments = parser.parse_args()
    print(f"{'extra':8}{'installed':>12}{'import edgecnn':>17}{'start to first result':>24}   torch, onnx, scipy")
    with tempfile.TemporaryDirectory(prefix="edgecnn-device-") as scratch:
        for extra in arguments.extra or ENGINES:
            row = measure(extra, arguments.bundle.resolve(), Path(scratch))
            print(
                f"{extra:8}{row['installed']:9.0f} MB{1e3 * row['import edgecnn']:14.0f} ms"
                f"{1e3 * row['first result']:21.0f} ms   absent",
                flush=True,
            )


if __name__ == "__main__":
    main()
