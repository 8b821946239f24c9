"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing about the code. A change is judged by the same
# examples every time; `make all-tests` draws new ones, and one that fails becomes a test of its own.
settings.register_profile("new-examples", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same-examples", settings.get_profile("new-examples"), derandomize=True)
settings.load_profile("same-examples")

# Tests run in parallel processes; one thread each keeps timings and memory in bounds. Set before numpy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A child process for every bundle of every test would cost hours; tests of trials, and hostile bundles, set it back.
os.environ["EDGECNN_TRIAL"] = "off"

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def project_root() -> Path:
    """Return the checkout's root."""
    return ROOT


@pytest.fixture(scope="session")
def cases_dir() -> Path:
    """Return the folder of small models that once failed, or skip."""
    folder = Path(os.environ.get("EDGECNN_CASES", ROOT.parent / "shared" / "cases"))
    if not folder.is_dir():
        pytest.skip(f"no models that once failed at {folder}; name their folder in EDGECNN_CASES")
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of test data, or skip. For tests marked ``data``."""
    folder = Path(os.environ.get("EDGECNN_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; name its folder in EDGECNN_DATA")
    return folder
