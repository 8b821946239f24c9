from __future__ import annotations

import dataclasses
import socket
import urllib.error
import urllib.request

import pytest

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.loop.metrics import exposition
from edgecnn.runtime.sinks import open_sink
from edgecnn.runtime.sinks.prometheus import Prometheus
from tests.runtime.sinks.observations import context, figures, nothing_left, observed
from tests.waiting import PATIENCE

pytest.importorskip("prometheus_client", reason="needs edgecnn[prometheus]")

from prometheus_client.parser import text_string_to_metric_families


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return values by name and labels, read by Prometheus's own parser; nothing may be there twice."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def opened() -> Prometheus:
    sink = open_sink("prometheus://127.0.0.1:0", context())
    assert isinstance(sink, Prometheus)
    return sink


def test_every_figure_is_there() -> None:
    found = samples(exposition(figures(), {"bundle": "a", "source": 'say "x"\n'}))
    assert found["edgecnn_info", (("bundle", "a"), ("source", 'say "x"\n'))] == 1
    expected = {
        "start_time_seconds": 1_900_000_000.125,
        "uptime_seconds": 12.5,
        "source_connected": 1,
        "turns_per_second": 29.97,
        "source_connects_total": 2,
        "source_stuck_total": 1,
        "frames_total": 300,
        "frames_dropped_total": 20,
        "turns_total": 280,
    }
    assert {name: found[f"edgecnn_{name}", ()] for name in expected} == expected
    assert found["edgecnn_verdicts_total", (("verdict", "REJECT"),)] == 8
    assert found["edgecnn_parts_total", (("verdict", "PASS"),)] == 30
    assert found["edgecnn_findings_total", (("kind", "black"),)] == 2
    states = {verdict: found["edgecnn_state", (("state", verdict),)] for verdict in ("PASS", "REJECT", "INVALID")}
    assert states == {"PASS": 1, "REJECT": 0, "INVALID": 0}


def test_histograms_are_cumulative() -> None:
    found = samples(exposition(figures(), {}))
    name = "edgecnn_verdict_age_seconds"
    buckets = {le: found[f"{name}_bucket", (("le", le),)] for le in ("0.001", "0.002", "5.0", "+Inf")}
    assert buckets == {"0.001": 0, "0.002": 1, "5.0": 1, "+Inf": 2}
    assert (found[f"{name}_sum", ()], found[f"{name}_count", ()]) == (6.0015, 2)


def test_two_sinks_of_one_address_are_told_apart() -> None:
    found = samples(exposition(figures(), {}))
    assert found["edgecnn_sink_delivered_total", (("sink", "jsonl:a"),)] == 5
    assert found["edgecnn_sink_delivered_total", (("sink", "jsonl:a (2)"),)] == 7
    assert found["edgecnn_sink_lost_total", (("sink", "jsonl:a"),)] == 1
    assert found["edgecnn_sink_waiting", (("sink", "jsonl:a"),)] == 2


def test_a_scrape_gets_the_figures_of_now() -> None:
    with nothing_left():
        frames = iter((1, 2))
        told = dataclasses.replace(context(), snapshot=lambda: figures(frames=next(frames)))
        sink = open_sink("prometheus://127.0.0.1:0", told)
        assert isinstance(sink, Prometheus)
        for count in (1, 2):
            with urllib.request.urlopen(f"http://127.0.0.1:{sink.port}/metrics", timeout=PATIENCE) as response:
                assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                assert samples(response.read())["edgecnn_frames_total", ()] == count
        sink.send(observed())
        sink.idle()
        sink.close()
        sink.close()


def test_other_pages_do_not_exist() -> None:
    sink = opened()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{sink.port}/secret", timeout=PATIENCE)
    sink.close()


def test_a_client_that_says_nothing_does_not_stop_the_others() -> None:
    with nothing_left():
        sink = opened()
        address = ("127.0.0.1", sink.port)
        url = f"http://127.0.0.1:{sink.port}/metrics"
        with socket.create_connection(address), urllib.request.urlopen(url, timeout=PATIENCE) as response:
            assert b"edgecnn_frames_total 300" in response.read()
        sink.close()


def test_a_taken_port_is_told() -> None:
    sink = opened()
    with pytest.raises(SinkError, match="cannot be listened on"):
        open_sink(f"prometheus://127.0.0.1:{sink.port}", context())
    sink.close()


@pytest.mark.parametrize("address", ["prometheus://127.0.0.1:0/x", "prometheus://127.0.0.1:0?a=1"])
def test_wrong_addresses(address: str) -> None:
    with pytest.raises(OptionError):
        open_sink(address, context())
