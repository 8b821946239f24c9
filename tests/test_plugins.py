from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgecnn import plugins
from edgecnn.errors import OptionError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package ``shop.tools`` whose files explode when they are imported unasked."""
    folder = tmp_path / "shop" / "tools"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "hammer.py").write_text("WEIGHT = 3\n")
    (folder / "saw.py").write_text("raise RuntimeError('imported')\n")
    (folder / "_private.py").write_text("")
    (folder / "two-words.py").write_text("")
    (folder / "drill").mkdir()
    (folder / "drill" / "__init__.py").write_text("")
    (tmp_path / "shop" / "__init__.py").write_text("raise RuntimeError('parent imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "shop.tools"
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def test_discover_finds_files_and_packages_and_imports_nothing(package: str) -> None:
    found = plugins.discover(package)

    assert found == {"drill": "shop.tools.drill", "hammer": "shop.tools.hammer", "saw": "shop.tools.saw"}
    assert list(found) == sorted(found)
    assert not [name for name in sys.modules if name.startswith("shop")]


@pytest.mark.parametrize("missing", ["edgecnn.no_such_package", "no_such_top_level.package"])
def test_discover_of_a_package_that_does_not_exist_is_empty(missing: str) -> None:
    assert plugins.discover(missing) == {}


def test_load_imports_the_file(package: str, tmp_path: Path) -> None:
    (tmp_path / "shop" / "__init__.py").write_text("")

    assert plugins.load(package, "hammer").WEIGHT == 3


def test_load_suggests_near_names(package: str) -> None:
    with pytest.raises(OptionError, match=r"unknown tool 'hamer'\. Did you mean 'hammer'\? Known: drill, hammer, saw"):
        plugins.load(package, "hamer")


@pytest.mark.parametrize("name", ["", "../evil", "os.path", "_private", "__init__", "a b", "1st", "/etc/passwd"])
def test_names_that_reach_outside_are_refused(package: str, name: str) -> None:
    with pytest.raises(OptionError, match="a tool's name is letters"):
        plugins.load(package, name)


def test_data_files_are_found_in_a_checkout() -> None:
    assert {"coral", "intel", "rpi"} <= set(plugins.data_files("targets"))
    assert plugins.data_files("no/such/folder") == {}


def test_data_files_are_found_in_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "site-packages" / "edgecnn" / "_data" / "targets"
    shipped.mkdir(parents=True)
    (shipped / "board.toml").write_text("")
    monkeypatch.setattr(plugins, "__file__", str(tmp_path / "site-packages" / "edgecnn" / "plugins.py"))

    assert plugins.data_files("targets") == {"board": shipped / "board.toml"}
