"""Which half imports what: read by import-linter, and tried with the forbidden packages blocked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DESK = ("build", "export", "graph", "models", "passes", "quant", "report", "train")
ENGINES = ("ai_edge_litert", "onnxruntime", "openvino", "tflite_runtime")
DESK_PACKAGES = ("flatbuffers", "jinja2", "onnx", "onnx_ir", "onnxscript", "safetensors", "scipy", "tflite", "torch")

# Imports every module of some parts of edgecnn while packages are blocked, then prints what failed to import.
PROBE = """
import importlib, json, pkgutil, sys

parts, blocked = json.loads(sys.argv[1])

class Block:
    def find_spec(self, name, path=None, target=None):
        if any(name == package or name.startswith(package + ".") for package in blocked):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
names, failed = list(parts), {}
for name in names:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        failed[name] = str(error)
        continue
    names += [f"{name}.{entry.name}" for entry in pkgutil.iter_modules(getattr(module, "__path__", ()))]
print(json.dumps({"count": len(names), "failed": failed}))
"""


def probe(root: Path, parts: list[str], blocked: list[str]) -> dict[str, str]:
    """Import ``parts`` and everything below them with ``blocked`` unavailable; return the failures."""
    command = [sys.executable, "-c", PROBE, json.dumps([parts, blocked])]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["count"] >= len(parts)
    return report["failed"]


def kernel(root: Path) -> list[str]:
    """Return the kernel: the modules beside the packages, and the operators."""
    files = (root / "edgecnn").glob("*.py")
    modules = sorted(path.stem for path in files if not path.stem.startswith("_") and path.stem not in DESK)
    return [f"edgecnn.{name}" for name in (*modules, "ops")]


def test_import_contracts(project_root: Path) -> None:
    command = Path(sys.executable).with_name("lint-imports")
    if not command.exists():
        pytest.skip("import-linter is not installed; pip install 'edgecnn[dev]'")
    result = subprocess.run(
        [command, "--no-cache"], cwd=project_root, capture_output=True, text=True, check=False, timeout=120
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_kernel_needs_numpy_alone(project_root: Path) -> None:
    blocked = [*DESK_PACKAGES, *ENGINES, "cv2", "rich", "typer", "edgecnn.runtime", "edgecnn.vision", "edgecnn.cli"]

    assert probe(project_root, kernel(project_root), blocked + [f"edgecnn.{part}" for part in DESK]) == {}


def test_device_half_needs_no_desk_package_and_no_engine_to_be_imported(project_root: Path) -> None:
    blocked = [*DESK_PACKAGES, *ENGINES, "rich", "typer", *(f"edgecnn.{part}" for part in DESK)]

    assert probe(project_root, ["edgecnn.vision", "edgecnn.runtime"], blocked) == {}


def test_command_line_needs_neither_the_desk_half_nor_an_engine_to_be_imported(project_root: Path) -> None:
    blocked = [*DESK_PACKAGES, *ENGINES, "cv2", *(f"edgecnn.{part}" for part in DESK)]

    assert probe(project_root, ["edgecnn.cli"], blocked) == {}


def test_a_blocked_package_is_noticed(project_root: Path) -> None:
    assert probe(project_root, ["edgecnn.affine"], ["numpy"]).keys() == {"edgecnn.affine"}


def test_import_edgecnn_loads_nothing_heavy(project_root: Path) -> None:
    code = "import sys, edgecnn; print(*sorted({'numpy', 'cv2', 'torch', 'onnx'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, check=True)

    assert result.stdout.strip() == ""
