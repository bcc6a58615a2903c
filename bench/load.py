"""The load generator: a cheap HTTP/1.1 client in a process of its own, fed requests ready to send.

`python -m bench.load` reads jobs from its standard input and writes their results to its standard
output, both as pickles. One process serves a whole bench, so that starting Python is never
measured.
"""

import asyncio
import collections
import pickle
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import uvloop


@dataclass(slots=True)
class Job:
    """Requests to send, one after the other on each of `concurrency` connections.

    With `again` the requests start over when they run out; without, the job ends there. With `rate`
    a request is due every 1/rate seconds, whether earlier ones have been answered or not.
    """

    port: int
    requests: Sequence[bytes]
    concurrency: int
    seconds: float
    again: bool = True
    rate: float | None = None


@dataclass(slots=True)
class Result:
    """What a job found; latencies are in seconds, in the order of the answers."""

    seconds: float
    latencies: list[float]
    statuses: dict[int, int]
    cpu_seconds: float
    sample: bytes = b""
    bad: list[bytes] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """How many answers were good ones."""
        return sum(n for status, n in self.statuses.items() if status < 400)

    @property
    def per_second(self) -> float:
        """Good answers per second."""
        return self.answered / self.seconds

    def percentile(self, share: float) -> float:
        """The latency that this share of the answers stays within, in milliseconds."""
        ordered = sorted(self.latencies)
        if not ordered:
            return float("nan")
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


class Load:
    """The parent's end of the load process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(self, job: Job) -> Result:
        """Have a job done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(job, self._process.stdin)
        self._process.stdin.flush()
        result: Result = pickle.load(self._process.stdout)
        return result

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


class _Run:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.next = 0
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = collections.Counter()
        self.sample = b""
        self.bad: list[bytes] = []
        self.ended = asyncio.get_running_loop().create_future()
        self.stop_at = float("inf")
        self.open = 0
        self.due: collections.deque[float] = collections.deque()
        self.idle: list[_Connection] = []

    def take(self) -> bytes | None:
        if time.perf_counter() >= self.stop_at:
            return None
        requests = self.job.requests
        if self.next >= len(requests):
            if not self.job.again:
                return None
            self.next = 0
        request = requests[self.next]
        self.next += 1
        return request

    def answered(self, status: int, sent: float, answer: bytes) -> None:
        self.latencies.append(time.perf_counter() - sent)
        self.statuses[status] += 1
        if status < 400:
            self.sample = answer
        elif len(self.bad) < 3:
            self.bad.append(answer)

    def left(self) -> None:
        self.open -= 1
        if self.open == 0 and not self.ended.done():
            self.ended.set_result(None)


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self.run = run
        self.buffer = b""
        self.expected = 0
        self.sent = 0.0
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, since: float | None = None) -> bool:
        """Send the next request; latency counts from `since` where it was due earlier."""
        request = self.run.take()
        if request is None:
            self.transport.close()
            return False
        self.sent = since or time.perf_counter()
        self.transport.write(request)
        return True

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer + data if self.buffer else data
        if not self.expected:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                self.buffer = buffer
                return
            head = buffer[:end].lower()
            at = head.find(b"content-length:")
            length = 0 if at < 0 else int(head[at + 15 :].split(b"\r\n", 1)[0])
            self.expected = end + 4 + length
        if len(buffer) < self.expected:
            self.buffer = buffer
            return
        self.buffer, self.expected = b"", 0
        run = self.run
        run.answered(int(buffer[9:12]), self.sent, buffer)
        if run.job.rate is None:
            self.send()
        elif run.due:
            self.send(run.due.popleft())
        else:
            run.idle.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.run.left()


async def _at_a_rate(run: _Run, rate: float) -> None:
    started = time.perf_counter()
    number = 0
    while (due := started + number / rate) < run.stop_at:
        now = time.perf_counter()
        if due > now:
            await asyncio.sleep(due - now)
        number += 1
        if run.idle:
            run.idle.pop().send(due)
        else:
            run.due.append(due)
    while len(run.idle) < run.open and time.perf_counter() < run.stop_at + 10:
        await asyncio.sleep(0.01)
    for connection in list(run.idle):
        connection.transport.close()


async def _do(job: Job) -> Result:
    loop = asyncio.get_running_loop()
    run = _Run(job)
    connections: list[_Connection] = []
    for _ in range(job.concurrency):
        _transport, connection = await loop.create_connection(
            lambda: _Connection(run), "127.0.0.1", job.port
        )
        connections.append(connection)
    run.open = len(connections)
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    run.stop_at = started + job.seconds
    if job.rate is None:
        for connection in connections:
            connection.send()
        await asyncio.wait_for(run.ended, job.seconds + 60)
    else:
        run.idle = connections
        await _at_a_rate(run, job.rate)
    took = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Result(took, run.latencies, dict(run.statuses), cpu, run.sample, run.bad)


def _serve(jobs: IO[bytes], results: IO[bytes]) -> None:
    while True:
        try:
            job: Job = pickle.load(jobs)
        except EOFError:
            return
        pickle.dump(uvloop.run(_do(job)), results)
        results.flush()


if __name__ == "__main__":
    # Pickles name classes by module; here that has to be the importable one.
    from bench import load

    load._serve(sys.stdin.buffer, sys.stdout.buffer)
