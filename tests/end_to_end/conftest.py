"""A trained network's weights, pictures, and the bundle that ``edgecnn export`` makes of them, once for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from edgecnn.cli import app
from tests.end_to_end import stripes

TARGETS = ("rpi", "intel", "coral")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def network() -> stripes.StripeNet:
    return stripes.trained()


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory, network: stripes.StripeNet) -> Path:
    path = tmp_path_factory.mktemp("weights") / "stripes.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stripes.photos(tmp_path_factory.mktemp("pictures") / "photos")


@pytest.fixture(scope="session")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    path.write_text("\n".join(stripes.LABELS) + "\n")
    return path


@pytest.fixture(scope="session")
def request_line(weights: Path, photos: Path, labels: Path) -> list[str]:
    """Everything on the command line but where to write."""
    arguments = ["export", str(weights), "--arch", f"{stripes.__file__}:build", *stripes.EXPECTS]
    arguments += ["--calibrate", str(photos), "--eval", str(photos), "--labels", str(labels)]
    return arguments + [word for target in TARGETS for word in ("--target", target)]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, request_line: list[str]) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "stripes"
    assert app.main([*request_line, "-o", str(path)]) == 0
    return path
