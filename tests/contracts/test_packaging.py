"""What is said twice must be said alike: version, dependencies, constraints, targets."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import edgecnn
from edgecnn.profile import load_target, targets


@pytest.fixture(scope="module")
def project(project_root: Path) -> dict[str, Any]:
    return tomllib.loads((project_root / "pyproject.toml").read_text())["project"]


def package(requirement: str) -> str:
    """Return the normalised name in a requirement line."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_version_is_the_same_everywhere(project: dict[str, Any], project_root: Path) -> None:
    assert edgecnn.__version__ == project["version"]
    assert f"## {project['version']}" in (project_root / "CHANGELOG.md").read_text()


def test_everything_we_depend_on_is_pinned(project: dict[str, Any], project_root: Path) -> None:
    lines = (project_root / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    wanted = {package(line) for extra in project["optional-dependencies"].values() for line in extra}
    wanted |= {package(line) for line in project["dependencies"]}

    assert [line for line in pins if not re.match(r"^[a-z0-9.-]+==[0-9][0-9.a-z]*(;|$)", line)] == []
    # tflite-runtime is for 32-bit ARM alone; edgecnn names itself in its extras.
    assert wanted - {package(line) for line in pins} == {"edgecnn", "tflite-runtime"}


def test_a_target_asks_for_what_its_extra_brings(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]

    assert {name: list(load_target(name).requirements) for name in targets()} == {
        name: extras[name] for name in targets()
    }


def test_the_device_core_is_light(project: dict[str, Any]) -> None:
    assert [package(line) for line in project["dependencies"]] == ["numpy", "opencv-python-headless", "rich", "typer"]


def test_public_names() -> None:
    settings = ["HealthSettings", "LoopSettings", "PartSettings", "Rules"]
    assert sorted(edgecnn.__all__) == [*settings, "Verdict", "__version__", "errors", "load"]
    assert dir(edgecnn) == sorted(edgecnn.__all__)
    assert [getattr(edgecnn, name).__name__ for name in settings] == settings
