"""Image folders, those that are watched too."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.errors import OptionError, SourceError
from edgecnn.runtime.sources import READ_SECONDS, Frame, NoFrame, Source, folder
from tests.clock import Clock
from tests.runtime.sources.addresses import made, next_frame, opened, read_until, rest


class Waiting(Clock):
    """A clock that does something whenever somebody sleeps by it."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.meanwhile()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Waiting:
    """The clock that folders go by."""
    clock = Waiting()
    monkeypatch.setattr(folder, "time", clock)
    return clock


def picture(path: Path, level: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 8, 3), level, np.uint8))
    return path


def names(source: Source, count: int) -> list[str]:
    """Read so many frames of a watched folder."""
    return [read_until(source, lambda _: True).name for _ in range(count)]


def test_all_pictures_sorted(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "inner/c.png"):
        picture(tmp_path / name, 10)

    assert [frame.name for frame in rest(opened(str(tmp_path)))] == ["a.png", "b.png", "inner/c.png"]


def test_a_picture_that_cannot_be_read_is_told_and_passed(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 10)
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    picture(tmp_path / "c.png", 30)
    source = opened(f"folder:{tmp_path}")
    first, second, third, end = (source.read() for _ in range(4))

    assert isinstance(first, Frame)
    assert isinstance(second, NoFrame)
    assert "b.jpg: the JPEG is cut off" in second.reason
    assert isinstance(third, Frame)
    assert third.image.mean() == 30
    assert end is None


def test_a_watched_folder_waits_for_more(tmp_path: Path, clock: Waiting) -> None:
    picture(tmp_path / "old.png", 10)
    source = opened(f"folder:{tmp_path}?watch=1")
    assert names(source, 1) == ["old.png"]
    started = clock()
    assert source.read() == NoFrame()
    assert 0 < clock() - started < READ_SECONDS
    # Moved in with a time long ago, as 'mv' and 'cp -p' do.
    moved = picture(tmp_path / ".hidden.png", 20)
    os.utime(moved, (1e9, 1e9))
    moved.rename(tmp_path / "moved.png")
    assert names(source, 1) == ["moved.png"]
    source.close()
    picture(tmp_path / "later.png", 30)
    source.open()
    assert names(source, 1) == ["later.png"]
    picture(tmp_path / "old.png", 77)
    assert read_until(source, lambda _: True).image.mean() == 77


def test_a_file_is_read_when_it_is_complete(tmp_path: Path, clock: Waiting) -> None:
    data = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))[1].tobytes()
    pieces = [data[start : start + len(data) // 9 + 1] for start in range(0, len(data), len(data) // 9 + 1)]
    source = opened(f"folder:{tmp_path}?watch=1")

    def write_slowly() -> None:
        with (tmp_path / "slow.png").open("ab") as file:
            file.write(pieces.pop(0) if pieces else b"")

    clock.meanwhile = write_slowly
    frame = read_until(source, lambda _: True)

    assert pieces == []
    assert frame.image.shape == (40, 40, 3)


def test_what_is_given_is_forgotten_with_the_file(tmp_path: Path) -> None:
    source = opened(f"folder:{tmp_path}?watch=1")
    for number in range(5):
        picture(tmp_path / f"{number}.png", 10)
    assert names(source, 5) == [f"{number}.png" for number in range(5)]
    for number in range(5):
        (tmp_path / f"{number}.png").unlink()
    picture(tmp_path / "new.png", 10)

    assert names(source, 1) == ["new.png"]
    assert list(source._given) == ["new.png"]  # the only way to see that nothing piles up
    assert source._settling.keys() <= {"new.png"}


def test_folders_that_are_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        made(f"folder:{tmp_path}/gone").open()
    with pytest.raises(SourceError, match=r"no pictures in it.*watch=1"):
        made(f"folder:{tmp_path}").open()
    with pytest.raises(OptionError, match="watch must be one of 0, 1"):
        made(f"folder:{tmp_path}?watch=yes")
    (tmp_path / "parts").mkdir()
    source = opened(f"folder:{tmp_path}/parts?watch=1")
    (tmp_path / "parts").rmdir()
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        source.read()


def test_next_frame_after_open(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 10)
    source = opened(f"folder:{tmp_path}")
    next_frame(source)
    source.close()
    with pytest.raises(SourceError, match="not open"):
        source.read()
