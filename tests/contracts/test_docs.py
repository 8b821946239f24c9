"""What the documents say of files, commands and exit codes is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgecnn.cli import console
from edgecnn.cli.app import command_names

ROOT = Path(__file__).parents[2]
FOLDERS = ("", "docs", "targets/*", "calibration", "examples")
PAGES = sorted(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.md".lstrip("/")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:edgecnn|targets|calibration|tests|docs)/[\w./-]+\.(?:py|toml|md))`", page.read_text("utf-8")
    )

    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_readme_lists_every_command_and_no_other() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    assert sorted(re.findall(r"^\| `edgecnn (\w+)` \|", text, re.MULTILINE)) == command_names()


def test_the_readme_lists_every_exit_code() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}

    assert listed == {0, console.EQUIVALENT, console.UNEXPECTED, console.INTERRUPTED, *console.EXIT_CODES.values()}
