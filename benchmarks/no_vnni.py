"""Repeat a bundle's proof on an emulated x86 processor without VNNI (Haswell, AVX2): bits, never times.

    sudo apt-get install qemu-user-static
    python benchmarks/no_vnni.py BUNDLE [BUNDLE ...]

qemu runs the Python that runs this script, with the engines that are installed beside it. 0 LSB is expected of every
engine. qemu knows no AVX-512: it cannot show processors that have that but no VNNI.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
QEMU = "qemu-x86_64-static"
CORE = "Haswell"
PROBE = """
import sys
import numpy as np
from edgecnn.runtime.bundle import Bundle
from edgecnn.runtime.model import load_entry, run_frames

with Bundle.open(sys.argv[1]) as bundle:
    golden = bundle.golden()
    for entry in bundle.engines:
        with load_entry(bundle, entry, 1) as engine:
            got = run_frames(engine, golden.frames)
        off = np.concatenate([(a.astype(int) - b).ravel() for a, b in zip(got, golden.outputs)])
        print(f"{bundle.manifest.name}: {entry.name}: {len(golden.frames)} golden frames, largest difference "
              f"{np.abs(off).max()} LSB, {np.mean(off != 0):.1%} differ", flush=True)
"""


def main() -> None:
    """Run every bundle on the emulated core."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    arguments = parser.parse_args()
    if shutil.which(QEMU) is None:
        raise SystemExit(f"{QEMU} is not installed: apt-get install qemu-user-static")
    for bundle in arguments.bundles:
        command = [QEMU, "-cpu", CORE, "-E", f"PYTHONPATH={PROJECT}", sys.executable, "-c", PROBE]
        command.append(str(bundle.resolve()))
        # qemu complains of every feature of the core that it cannot emulate; only a failure is worth reading.
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        print(done.stdout, end="", flush=True)


if __name__ == "__main__":
    main()
