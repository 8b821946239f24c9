from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from edgecnn.errors import SinkError
from edgecnn.runtime.loop import outlets as outlets_module
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.outlets import WAITING_FRAMES, Outlets
from edgecnn.runtime.loop.statistics import SinkFigures
from edgecnn.vision.results import Verdict
from tests.runtime.loop.fakes import ListSink, loop_threads, picture
from tests.waiting import until


def observation(number: int, changed: bool = False) -> Observation:
    now = time.monotonic()
    state = Verdict.PASS
    return Observation(
        number, state, state, changed, now, time.time(), now, 0.0, image=picture(), tensor=picture()[None]
    )


def numbers(sink: ListSink) -> list[int]:
    return [seen.number for seen in sink.seen]


def test_a_sink_gets_what_it_wants_and_no_more() -> None:
    outlets = Outlets()
    events, turns, frames = ListSink(every_turn=False), ListSink(), ListSink(images=True)
    for name, sink in (("events:", events), ("turns:", turns), ("frames:", frames)):
        outlets.add(name, sink)

    for number in range(5):
        outlets.offer(observation(number, changed=number == 3))
    outlets.close()

    assert (numbers(events), numbers(turns), numbers(frames)) == ([3], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    assert [seen.image is None and seen.tensor is None for seen in turns.seen] == [True] * 5
    assert all(seen.image is not None for seen in frames.seen)
    assert [figures.delivered for figures in outlets.figures()] == [1, 5, 5]
    assert [figures.latency.count for figures in outlets.figures()] == [1, 5, 5]
    assert [sink.closed for sink in (events, turns, frames)] == [1, 1, 1]
    assert loop_threads() == []


def test_a_sink_that_raises_is_counted_and_tried_again() -> None:
    outlets, sink = Outlets(), ListSink(fails=True)
    outlets.add("jsonl:log", sink)
    for number in range(7):
        outlets.offer(observation(number))
    until(lambda: outlets.figures()[0].lost == 7, "all are lost")
    sink._fails = False
    outlets.offer(observation(8))
    outlets.close()

    figures = outlets.figures()[0]
    assert (figures.delivered, figures.lost, figures.error) == (1, 7, "")
    assert numbers(sink) == [8]


class Posting(ListSink):
    """Takes everything, and says later what has arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.confirm: Callable[[float], None] = lambda seconds: None
        self.trouble = ""


def test_only_what_is_confirmed_is_delivered() -> None:
    outlets, sink = Outlets(), Posting()
    outlets.add("post:", sink)
    sink.trouble = "the line is cut: http://user:secret@host/"
    for number in range(5):
        outlets.offer(observation(number))
    until(lambda: len(sink.seen) == 5, "all are taken")
    before = outlets.figures()[0]
    sink.trouble = ""
    for _ in range(3):
        sink.confirm(0.25)
    after = outlets.figures()[0]
    outlets.close()

    assert (before.delivered, before.waiting, before.lost, before.latency.count) == (0, 5, 0, 0)
    assert before.error == "the line is cut: http://***@host/"
    assert (after.delivered, after.waiting, after.latency.count, after.latency.total) == (3, 2, 3, 0.75)
    assert (after.error, after.last_error) == ("", before.error)


def test_a_reason_is_kept_until_it_is_cured() -> None:
    class Idling(ListSink):
        idle_fails, idled = False, 0

        def idle(self) -> None:
            self.idled += 1
            if self.idle_fails:
                raise SinkError("no answer")

    def after_idling() -> SinkFigures:
        idled = sink.idled
        until(lambda: sink.idled > idled + 1, "two calls of idle")
        return outlets.figures()[0]

    outlets, sink = Outlets(), Idling(fails=True)
    outlets.add("webhook:", sink)
    outlets.offer(observation(0))
    until(lambda: outlets.figures()[0].lost == 1, "the loss")
    assert "no space left" in after_idling().error, "nothing was delivered since"

    sink._fails = False
    outlets.offer(observation(1))
    until(lambda: outlets.figures()[0].delivered == 1, "the delivery")
    assert (outlets.figures()[0].error, "no space left" in outlets.figures()[0].last_error) == ("", True)

    sink.idle_fails = True
    assert after_idling().error == "no answer"
    sink.idle_fails = False
    assert (after_idling().error, outlets.figures()[0].last_error) == ("", "no answer")
    outlets.close()


def test_a_sink_that_hangs_is_told_before_its_queue_is_full(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outlets_module, "HANG_SECONDS", 0.05)
    outlets, sink = Outlets(), ListSink(hangs=True)
    outlets.add("gpio:", sink)
    outlets.offer(observation(0))

    def told() -> bool:
        outlets.offer(observation(1))
        return outlets.figures()[0].failing

    until(told, "the fault")
    assert outlets.figures()[0].lost == 0
    assert "it hangs" in outlets.figures()[0].error
    assert outlets.lost() == {"gpio:": outlets.figures()[0].error}
    assert [record.getMessage() for record in caplog.records] == [f"gpio:: lost: {outlets.figures()[0].error}"]
    sink.released.set()
    until(lambda: outlets.figures()[0].waiting == 0, "the rest")
    assert outlets.figures()[0].error == ""
    outlets.close()


def test_what_was_taken_and_is_lost_at_the_end_is_counted() -> None:
    class Forgetful(ListSink):
        def close(self) -> None:
            super().close()
            raise SinkError("two of them never arrived", lost=2)

    outlets, sink = Outlets(), Forgetful()
    outlets.add("mqtt://broker/line", sink)
    for number in range(5):
        outlets.offer(observation(number))
    outlets.close()

    figures = outlets.figures()[0]
    assert (figures.delivered, figures.lost, figures.error) == (3, 2, "two of them never arrived")
    assert sink.closed == 1


def test_a_sink_that_hangs_never_holds_up_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets_module, "CLOSE_SECONDS", 0.2)
    outlets, sink = Outlets(), ListSink(images=True, hangs=True)
    outlets.add("modbus://plc", sink)
    outlets.offer(observation(0))
    until(lambda: sink.entered == 1, "the sink hangs in its first one")

    for number in range(1, 500):
        outlets.offer(observation(number))
    figures = outlets.figures()[0]
    outlets.close()

    assert (figures.delivered, figures.lost, figures.waiting) == (0, 499 - WAITING_FRAMES, WAITING_FRAMES + 1)
    assert figures.error == "its queue is full: it is too slow, or hangs"
    assert outlets.figures()[0].lost == 499
    sink.released.set()
    until(lambda: loop_threads() == [], "the thread ends when the sink comes back")
    assert numbers(sink) == [0, *range(500 - WAITING_FRAMES, 500)]
