"""Lanes: events in hand, in order within a lane, side by side across lanes."""

from collections import deque

from liaison_kit.events.inbox import Arrival


class Lanes:
    """What has arrived and is not done yet; a lane is one tenant's record.

    `take` hands out work and keeps its lanes closed until `release`.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Arrival]] = {}
        # Ordered: whose first event arrived first is served first.
        self._open: dict[str, None] = {}
        self._closed: set[str] = set()

    def add(self, arrival: Arrival) -> None:
        """One more, behind those of its lane."""
        lane = arrival.lane
        self._waiting.setdefault(lane, deque()).append(arrival)
        if lane not in self._closed:
            self._open[lane] = None

    def take(self, limit: int, limit_bytes: int) -> list[Arrival]:
        """Up to `limit` events of one tenant that may be handled now, in an order that is right.

        They are no more than so many bytes together, or one.
        """
        taken: list[Arrival] = []
        lanes = []
        left = limit_bytes
        for lane in self._open:
            waiting = self._waiting[lane]
            if taken and waiting[0].tenant != taken[0].tenant:
                continue
            while waiting and len(taken) < limit and (not taken or waiting[0].size <= left):
                left -= waiting[0].size
                taken.append(waiting.popleft())
            if taken and (taken[-1].lane == lane):
                lanes.append(lane)
            if len(taken) >= limit or left <= 0:
                break
        for lane in lanes:
            del self._open[lane]
            self._closed.add(lane)
        return taken

    def release(self, arrivals: list[Arrival]) -> None:
        """These are done with; their lanes go on."""
        for lane in {arrival.lane for arrival in arrivals}:
            self._closed.discard(lane)
            if self._waiting.get(lane):
                self._open[lane] = None
            else:
                self._waiting.pop(lane, None)

    def forget_waiting(self) -> list[Arrival]:
        """The broker has taken back what is waiting; what was taken from here is still in hand."""
        forgotten = [arrival for waiting in self._waiting.values() for arrival in waiting]
        self._waiting.clear()
        self._open.clear()
        return forgotten

    def __bool__(self) -> bool:
        return bool(self._open)
