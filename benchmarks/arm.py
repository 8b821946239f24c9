"""Repeat a bundle's proof on an emulated Raspberry Pi 4 (Cortex-A72) and 5 (Cortex-A76): bits, never times.

    sudo apt-get install qemu-user-static
    python benchmarks/arm.py BUNDLE [BUNDLE ...]

Needs Debian with Python 3.11 in its archive. Debian's arm64 packages are unpacked into ``build/arm`` with a private
package state, aarch64 wheels go beside them, and qemu runs the device half there. Nothing of the host changes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
QEMU = "qemu-aarch64-static"
DEBS = (
    *("libc6", "libgcc-s1", "libstdc++6", "libpython3.11-minimal", "libpython3.11-stdlib", "python3.11-minimal"),
    *("zlib1g", "libexpat1", "libffi8", "libssl3", "libbz2-1.0", "liblzma5", "libuuid1", "libsqlite3-0", "libcrypt1"),
)
WHEELS = ("numpy", "onnxruntime", "opencv-python-headless", "ai-edge-litert")
GLIBC = (17, 27, 28, 31, 34, 35, 36)
PI4, PI5 = (
    "fp asimd evtstrm crc32 cpuid",
    ("fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"),
)
# Core: features, variant, part, revision, as /proc/cpuinfo of the board has them; onnxruntime crashes without.
CORES = {"cortex-a72": (PI4, "0x0", "0xd08", "3"), "cortex-a76": (PI5, "0x4", "0xd0b", "1")}
PROBE = """
import sys
import numpy as np
from edgecnn.runtime.bundle import Bundle
from edgecnn.runtime.model import load_entry, run_frames
with Bundle.open(sys.argv[1]) as bundle:
    golden = bundle.golden()
    for entry in bundle.engines:
        if entry.name == "openvino":
            continue
        with load_entry(bundle, entry, 1) as engine:
            got = run_frames(engine, golden.frames)
        off = max(int(np.abs(a.astype(int) - b.astype(int)).max()) for a, b in zip(got, golden.outputs))
        print(f"{bundle.manifest.name}: {entry.name}, {len(golden.frames)} golden frames, largest difference {off} LSB")
"""


def run(*arguments: str | Path, folder: Path = PROJECT) -> None:
    """Run a process; stop at its first failure."""
    subprocess.run([str(item) for item in arguments], cwd=folder, check=True)


def unpack_debs(home: Path) -> None:
    """Download arm64 packages with a package state of our own and unpack them."""
    for name in ("state/lists/partial", "cache/archives/partial", "debs"):
        (home / name).mkdir(parents=True, exist_ok=True)
    options = ["-q", "-oAPT::Architecture=arm64", "-oAPT::Architectures=arm64", "-oDir::State::status=/dev/null"]
    options += [f"-oDir::State={home}/state", f"-oDir::State::Lists={home}/state/lists", f"-oDir::Cache={home}/cache"]
    run("apt-get", *options, "update")
    run("apt-get", *options, "download", *DEBS, folder=home / "debs")
    for deb in (home / "debs").glob("*.deb"):
        run("dpkg-deb", "-x", deb, home / "root")


def install_wheels(home: Path) -> None:
    """Bring the device half's packages for aarch64."""
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in GLIBC] + ["manylinux2014_aarch64"]
    tags = [item for platform in platforms for item in ("--platform", platform)]
    tags += ["--python-version", "3.11", "--implementation", "cp"]
    tags += [item for abi in ("cp311", "abi3", "none") for item in ("--abi", abi)]
    wanted = ["-q", "--target", str(home / "site"), "--only-binary=:all:", "-c", str(PROJECT / "constraints.txt")]
    run(sys.executable, "-m", "pip", "install", *wanted, *tags, *WHEELS)


def root_for(core: str, home: Path) -> Path:
    """Return a root whose /proc/cpuinfo is that of the core's board."""
    root = home / core
    if not root.exists():
        shutil.copytree(home / "root", root, symlinks=True)
        (root / "proc").mkdir(exist_ok=True)
        features, variant, part, revision = CORES[core]
        text = (
            "processor\t: {0}\nBogoMIPS\t: 108.00\nFeatures\t: {1}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
            "CPU variant\t: {2}\nCPU part\t: {3}\nCPU revision\t: {4}\n\n"
        )
        lines = [text.format(index, features, variant, part, revision) for index in range(4)]
        (root / "proc" / "cpuinfo").write_text("".join(lines))
    return root


def main() -> None:
    """Set up once, then run every bundle on both cores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--work", type=Path, default=PROJECT / "build" / "arm")
    arguments = parser.parse_args()
    home = arguments.work.resolve()
    if shutil.which(QEMU) is None:
        raise SystemExit(f"{QEMU} is not installed: apt-get install qemu-user-static")
    if not (home / "site").exists():
        unpack_debs(home)
        install_wheels(home)
    for core in CORES:
        root = root_for(core, home)
        print(core, flush=True)
        for bundle in arguments.bundles:
            python = [root / "usr/bin/python3.11", "-c", PROBE, bundle.resolve()]
            run(QEMU, "-cpu", core, "-L", root, "-E", f"PYTHONPATH={home / 'site'}:{PROJECT}", *python)


if __name__ == "__main__":
    main()
