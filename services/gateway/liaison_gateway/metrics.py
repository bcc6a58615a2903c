"""Metrics of the door: requests by route, the bus, the streams; plain numbers until a scrape."""

from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from liaison_gateway.bus import Bus
from liaison_gateway.door import Door
from liaison_gateway.live import Live
from liaison_gateway.manifests import Registry
from liaison_gateway.onlookers import Onlookers
from liaison_gateway.routes import BUCKETS_S


class Figures(Collector):
    """Turns what the gateway counts anyway into Prometheus's families.

    prometheus-client's own counters cost more per request than the routing does.
    """

    def __init__(
        self, registry: Registry, bus: Bus, live: Live, onlookers: Onlookers, door: Door
    ) -> None:
        self._registry = registry
        self._bus = bus
        self._live = live
        self._onlookers = onlookers
        self._door = door

    def describe(self) -> list[Metric]:
        """Nothing is known before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All figures as they are now."""
        requests = HistogramMetricFamily(
            "liaison_http_request_seconds",
            "Time from the request's head to the answer's last byte.",
            labels=["method", "route", "status"],
        )
        for route in (*self._registry.table, *self._registry.pages, self._door.unrouted):
            for status, timing in route.timings.items():
                buckets: list[tuple[str, float]] = []
                running = 0
                for bound, count in zip((*BUCKETS_S, float("inf")), timing.counts, strict=True):
                    running += count
                    buckets.append(("+Inf" if bound == float("inf") else str(bound), running))
                labels = [route.method, route.path, str(status)]
                requests.add_metric(labels, buckets, timing.total_s)
        yield requests
        yield GaugeMetricFamily(
            "liaison_http_requests_in_flight", "Requests being answered.", self._door.in_flight
        )
        bus = self._bus
        yield GaugeMetricFamily(
            "liaison_bus_up", "Whether the gateway is connected to the broker.", int(bus.up)
        )
        yield GaugeMetricFamily(
            "liaison_bus_calls_in_flight", "Calls waiting for their reply.", bus.in_flight
        )
        yield CounterMetricFamily(
            "liaison_bus_reconnections", "Connections made again.", bus.reconnections
        )
        yield CounterMetricFamily(
            "liaison_bus_timeouts", "Calls not answered by their deadline.", bus.timeouts
        )
        yield CounterMetricFamily(
            "liaison_bus_returned", "Calls to services with no queue.", bus.returned
        )
        yield GaugeMetricFamily(
            "liaison_live_clients", "Open streams of live events.", self._live.clients
        )
        yield GaugeMetricFamily(
            "liaison_onlookers", "Screens of all gateways that show a record.", len(self._onlookers)
        )
        modules = GaugeMetricFamily(
            "liaison_module_answers", "If a module announced itself lately.", labels=["service"]
        )
        for name in self._registry.modules:
            modules.add_metric([name], int(self._registry.answers(name)))
        yield modules
