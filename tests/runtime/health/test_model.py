"""A bundle's reference reaches the model that was loaded from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgecnn.arrays import write_npz
from edgecnn.errors import BundleError
from edgecnn.manifest import Manifest
from edgecnn.runtime.bundle import Content, write_bundle
from edgecnn.runtime.model import load
from tests.runtime.health.belt import belt, learnt


@pytest.fixture
def bundle(tmp_path: Path, manifest: Manifest, files: dict[str, Content]) -> Callable[[Content], Path]:
    """Return a function that writes the tiny bundle with a health file."""

    def write(content: Content) -> Path:
        write_bundle(tmp_path / "tiny", replace(manifest, health="health.npz"), files | {"health.npz": content})
        return tmp_path / "tiny"

    return write


def test_the_model_knows_the_reference(bundle: Callable[[Content], Path], tmp_path: Path) -> None:
    expected = learnt(belt(range(25), size=8))
    write_npz(tmp_path / "health.npz", expected.arrays())
    with load(bundle(tmp_path / "health.npz"), engine="reference") as model:
        assert model.reference is not None
        assert model.reference.count == 25


def test_a_damaged_reference_is_refused(bundle: Callable[[Content], Path]) -> None:
    with pytest.raises(BundleError, match=r"health.npz: not a readable"):
        load(bundle(b"PK nothing"), engine="reference")
