"""A clock that goes on when it is told to, for code that takes one or has a module ``time`` to replace."""

from __future__ import annotations


class Clock:
    """Seconds on a monotonic clock; call it to read it.

    It also stands in for the module ``time`` of one module: ``monkeypatch.setattr(module, "time", Clock())``. Whoever
    sleeps by it moves it on, and does not wait.

    Attributes:
        now: What it shows.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def monotonic(self) -> float:
        """Return what it shows, as `time.monotonic` does."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Go on by so many seconds."""
        self.now += seconds
