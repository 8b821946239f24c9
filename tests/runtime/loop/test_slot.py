from __future__ import annotations

import threading

from edgecnn.runtime.loop.slot import DEPTH, Slot
from tests.waiting import PATIENCE, joined, until


def test_the_newest_replaces_what_was_not_taken() -> None:
    slot: Slot[int] = Slot(newest_only=True)

    assert [slot.put(number) for number in range(5)] == [True] * 5
    assert slot.take(0.0) == (4, 4)
    slot.put(5)
    assert slot.take(0.0) == (5, 0)
    assert slot.take(0.01) is None


def test_nothing_is_dropped_where_everything_counts() -> None:
    slot: Slot[int] = Slot(newest_only=False)
    giver = threading.Thread(target=lambda: [slot.put(number) for number in range(100)])
    giver.start()

    taken = [slot.take(PATIENCE) for _ in range(100)]

    joined(giver)
    assert taken == [(number, 0) for number in range(100)]


def test_a_giver_waits_for_room_and_is_released_by_close() -> None:
    slot: Slot[int] = Slot(newest_only=False)
    answers: list[bool] = []
    giver = threading.Thread(target=lambda: answers.extend(slot.put(number) for number in range(DEPTH + 1)))
    giver.start()
    until(lambda: len(answers) == DEPTH, "the slot is full")

    slot.close()
    joined(giver)

    assert answers == [True] * DEPTH + [False]
    assert slot.take(PATIENCE) is None


def test_finish_wakes_who_waits() -> None:
    slot: Slot[int] = Slot(newest_only=True)
    slot.put(1)
    slot.finish()

    assert slot.take(1e9) == (1, 0)
    assert slot.take(1e9) is None
