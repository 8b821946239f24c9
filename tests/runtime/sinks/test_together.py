"""Real sinks behind the loop's own queues."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecnn.runtime.address import Address
from edgecnn.runtime.loop.outlets import Outlets
from edgecnn.runtime.sinks import examples, kinds, module_for, open_sink, webhook
from edgecnn.vision.results import Verdict
from tests.runtime.sinks.brokers import free_port
from tests.runtime.sinks.observations import context, nothing_left
from tests.runtime.sinks.test_recorder import seen, told


def test_dead_sinks_do_not_hurt_the_others_and_losses_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "PAUSES", (0.01,))
    dead = free_port()
    addresses = [
        f"jsonl:{tmp_path / 'log'}?every=turn",
        f"recorder:{tmp_path / 'events'}?before=0.3&after=0.2",
        f"webhook:http://127.0.0.1:{dead}/",
        "jsonl:/dev/full",
    ]
    with nothing_left():
        outlets = Outlets()
        for address in addresses:
            outlets.add(str(Address.parse(address)), open_sink(address, context()))
        for number in range(1, 31):
            state = Verdict.REJECT if 10 <= number < 15 else Verdict.PASS
            outlets.offer(seen(number, state, changed=number in (1, 10, 15)))
        outlets.close()
    log, recorder, hook, full = outlets.figures()
    assert (log.delivered, log.lost, log.error) == (30, 0, "")
    assert (recorder.delivered, recorder.lost, recorder.error) == (30, 0, "")
    assert (hook.delivered, hook.lost) == (0, 3)
    assert "Connection refused" in hook.error
    assert (full.delivered, full.lost) == (0, 3)
    assert "No space left" in full.error
    assert len((tmp_path / "log").read_bytes().splitlines()) == 30
    (event,) = (tmp_path / "events").iterdir()
    assert told(event)["number"] == 10


def test_the_state_in_the_log_is_that_of_the_turn(tmp_path: Path) -> None:
    sink = open_sink(f"jsonl:{tmp_path / 'log'}", context())
    sink.send(seen(1, Verdict.PASS, state=Verdict.INVALID))
    sink.close()
    record = json.loads((tmp_path / "log").read_text())
    assert (record["verdict"], record["state"]) == ("PASS", "INVALID")


@pytest.mark.parametrize("kind", ["gpio", "jsonl", "modbus", "mqtt", "prometheus", "recorder", "webhook"])
def test_every_kind_is_found_by_its_example(kind: str) -> None:
    assert kind in kinds()
    module = module_for(Address.parse(next(text for text in examples() if text.startswith(f"{kind}:"))))
    assert module.__name__ == f"edgecnn.runtime.sinks.{kind}"
