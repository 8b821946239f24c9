"""The drawn sources: what they show, when, and the camera faults they throw in."""

from __future__ import annotations

import time
from collections import Counter
from itertools import groupby, pairwise

import numpy as np
import pytest

from edgecnn.errors import OptionError, SourceError
from edgecnn.runtime.sources import Frame, Source, _pace
from edgecnn.runtime.sources.conveyor import FAULT_SECONDS, FAULTS
from edgecnn.vision.synthetic.flaws import FLAWS
from tests.clock import Clock
from tests.runtime.sources.addresses import made, next_frame, opened

KINDS = {maker.__name__ for maker in FLAWS}


def read(source: Source, count: int) -> list[Frame]:
    return [next_frame(source) for _ in range(count)]


def test_parts_come_with_gaps_between_them() -> None:
    frames = read(opened("conveyor:?fps=0&size=128x96&defects=0.5&parts=2"), 300)
    seen = [truth for truth, _ in groupby(frame.truth for frame in frames)]

    assert seen[:4] == ["gap", "passing", seen[2], "passing"]
    assert set(seen[2::4]) <= KINDS | {"good"}
    assert "good" in seen
    assert KINDS & set(seen)
    assert [frame.name for frame in frames[:31:15]] == ["part-1", "part-2", "part-3"]
    np.testing.assert_allclose([frame.timestamp for frame in frames], np.arange(300) / 30)


def test_the_same_seed_shows_the_same_and_another_something_else() -> None:
    first, again, other = (read(opened(f"conveyor:?fps=0&size=128x96&seed={seed}"), 20)[-1].image for seed in (5, 5, 6))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_frame_is_like_the_one_before() -> None:
    frames = read(opened("conveyor:?fps=0&size=128x96"), 60)

    assert all(not np.array_equal(one.image, next_.image) for one, next_ in pairwise(frames))


def test_the_share_of_defects() -> None:
    for share, expected in ((0, {"good"}), (1, KINDS)):
        truths = {frame.truth for frame in read(opened(f"conveyor:?fps=0&size=64x64&defects={share}"), 600)}
        assert truths - {"gap", "passing"} <= expected
        assert truths & expected


def test_faults_come_in_turn_and_look_like_what_they_are() -> None:
    source = opened("conveyor:?fps=0&size=128x96&faults=0.5")
    frames: list[Frame] = []
    lost = 0
    for _ in range(int(30 * 7 * FAULT_SECONDS / 0.5)):
        try:
            frames.append(next_frame(source))
        except SourceError:
            lost += 1
            source.close()
            source.open()
    counts = Counter(frame.truth for frame in frames)
    last = {frame.truth: frame.image.astype(float) for frame in frames}
    order = [truth for truth, _ in groupby(frame.truth for frame in frames if frame.truth in FAULTS)]

    assert lost == 1
    assert order[:6] == list(FAULTS[:6])
    assert {counts[kind] for kind in FAULTS[1:6]} == {30 * FAULT_SECONDS}
    assert last["black"].mean() < 3
    assert last["white"].min() == 255
    assert last["noise"].std() > 35
    assert np.abs(np.diff(last["blurred"], axis=1)).mean() < np.abs(np.diff(last["good"], axis=1)).mean() / 2
    frozen = [frame.image for frame in frames if frame.truth == "frozen"]
    assert all(np.array_equal(frozen[0], image) for image in frozen)


def test_named_faults() -> None:
    truths = {frame.truth for frame in read(opened("conveyor:?fps=0&size=64x64&faults=white,noise"), 700)}

    assert truths & set(FAULTS) == {"white", "noise"}


def test_a_lost_camera_stays_away_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(_pace, "time", clock)
    source = opened("conveyor:?fps=200&size=64x64&faults=lost")
    clock.sleep(8.1)  # 8 of 10 seconds are over: now it is lost
    with pytest.raises(SourceError, match="unplugged"):
        source.read()
    source.close()
    with pytest.raises(SourceError, match="comes back by itself"):
        source.open()
    clock.sleep(2.0)
    source.open()
    assert next_frame(source).image.shape == (64, 64, 3)


@pytest.mark.parametrize("kind", ["conveyor", "road"])
def test_frames_come_at_their_rate_and_who_is_late_gets_the_newest(kind: str) -> None:
    begun = time.monotonic()
    source = opened(f"{kind}:?fps=50&size=128x96")
    frames = read(source, 10)
    elapsed = time.monotonic() - begun
    time.sleep(0.5)
    late = next_frame(source)
    source.close()

    assert elapsed >= 9 / 50
    assert late.timestamp - frames[-1].timestamp >= 0.48
    with pytest.raises(SourceError, match="not open"):
        source.read()


def test_a_road_says_how_its_lines_are_drawn() -> None:
    truths = set()
    for seed in range(4):
        frame = next_frame(opened(f"road:?fps=0&size=160x96&seed={seed}"))
        assert frame.image.shape == (96, 160, 3)
        truths.add(frame.truth)

    assert len(truths) >= 2
    assert truths <= {f"{left}/{right}" for left in ("dashed", "solid") for right in ("dashed", "solid")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("conveyor:?faults=blak", "Did you mean 'black'"),
        ("conveyor:?faults=0.9", "faults must be a number in 0 .. 0.5"),
        ("conveyor:?size=32x32", "at least 64"),
        ("conveyor:?defects=2", "defects must be a number in 0 .. 1"),
        ("road:?sped=3", "Did you mean 'speed'"),
        ("road:?size=32x32", "at least 64"),
    ],
)
def test_wrong_options(text: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        made(text)
