"""Waiting for what shall happen: how long it takes is the machine's affair, so the limit matters only in failures.

The machine may be busy with anything else. A test never sleeps for as long as something ought to take, and never
measures it by the wall clock: it waits here for the condition, and asserts on order, on counts, on what the code under
test recorded, or on a `tests.clock.Clock`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

PATIENCE = 120.0
"""Seconds after which something that has not happened never will."""
_LOOK_SECONDS = 0.01


def until(
    condition: Callable[[], object], what: str = "a condition", hopeless: Callable[[], object] = lambda: ""
) -> None:
    """Wait until a condition holds.

    Args:
        condition: What shall become true.
        what: What to call it where it does not.
        hopeless: Says why it never will; whatever is false while there is hope.

    Raises:
        AssertionError: If it did not, or there is no hope.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        reason = hopeless()
        assert not reason, f"waited in vain for {what}: {reason}"
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(_LOOK_SECONDS)


def joined(thread: threading.Thread) -> None:
    """Wait for a thread's end."""
    thread.join(PATIENCE)
    assert not thread.is_alive(), f"{thread.name} never ended"


def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sinks wait for others as long as these need: on a busy machine a server in a test may be late.

    Tests of such a limit set their own.
    """
    from edgecnn.runtime.loop import outlets
    from edgecnn.runtime.sinks import modbus, mqtt, recorder, webhook

    monkeypatch.setattr(outlets, "CLOSE_SECONDS", PATIENCE)
    monkeypatch.setattr(outlets, "HANG_SECONDS", PATIENCE)
    monkeypatch.setattr(modbus, "ANSWER_SECONDS", PATIENCE)
    monkeypatch.setattr(mqtt, "CONNECT_SECONDS", PATIENCE)
    monkeypatch.setattr(mqtt, "_GOODBYE_SECONDS", PATIENCE)
    monkeypatch.setattr(recorder, "CLOSE_SECONDS", PATIENCE)
    monkeypatch.setattr(webhook, "ANSWER_SECONDS", PATIENCE)
