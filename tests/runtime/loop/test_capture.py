from __future__ import annotations

import itertools

import pytest

from edgecnn.errors import MissingSourceError, SourceError
from edgecnn.runtime.loop.capture import STUCK_SECONDS, Capture, Shot
from edgecnn.runtime.sources import NoFrame
from tests.clock import Clock
from tests.runtime.loop.fakes import Hanging, ScriptedSource, frames, loop_threads, lost, pause
from tests.waiting import PATIENCE, until


def drained(capture: Capture) -> list[Shot]:
    """Take everything until the source's end."""
    shots = []
    while True:
        ended = capture.ended
        found = capture.take(PATIENCE)
        if found is not None:
            shots.append(found[0])
        elif ended:
            return shots


def test_every_frame_of_a_file_in_order() -> None:
    with Capture(lambda: ScriptedSource(frames(50), live=False), live=False, newest_only=False) as capture:
        shots = drained(capture)

    assert [shot.frame.name for shot in shots if shot.frame] == [str(number) for number in range(50)]
    assert [left.captured <= right.captured for left, right in itertools.pairwise(shots)] == [True] * 49
    assert capture.state().frames == 50
    assert loop_threads() == []


def test_a_lost_live_source_is_opened_again_and_counted() -> None:
    source = ScriptedSource([*frames(1), lost("rtsp://joe:secret@cam was lost"), *frames(2), pause(0.2), *frames(3)])
    with Capture(lambda: source, live=True, newest_only=False) as capture:
        until(lambda: capture.take(0.01) is not None and capture.state().connects == 2, "connected again")
        error = capture.state().error

    assert error == "rtsp://***@cam was lost"
    assert source.opened == 2
    assert source.closed >= 2


def test_what_a_driver_raises_does_not_end_the_thread() -> None:
    source = ScriptedSource([RuntimeError("driver bug"), *frames(1), pause(0.5)])
    with Capture(lambda: source, live=True, newest_only=True) as capture:
        until(lambda: capture.take(0.1) is not None, "a frame after the error")
        assert capture.state().error == "RuntimeError: driver bug"


def test_a_source_that_is_not_live_fails_once() -> None:
    with Capture(lambda: ScriptedSource([*frames(1), lost("cut off")], live=False), False, False) as capture:
        assert capture.take(PATIENCE)
        with pytest.raises(SourceError, match=r"^cut off$"):
            drained(capture)


def test_what_ends_a_run_tells_no_secret() -> None:
    source = ScriptedSource([lost("webhook://joe:s3cr3t@cam?psw=s3cr3t: cut off")], live=False)
    with Capture(lambda: source, False, False) as capture, pytest.raises(SourceError) as raised:
        drained(capture)

    assert str(raised.value) == "webhook://***@cam?psw=***: cut off"


def test_a_missing_package_is_not_waited_for() -> None:
    class Lacking(ScriptedSource):
        def open(self) -> None:
            super().open()
            raise MissingSourceError("RTSP needs a package: pip install 'edgecnn[rtsp]'")

    source = Lacking([])
    with (
        Capture(lambda: source, live=True, newest_only=True) as capture,
        pytest.raises(MissingSourceError, match="pip install"),
    ):
        until(lambda: capture.take(0.05) is not None, "never")
    assert source.opened == 1


def test_what_cannot_be_read_is_handed_over_as_that() -> None:
    script = [*frames(1), NoFrame("b.png: damaged"), NoFrame(), *frames(1)]
    with Capture(lambda: ScriptedSource(script, live=False), False, False) as capture:
        shots = drained(capture)

    assert [(shot.frame is None, shot.error) for shot in shots] == [(False, ""), (True, "b.png: damaged"), (False, "")]


def test_a_read_that_hangs_is_left_behind() -> None:
    clock, hanging = Clock(), Hanging()
    made: list[ScriptedSource] = []

    def make() -> ScriptedSource:
        made.append(ScriptedSource([hanging] if not made else [*frames(1), *(pause(0.05) for _ in range(10000))]))
        return made[-1]

    with Capture(make, live=True, newest_only=True, clock=clock) as capture:
        until(lambda: hanging.count == 1, "the read")
        clock.sleep(STUCK_SECONDS)
        assert (capture.take(0.0), capture.state().stuck) == (None, 0)
        clock.sleep(0.1)
        until(lambda: capture.take(0.05) is not None, "a frame from the second source")
        assert capture.state().stuck == 1
        hanging.released.set()
        until(lambda: made[0].closed == 1, "the hanging source is closed when it returns")
    assert len(made) == 2
    assert loop_threads() == []


def test_a_source_that_always_hangs_ends_the_process() -> None:
    clock, hanging = Clock(), Hanging()
    with Capture(lambda: ScriptedSource([hanging]), live=True, newest_only=True, clock=clock) as capture:
        for abandoned in range(4):
            until(lambda so_far=abandoned: hanging.count == so_far + 1, "one more read")
            assert (capture.take(0.0), capture.state().stuck) == (None, abandoned)
            clock.sleep(STUCK_SECONDS + 0.1)
            if abandoned < 3:
                assert capture.take(0.0) is None
        with pytest.raises(SourceError, match=r"4 reads never returned. Restart the process"):
            capture.take(0.0)
        hanging.released.set()
    until(lambda: loop_threads() == [], "the threads end when their reads return")


def test_pauses_grow_to_their_cap() -> None:
    with Capture(lambda: ScriptedSource([pause(0.3)] * 3), live=True, newest_only=True) as capture:
        pauses = [capture._reader._pause() for _ in range(40)]

    assert 0.05 <= pauses[0] <= 0.1
    assert all(1.0 <= pause <= 2.0 for pause in pauses[6:])
    assert len(set(pauses[6:])) > 10


def test_dropped_frames_are_counted() -> None:
    clock, hanging = Clock(), Hanging()
    with Capture(lambda: ScriptedSource([*frames(30), hanging]), live=True, newest_only=True, clock=clock) as capture:
        # The read behind the last frame begins when that has been handed over.
        until(lambda: hanging.count == 1, "all frames are read")
        clock.sleep(0.5)
        taken = capture.take(PATIENCE)
        hanging.released.set()

    assert taken is not None
    assert (taken[0].frame.name, taken[1]) == ("29", 29)
    assert taken[0].captured == clock() - 0.5
