"""The engine's state in Prometheus' text format. No label names a robot or an account: their number has no bound."""

from collections.abc import Iterable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fleetsync.report import Histogram, Status
from fleetsync.units import s_from_ms
from fleetsync_adapters.http_api.host import Host

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SHARES = (0.5, 0.99)

_GAUGES = (
    ("robots_due", "Robots that wait for a grant", "due"),
    ("syncs_in_flight", "Syncs that workers have in hand", "in_flight"),
    ("urgent", "Accounts with events or open questions in the urgent lane", "urgent"),
    ("workers", "Worker processes there should be", "workers"),
    ("workers_up", "Worker processes that are up", "workers_up"),
    ("calls_last_minute", "Exchange calls in the last 60 s", "calls_last_minute"),
    ("calls_worst_minute", "Exchange calls in the fullest 60 s so far", "worst_minute_calls"),
    ("calls_per_minute_limit", "The operator's cap", "calls_per_minute"),
    ("last_change", "Number of the last change", "last_change"),
    ("events_pending", "Events that are accepted and not yet served", "events_pending"),
)
_COUNTERS = (
    ("calls", "Exchange calls", "calls"),
    ("calls_uncertain", "Calls granted to workers that never reported them", "uncertain_calls"),
    ("syncs", "Syncs that were answered", "syncs"),
    ("changes", "Changes found by this run", "changes"),
    ("events", "Events accepted by this run", "events"),
)


class _Shown(Collector):
    """Collects one engine once; a registry of its own holds it, so that engines in one process stay apart."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def collect(self) -> Iterable[Metric]:
        """Every family, from one reading of the state."""
        status = self._host.status()
        for name, told, field in _GAUGES:
            yield GaugeMetricFamily(f"fleetsync_{name}", told, getattr(status, field))
        for name, told, field in _COUNTERS:
            yield CounterMetricFamily(f"fleetsync_{name}", told, getattr(status, field))
        yield from _labelled(self._host, status)
        yield from _routes(status)
        yield from self._times()

    def _times(self) -> Iterator[Metric]:
        host = self._host
        ages = GaugeMetricFamily("fleetsync_age_seconds", "Age of what is known, over this run",
                                 labels=["phase", "quantile"])
        for phase, histogram in host.engine.ages.by_phase.items():
            _quantiles(ages, [phase], histogram)
        yield ages
        latency = GaugeMetricFamily("fleetsync_event_seconds", "From an accepted event to its committed outcome",
                                    labels=["quantile"])
        _quantiles(latency, [], host.engine.ages.urgent)
        yield latency
        yield GaugeMetricFamily("fleetsync_start_time_seconds", "When this run began, since the epoch",
                                s_from_ms(host.started_at_ms))


def _labelled(host: Host, status: Status) -> Iterator[Metric]:
    phases = GaugeMetricFamily("fleetsync_robots", "Robots by phase", labels=["phase"])
    for phase, count in status.phases.items():
        phases.add_metric([phase], count)
    yield phases
    worst = GaugeMetricFamily("fleetsync_worst_age_seconds", "Age of the oldest knowledge now", labels=["phase"])
    for phase, age_ms in status.worst_age_ms.items():
        worst.add_metric([phase], s_from_ms(age_ms))
    yield worst
    faults = CounterMetricFamily("fleetsync_faults", "Calls without a usable answer", labels=["fault"])
    for fault, count in status.faults.items():
        faults.add_metric([fault], count)
    yield faults
    troubled = GaugeMetricFamily("fleetsync_troubled", "What needs a person's attention", labels=["what"])
    troubled.add_metric(["stopped_accounts"], len(status.stopped_accounts))
    troubled.add_metric(["failing_accounts"], len(status.failing_accounts))
    troubled.add_metric(["stopped_robots"], len(status.stopped_robots))
    yield troubled
    answers = CounterMetricFamily("fleetsync_http_answers", "Answers of this interface", labels=["status"])
    for code, count in sorted(host.requests.items()):
        answers.add_metric([str(code)], count)
    yield answers
    yield GaugeMetricFamily("fleetsync_http_streams", "Change streams that are open", host.streams)


def _routes(status: Status) -> Iterator[Metric]:
    up = GaugeMetricFamily("fleetsync_route_closed", "1 while calls to the exchange flow", labels=["route"])
    frozen = GaugeMetricFamily("fleetsync_route_frozen_seconds", "How long the exchange asked us to stay away",
                               labels=["route"])
    stretch = GaugeMetricFamily("fleetsync_route_stretch", "How much longer intervals are than was wished",
                                labels=["route"])
    for route in status.routes:
        up.add_metric([route["name"]], int(route["circuit"] == "closed"))
        frozen.add_metric([route["name"]], s_from_ms(max(route["frozen_until_ms"] - status.at_ms, 0)))
        stretch.add_metric([route["name"]], route["stretch"])
    yield from (up, frozen, stretch)


def _quantiles(family: GaugeMetricFamily, labels: list[str], histogram: Histogram) -> None:
    for share in _SHARES:
        span_ms = histogram.percentile_ms(share)
        if span_ms is not None:
            family.add_metric([*labels, f"{share:g}"], s_from_ms(span_ms))


def text(host: Host) -> bytes:
    """One scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Shown(host))
    return generate_latest(registry)
