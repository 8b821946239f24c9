"""Where one thread leaves what another takes: the newest alone, or everything in turn with the giver waiting."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")

DEPTH, REFILL = 4, 1
"""Frames that may wait where every frame counts, so that reading overlaps with running; and how few must be left before
who gives is woken: waking a thread for every single frame costs more than the hand-over itself."""


class Slot(Generic[Item]):
    """A hand-over between two threads.

    Args:
        newest_only: True: a new item replaces one that was not taken, which is counted as dropped, and nobody ever
            waits to give. False: whoever gives waits until there is room, and nothing is dropped.
    """

    def __init__(self, newest_only: bool) -> None:
        self._newest_only = newest_only
        self._items: deque[Item] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._closed = self._finished = False
        self._dropped = 0

    def put(self, item: Item) -> bool:
        """Leave an item; False if the slot was closed, and nobody will take it."""
        with self._changed:
            if self._newest_only:
                self._dropped += len(self._items)
                self._items.clear()
            while len(self._items) >= DEPTH and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def take(self, seconds: float) -> tuple[Item, int] | None:
        """Take an item, waiting for it; None if none came in time, or the slot was closed.

        Returns:
            The item, and how many were dropped since the one taken before.
        """
        with self._changed:
            if not self._items and not self._finished:
                self._changed.wait(seconds)
            if not self._items:
                return None
            item, dropped = self._items.popleft(), self._dropped
            self._dropped = 0
            if len(self._items) == REFILL:
                self._changed.notify_all()
            return item, dropped

    def finish(self) -> None:
        """Say that nothing more will be put: who takes need not wait any longer."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any longer, and forget what was not taken."""
        with self._changed:
            self._closed = self._finished = True
            self._items.clear()
            self._changed.notify_all()
