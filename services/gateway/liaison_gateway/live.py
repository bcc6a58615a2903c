"""Live events: what changed, sent to the screens that may know, as server-sent events."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from uuid import UUID

from liaison_gateway.auth import Caller
from liaison_gateway.manifests import Registry

HEARTBEAT_S = 15.0
WAITING_ALLOWED = 256
REMEMBERED = 2048

Refresh = Callable[[], Any]
"""Awaitable that gives the caller as identity knows them now; raises when they are signed out."""


class _Change(NamedTuple):
    event_id: str
    tenant: str
    type: str
    record: str
    permission: str | None
    owner: str | None
    key: str | None
    version: int | None
    at: str | None


class _Client:
    """One open stream and what waits to be sent on it."""

    __slots__ = ("caller", "dropped", "waiting", "wake")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.waiting: deque[bytes] = deque()
        self.wake = asyncio.Event()
        self.dropped = False

    def offer(self, frame: bytes) -> None:
        if len(self.waiting) >= WAITING_ALLOWED:
            # Too slow to keep up: it is told to read everything again rather than lied to.
            self.waiting.clear()
            self.dropped = True
        else:
            self.waiting.append(frame)
        self.wake.set()


class Live:
    """Knows the open streams and the last events, and decides who may see which."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._clients: set[_Client] = set()
        self._recent: deque[tuple[str, str, bytes]] = deque(maxlen=REMEMBERED)
        self._closing = False

    @property
    def clients(self) -> int:
        """Open streams."""
        return len(self._clients)

    def heard(self, service: str, routing_key: str, body: bytes) -> None:
        """Take in one event of a service; unread until somebody listens."""
        self._recent.append((service, routing_key, body))
        if not self._clients:
            return
        change = self._read(service, routing_key, body)
        if change is None:
            return
        for client in self._clients:
            frame = _frame_for(change, client.caller)
            if frame is not None:
                client.offer(frame)

    async def stream(
        self, caller: Caller, last_event_id: str | None, refresh: Refresh
    ) -> AsyncIterator[bytes]:
        """The frames of one client until it is too slow, signed out, or the gateway stops."""
        client = _Client(caller)
        yield b"retry: 2000\n\n"
        if last_event_id is not None:
            for frame in self._missed(caller, last_event_id):
                yield frame
        self._clients.add(client)
        try:
            while not self._closing:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await client.wake.wait()
                except TimeoutError:
                    client.caller = await refresh()
                    yield b": still here\n\n"
                    continue
                client.wake.clear()
                if client.dropped:
                    yield _RESET
                    return
                while client.waiting:
                    yield client.waiting.popleft()
        finally:
            self._clients.discard(client)

    def close(self) -> None:
        """End all streams; clients come back to another process, or to this one restarted."""
        self._closing = True
        for client in self._clients:
            client.wake.set()

    def _missed(self, caller: Caller, last_event_id: str) -> list[bytes]:
        """What came after an event, if it is still remembered; else a reset."""
        wanted = last_event_id.encode()
        recent = list(self._recent)
        start = next((i for i in range(len(recent)) if wanted in recent[i][2]), None)
        if start is None or len(wanted) != 36:
            return [_RESET]
        changes = (self._read(*event) for event in recent[start + 1 :])
        frames = (_frame_for(change, caller) for change in changes if change is not None)
        return [frame for frame in frames if frame is not None]

    def _read(self, service: str, routing_key: str, body: bytes) -> _Change | None:
        module = self._registry.modules.get(service)
        if module is None:
            return None
        event_type = routing_key.partition(".")[0]
        declared = next(
            (e for e in module.manifest.get("events") or () if e.get("type") == event_type), None
        )
        if declared is None:
            return None
        try:
            envelope = json.loads(body)
            data = envelope.get("data") or {}
            version = data.get("version")
            return _Change(
                event_id=str(envelope["id"]),
                tenant=str(envelope["tenant"]),
                type=event_type,
                record=str(declared.get("record") or service),
                permission=declared.get("permission"),
                owner=data.get("owner_id"),
                key=envelope.get("key"),
                version=version if isinstance(version, int) else None,
                at=envelope.get("occurred_at"),
            )
        except (ValueError, KeyError, AttributeError):
            return None


_RESET = b"event: reset\ndata: {}\n\n"


def _frame_for(change: _Change, caller: Caller) -> bytes | None:
    """The event as this caller may see it, or nothing.

    Whoever sees only their own or their team's records learns that something changed, but not
    which record, unless the event says that it is theirs.
    """
    who = caller.who
    if who is None or str(who.tenant) != change.tenant or not caller.may(change.permission):
        return None
    rule = who.rows.get(change.record, "all")
    theirs = (
        rule == "all"
        or (change.owner is not None and change.owner == str(who.user))
        or (rule == "team" and change.owner is not None and UUID(change.owner) in who.peers)
    )
    shown = {
        "type": change.type,
        "record": change.record,
        "id": change.key if theirs else None,
        "version": change.version if theirs else None,
        "at": change.at,
    }
    return f"id: {change.event_id}\ndata: {json.dumps(shown, separators=(',', ':'))}\n\n".encode()
