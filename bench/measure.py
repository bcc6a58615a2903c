"""One measurement: requests at a concurrency for some seconds, and what they cost every process."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench import cpu
from bench.ground import Ground
from bench.load import Job, Load, Result

LIAISON = ("gateway", "identity", "contacts", "sales", "postgresql", "rabbitmq")
FLOOR = ("floor worker", "floor route", "postgresql", "rabbitmq")
_QUIET_S = 0.3


@dataclass(slots=True)
class Figures:
    """What one measurement found; times in milliseconds."""

    requests: int
    per_second: float
    p50: float
    p95: float
    cpu: dict[str, float]
    """CPU time per request of each group of processes."""
    cpu_total: float
    client_cpu: float
    refused: dict[str, int]

    def plain(self) -> dict[str, Any]:
        """For the JSON."""
        return asdict(self)


class Meter:
    """Measures on one ground with one load process."""

    def __init__(self, ground: Ground, load: Load) -> None:
        self.ground = ground
        self._load = load

    def run(
        self,
        requests: Sequence[bytes],
        concurrency: int,
        seconds: float,
        *,
        writes: bool = False,
        floor: bool = False,
        rate: float | None = None,
        warm: float = 0.4,
    ) -> Figures:
        """Measure; what writes set off behind the answer is waited for and counted in."""
        port = self.ground.floor_port if floor else self.ground.port
        if writes:
            head = requests[: concurrency * 4]
            self._load.run(Job(port, head, concurrency, 10, again=False))
            requests = requests[len(head) :]
            self.settle()
        else:
            self._load.run(Job(port, requests, concurrency, warm))
        before = cpu.seconds(self.ground.groups())
        result = self._load.run(Job(port, requests, concurrency, seconds, not writes, rate))
        if writes:
            self.settle()
        after = cpu.seconds(self.ground.groups())
        return _figures(result, {n: after[n] - before.get(n, 0.0) for n in after}, floor)

    def settle(self, longest: float = 30.0) -> None:
        """Wait until no event is under way and the processes have calmed down."""
        deadline = time.monotonic() + longest
        while time.monotonic() < deadline:
            before = cpu.seconds(self.ground.groups())
            time.sleep(_QUIET_S)
            after = cpu.seconds(self.ground.groups())
            used = sum(after[name] - before.get(name, 0.0) for name in after)
            if used < 0.1 * _QUIET_S and not self.ground.waiting_events():
                return

    def idle(self, seconds: float = 5.0) -> dict[str, float]:
        """CPU time per second of each group when nobody asks anything, in milliseconds."""
        self.settle()
        before = cpu.seconds(self.ground.groups())
        time.sleep(seconds)
        after = cpu.seconds(self.ground.groups())
        return {name: (after[name] - before[name]) * 1000 / seconds for name in after}


def _figures(result: Result, used: dict[str, float], floor: bool) -> Figures:
    if result.answered < len(result.latencies) * 0.99 or not result.answered:
        raise RuntimeError(f"requests failed: {result.statuses} {result.bad[:1]}")
    answered = result.answered
    names = FLOOR if floor else LIAISON
    spent = {
        name: used[name] * 1000 / answered
        for name in used
        if any(name == known or name.startswith(f"{known} ") for known in names)
    }
    return Figures(
        requests=answered,
        per_second=result.per_second,
        p50=result.percentile(0.5),
        p95=result.percentile(0.95),
        cpu=spent,
        cpu_total=sum(spent.values()),
        client_cpu=result.cpu_seconds * 1000 / answered,
        refused={str(s): n for s, n in result.statuses.items() if s >= 400},
    )


def middle(rounds: Sequence[Figures]) -> Figures:
    """The round with the median throughput: whole, not mixed from several."""
    wanted = statistics.median_low([figures.per_second for figures in rounds])
    return next(figures for figures in rounds if figures.per_second == wanted)
