"""``edgecnn doctor``: what this machine has, what it lacks, and how to get it."""

from __future__ import annotations

import importlib
import platform
import re
import shutil
from collections.abc import Iterable, Sequence
from ctypes.util import find_library
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import typer

from edgecnn.cli import console

if TYPE_CHECKING:
    from edgecnn.profile import TargetProfile
    from edgecnn.runtime.processor import Processor

EXAMPLES = ("edgecnn doctor", "edgecnn doctor --json")

CORE = ("numpy", "opencv-python-headless")
LOOP = {
    "av": ("rtsp", "rtsp:// cameras"),
    "paho-mqtt": ("mqtt", "mqtt: sinks"),
    "pymodbus": ("modbus", "modbus: sinks"),
    "gpiozero": ("gpio", "gpio: sinks"),
    "prometheus-client": ("prometheus", "prometheus: sinks"),
    "starlette": ("serve", "the web page"),
    "uvicorn": ("serve", "the web page"),
}
"""What the camera loop needs for one thing or another: distribution, extra and use."""
DESK = ("torch", "onnx", "onnx-ir", "onnxscript", "flatbuffers", "safetensors", "jinja2")
NO_ENGINE = 6
NO_VNNI = "no VNNI: bundles are exact; of older ones, ONNX Runtime is slow and OpenVINO refuses to run them"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    Attributes:
        group: ``"machine"``, ``"core"``, ``"engine"``, ``"coral"``, ``"camera"``, ``"loop"`` or ``"desk"``.
        name: What was looked for.
        ok: Whether it is there and usable.
        found: Version, path or description; empty if there is none.
        hint: What to do, or what it means; empty if there is nothing to say.
    """

    group: str
    name: str
    ok: bool
    found: str = ""
    hint: str = ""


def command(as_json: console.JsonOption = False) -> None:
    """Check engines, tools and processor of this machine, and say how to get what is missing.

    Exit code 0 if at least one engine is usable, 6 if none is.
    """
    findings = examine()
    usable = [finding.name for finding in findings if finding.group == "engine" and finding.ok]
    if as_json:
        console.emit_json({"engines": usable, "findings": [asdict(finding) for finding in findings]})
    else:
        rows = [(item.group, item.name, "ok" if item.ok else "missing", item.found, item.hint) for item in findings]
        console.table("", ("", "what", "", "found", "remark"), rows)
    if not usable:
        console.note("no engine is usable: install one, for example: pip install 'edgecnn[rpi]'")
        raise typer.Exit(NO_ENGINE)


def examine() -> list[Finding]:
    """Look at this machine. Nothing is changed and torch is not imported."""
    return [
        *_machine(),
        *_packages("core", CORE, "edgecnn"),
        *_engines(),
        *_coral(),
        *_cameras(),
        *_loop(),
        *_packages("desk", DESK, "edgecnn[export]"),
    ]


def _machine() -> list[Finding]:
    from edgecnn.runtime.processor import here

    return [Finding("machine", "python", True, platform.python_version()), processor(here())]


def processor(found: Processor) -> Finding:
    """Say how a processor multiplies 8-bit integers, and which bundles that concerns."""
    if not found.is_x86:
        fast = "dot product" if "asimddp" in found.flags else "no dot product"
        return Finding("machine", "processor", True, f"{found.machine}, {fast}", "bundles are exact, older ones too")
    level = ", ".join(found.vnni) or ("avx2" if "avx2" in found.flags else "no avx2")
    remark = NO_VNNI if found.saturates else "bundles are exact, older ones too"
    if not found.flags:
        level = "unknown"
    return Finding("machine", "processor", True, f"{found.machine}, {level}", remark)


def installed(package: str) -> str:
    """Return the version of an installed distribution, empty if it is not installed. Nothing is imported."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _packages(group: str, names: Iterable[str], requirement: str) -> list[Finding]:
    """Look for distributions without importing them."""
    found = {name: installed(name) for name in names}
    return [
        Finding(group, name, bool(number), number, "" if number else f"pip install '{requirement}'")
        for name, number in found.items()
    ]


def _cameras() -> list[Finding]:
    """List the cameras by the names that stay the same after a reboot."""
    from edgecnn.runtime.sources.camera import devices

    found = devices()
    if not found:
        return [Finding("camera", "V4L2", False, "", "no /dev/video*; only USB and CSI cameras would show here")]
    hint = "name it by its link below /dev/v4l/by-id: numbers change"
    return [Finding("camera", "V4L2", True, device, hint) for device in found]


def _loop() -> list[Finding]:
    """Look for what single sources and sinks need; what nobody uses need not be there."""
    found = {name: installed(name) for name in LOOP}
    return [
        Finding("loop", name, bool(number), number, f"for {LOOP[name][1]}" + _how_to_get(LOOP[name][0], number))
        for name, number in found.items()
    ]


def _how_to_get(extra: str, number: str) -> str:
    return "" if number else f": pip install 'edgecnn[{extra}]'"


def _engines() -> list[Finding]:
    """Look for the engines of all targets, each once."""
    from edgecnn.profile import load_target, targets

    users: dict[str, list[TargetProfile]] = {}
    for name in targets():
        profile = load_target(name)
        users.setdefault(profile.engine, []).append(profile)
    return [
        _engine(engine, [profile.name for profile in profiles], distributions(profiles[0].requirements))
        for engine, profiles in users.items()
    ]


def distributions(requirements: Sequence[str]) -> list[str]:
    """Return the distributions that bring an engine: the names in ``requirements``, numpy left out."""
    names = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in requirements]
    return [name for name in dict.fromkeys(names) if name != "numpy"]


def _engine(engine: str, targets: Sequence[str], packages: Sequence[str]) -> Finding:
    """Import the first installed distribution that brings ``engine``."""
    users = f"for target{'s' * (len(targets) > 1)} {', '.join(targets)}"
    here = next((name for name in packages if installed(name)), None)
    if here is None:
        return Finding("engine", engine, False, "", f"{users}: pip install 'edgecnn[{targets[0]}]'")
    found = f"{here} {installed(here)}"
    problem = trap(here, installed("numpy")) or _import_problem(here.replace("-", "_"))
    return Finding("engine", engine, not problem, found, problem or users)


def trap(package: str, numpy: str) -> str:
    """Return what is wrong with a pair of versions that imports but cannot run, empty if nothing is."""
    if package == "tflite-runtime" and int(numpy.partition(".")[0] or 0) >= 2:
        return f"tflite-runtime needs numpy 1 and numpy {numpy} is installed: pip install 'numpy<2'"
    return ""


def _import_problem(module: str) -> str:
    """Return why ``module`` cannot be imported, empty if it can."""
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        return f"installed, but cannot be imported: {error}"
    return ""


def _coral() -> list[Finding]:
    """Look for the two tools that come from Google's package archive, not from PyPI."""
    compiler = shutil.which("edgetpu_compiler")
    driver = find_library("edgetpu")
    return [
        Finding(
            "coral",
            "edgetpu_compiler",
            compiler is not None,
            compiler or "",
            ""
            if compiler
            else "x86-64 only, not on PyPI; without it the .tflite runs on the CPU (targets/coral/README.md)",
        ),
        Finding(
            "coral",
            "libedgetpu",
            driver is not None,
            driver or "",
            "" if driver else "needed where the stick is plugged in (targets/coral/README.md)",
        ),
    ]
