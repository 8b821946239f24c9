"""Image folders, those that are watched too."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.errors import OptionError, SourceError
from edgecnn.runtime.sources import READ_SECONDS, Frame, NoFrame, Source, _judged, folder
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


def judged_names(address: str, count: int, judged: int | None = None) -> list[str]:
    """Read so many frames of a watched folder, as one run of the loop does."""
    source = opened(address)
    found = names(source, count)
    source.judged(count if judged is None else judged)
    source.close()
    return found


def test_after_a_restart_a_watched_folder_goes_on_where_it_was(tmp_path: Path) -> None:
    address = f"folder:{tmp_path}?watch=1"
    for name in ("a.png", "b.png", "c.png", "d.png"):
        os.utime(picture(tmp_path / name, 10), (1e9, 1e9))

    assert judged_names(address, 2) == ["a.png", "b.png"]
    # Read ahead, and not judged when the process ended: seen again, for nobody has said anything about it.
    assert judged_names(address, 2, judged=1) == ["c.png", "d.png"]
    picture(tmp_path / "b.png", 77)
    assert judged_names(address, 2) == ["d.png", "b.png"]
    assert opened(address).read() == NoFrame()


def test_what_a_power_cut_left_is_judged_again(tmp_path: Path) -> None:
    address = f"folder:{tmp_path}?watch=1"
    for name in ("a.png", "\u00e4 b.png"):
        picture(tmp_path / name, 10)
    assert len(judged_names(address, 2)) == 2
    memory = tmp_path / ".edgecnn-judged"
    memory.write_bytes(memory.read_bytes()[:-4])

    assert judged_names(address, 1) == ["\u00e4 b.png"]
    assert opened(address).read() == NoFrame()


def test_the_memory_does_not_grow_beyond_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_judged, "SPARE_LINES", 3)
    source = opened(f"folder:{tmp_path}?watch=1&memory={tmp_path}/list")
    for number in range(20):
        picture(tmp_path / f"{number}.png", 10)
        assert names(source, 1) == [f"{number}.png"]
        source.judged(number + 1)
        (tmp_path / f"{number - 1}.png").unlink(missing_ok=True)
    source.close()

    assert len((tmp_path / "list").read_text().splitlines()) <= 5
    assert opened(f"folder:{tmp_path}?watch=1&memory={tmp_path}/list").read() == NoFrame()


def test_where_it_is_remembered_what_was_judged(tmp_path: Path) -> None:
    picture(tmp_path / "parts" / "a.png", 10)
    address = f"folder:{tmp_path}/parts?watch=1"

    assert judged_names(f"{address}&memory=off", 1) == ["a.png"]
    assert judged_names(f"{address}&memory={tmp_path}/list", 1) == ["a.png"]
    assert os.listdir(tmp_path / "parts") == ["a.png"]
    first = opened(address)
    with pytest.raises(SourceError, match="another process keeps here"):
        opened(address)
    first.close()
    with pytest.raises(SourceError, match="give memory=FILE another place"):
        opened(f"{address}&memory={tmp_path}/gone/list")
    with pytest.raises(OptionError, match="memory or judged, not both"):
        made(f"{address}&memory=x&judged=delete")
    with pytest.raises(OptionError, match="unknown option"):
        made(f"folder:{tmp_path}?judged=delete")


def test_judged_pictures_can_be_deleted(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / name, 10)
    source = opened(f"folder:{tmp_path}?watch=1&judged=delete")
    assert names(source, 2) == ["a.png", "b.png"]
    picture(tmp_path / "a.png", 77)
    source.judged(2)
    again = next_frame(source)
    source.close()

    # What came under the name since is another picture.
    assert (again.name, again.image.mean()) == ("a.png", 77)
    assert os.listdir(tmp_path) == ["a.png"]


def test_judged_pictures_can_be_moved(tmp_path: Path) -> None:
    target = tmp_path / "done"
    picture(target / "a.png", 5)
    picture(tmp_path / "in" / "a.png", 10)

    assert judged_names(f"folder:{tmp_path}/in?watch=1&judged={target}", 1) == ["a.png"]
    assert os.listdir(tmp_path / "in") == []
    assert sorted(os.listdir(target)) == ["a-1.png", "a.png"]


def test_a_share_that_goes_and_comes_back(tmp_path: Path) -> None:
    share, away = tmp_path / "share", tmp_path / "away"
    for name in ("a.png", "b.png"):
        picture(share / name, 10)
    source = opened(f"folder:{share}?watch=1")
    assert names(source, 1) == ["a.png"]
    share.rename(away)
    with pytest.raises(SourceError, match="gone"):
        source.read()
    source.close()
    with pytest.raises(SourceError, match="no such folder"):
        source.open()
    away.rename(share)
    source.open()
    assert names(source, 1) == ["b.png"]
    # Its place without the share is an empty folder.
    share.rename(away)
    share.mkdir()
    assert source.read() == NoFrame()
    share.rmdir()
    away.rename(share)
    assert source.read() == NoFrame()
    source.close()


def test_folders_that_are_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        made(f"folder:{tmp_path}/gone").open()
    with pytest.raises(SourceError, match=r"no pictures in it.*watch=1"):
        made(f"folder:{tmp_path}").open()
    with pytest.raises(OptionError, match="watch must be one of 0, 1"):
        made(f"folder:{tmp_path}?watch=yes")
    (tmp_path / "parts").mkdir()
    source = opened(f"folder:{tmp_path}/parts?watch=1&memory=off")
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
