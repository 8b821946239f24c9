"""The loop's figures as Prometheus metrics, in base units (seconds), for the sink and the web page.

Names and kinds follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from edgecnn.runtime.loop.statistics import BOUNDS, Histogram, SinkFigures, Snapshot
from edgecnn.runtime.sinks import missing

if TYPE_CHECKING:
    from prometheus_client.core import HistogramMetricFamily, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
VERDICTS = ("PASS", "REJECT", "INVALID")


def exposition(snapshot: Snapshot, labels: Mapping[str, str]) -> bytes:
    """Return the figures in Prometheus's text format.

    Args:
        snapshot: The figures.
        labels: What tells this loop from others (bundle, engine, source): the labels of ``edgecnn_info``.

    Raises:
        SinkError: If prometheus-client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError as error:
        raise missing("prometheus", "edgecnn[prometheus]", error) from error
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LoopCollector(snapshot, labels))
    return generate_latest(registry)


class LoopCollector:
    """Says figures in Prometheus's words."""

    def __init__(self, snapshot: Snapshot, labels: Mapping[str, str]) -> None:
        self._snapshot, self._labels = snapshot, dict(labels)

    def collect(self) -> Iterator[Metric]:
        """Yield one metric after the other; called by the client library."""
        yield from self._loop()
        yield from self._verdicts()
        yield from self._sinks()

    def _loop(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        figures = self._snapshot
        yield InfoMetricFamily("edgecnn", "What runs here.", self._labels)
        yield GaugeMetricFamily("edgecnn_start_time_seconds", "When the loop began, Unix time.", figures.started)
        yield GaugeMetricFamily("edgecnn_uptime_seconds", "Seconds since then.", figures.uptime)
        yield GaugeMetricFamily("edgecnn_source_connected", "Whether the source gives frames.", figures.connected)
        yield GaugeMetricFamily("edgecnn_turns_per_second", "Turns a second, lately.", figures.fps)
        counts = {
            "edgecnn_source_connects": ("How often the source was opened.", figures.connects),
            "edgecnn_source_stuck": ("Reads that never returned.", figures.stuck),
            "edgecnn_frames": ("Frames that the source gave.", figures.frames),
            "edgecnn_frames_dropped": ("Frames left out for a newer one.", figures.dropped),
            "edgecnn_turns": ("Verdicts made, those without a frame included.", figures.turns),
        }
        for name, (text, value) in counts.items():
            yield CounterMetricFamily(name, text, value)
        yield _histogram("edgecnn_verdict_age_seconds", "From reading a frame to its verdict.", figures.age)
        yield _histogram("edgecnn_inference_seconds", "What the model takes.", figures.inference)

    def _verdicts(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        figures = self._snapshot
        state = GaugeMetricFamily("edgecnn_state", "The debounced verdict now: 1 for the one it is.", labels=["state"])
        for verdict in VERDICTS:
            state.add_metric([verdict], verdict == figures.state)
        yield state
        tables = {
            "edgecnn_verdicts": ("Turns by verdict.", "verdict", figures.verdicts),
            "edgecnn_parts": ("Parts by verdict.", "verdict", figures.parts),
            "edgecnn_findings": ("Turns by what was wrong with the picture.", "kind", figures.findings),
        }
        for name, (text, label, counts) in tables.items():
            metric = CounterMetricFamily(name, text, labels=[label])
            for key, value in counts.items():
                metric.add_metric([key], value)
            yield metric

    def _sinks(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        delivered = CounterMetricFamily("edgecnn_sink_delivered", "Arrived where the sink sends to.", labels=["sink"])
        lost = CounterMetricFamily("edgecnn_sink_lost", "Lost on the way to the sink.", labels=["sink"])
        waiting = GaugeMetricFamily("edgecnn_sink_waiting", "Neither delivered nor lost yet.", labels=["sink"])
        failing = GaugeMetricFamily("edgecnn_sink_failing", "Whether the sink is lost.", labels=["sink"])
        text = "From reading a frame until its verdict had arrived."
        latency = _empty_histogram("edgecnn_sink_latency_seconds", text, ["sink"])
        for label, sink in _unique(self._snapshot.sinks):
            delivered.add_metric([label], sink.delivered)
            lost.add_metric([label], sink.lost)
            waiting.add_metric([label], sink.waiting)
            failing.add_metric([label], sink.failing)
            latency.add_metric([label], _buckets(sink.latency), sink.latency.total)
        yield from (delivered, lost, waiting, failing, latency)


def _unique(sinks: Iterable[SinkFigures]) -> Iterator[tuple[str, SinkFigures]]:
    """Yield sinks with names that differ: a scrape with the same labels twice is refused as a whole."""
    seen: dict[str, int] = {}
    for sink in sinks:
        seen[sink.address] = seen.get(sink.address, 0) + 1
        count = seen[sink.address]
        yield sink.address if count == 1 else f"{sink.address} ({count})", sink


def _histogram(name: str, text: str, values: Histogram) -> HistogramMetricFamily:
    metric = _empty_histogram(name, text, [])
    metric.add_metric([], _buckets(values), values.total)
    return metric


def _empty_histogram(name: str, text: str, labels: list[str]) -> HistogramMetricFamily:
    from prometheus_client.core import HistogramMetricFamily

    return HistogramMetricFamily(name, text, labels=labels)


def _buckets(values: Histogram) -> list[tuple[str, float]]:
    """Return cumulative counts by upper bound, as Prometheus wants them."""
    bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
    return [(bound, sum(values.counts[: index + 1])) for index, bound in enumerate(bounds)]
