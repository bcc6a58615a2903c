"""Live events: what changed, sent to the screens that may know, as server-sent events."""

import asyncio
import json
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from uuid import UUID

from liaison_gateway.auth import Caller, Stale
from liaison_gateway.manifests import Registry
from liaison_gateway.onlookers import Onlookers, Place, session_of

HEARTBEAT_S = 15.0
WAITING_ALLOWED = 256
REMEMBERED, REMEMBERED_PER_TENANT, REMEMBERED_AT_LEAST = 16_384, 1024, 16
"""Changes, at half a kilobyte each: of all tenants, and of one, which shrinks as they are many."""
FORGOTTEN_AFTER_S = 300.0
"""So long after the last stream of a tenant has ended, nobody of it is expected back."""
WHOLE_BYTES = 4096
"""Events up to this size are read whole; of a longer one, which tells of many records, its head."""
LONGEST_TEXT = 200

Refresh = Callable[[], Any]
"""Awaitable that gives the caller as identity knows them now; raises when they are signed out."""


class _Change(NamedTuple):
    event_id: str
    tenant: str
    type: str
    record: str
    permission: str | None
    owner: UUID | None
    only_owners: bool
    """Whether nobody but the owner is told at all."""
    key: str | None
    version: int | None
    at: str | None


class _Client:
    """One open stream and what waits to be sent on it."""

    __slots__ = ("caller", "dropped", "faces", "session", "stirred", "unsure", "waiting", "wake")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.session = session_of(caller)
        self.waiting: deque[_Change] = deque()
        self.stirred: set[Place] = set()
        """Where somebody came or left: only who is there in the end is told."""
        self.faces: dict[Place, bytes] = {}
        """What was told last of who is there."""
        self.wake = asyncio.Event()
        self.dropped = False
        self.unsure = False
        """Whether the caller's rights have to be looked at before anything more is sent."""

    def offer(self, change: _Change) -> None:
        if len(self.waiting) >= WAITING_ALLOWED:
            # Too slow to keep up: it is told to read everything again rather than lied to.
            self.drop()
        else:
            self.waiting.append(change)
            self.wake.set()

    def stir(self, place: Place) -> None:
        self.stirred.add(place)
        self.wake.set()

    def drop(self) -> None:
        self.waiting.clear()
        self.dropped = True
        self.wake.set()


class _Tenant:
    """The open streams of a tenant, and its last changes for those who come back."""

    __slots__ = ("changes", "clients", "wanted_until")

    def __init__(self) -> None:
        self.clients: set[_Client] = set()
        self.changes: OrderedDict[str, _Change] = OrderedDict()
        self.wanted_until = float("inf")

    def since(self, event_id: str) -> list[_Change] | None:
        """An event and all that came after it; None when it is not remembered."""
        if event_id not in self.changes:
            return None
        start = list(self.changes).index(event_id)
        return list(self.changes.values())[start:]


class Live:
    """Knows the open streams and the last changes, and decides who may see which."""

    def __init__(self, registry: Registry, onlookers: Onlookers) -> None:
        self._registry = registry
        self._onlookers = onlookers
        onlookers.on_change = self._stirred
        self._sessions: dict[str, set[_Client]] = {}
        self._tenants: dict[str, _Tenant] = {}
        self._closing = False

    @property
    def clients(self) -> int:
        """Open streams."""
        return sum(len(tenant.clients) for tenant in self._tenants.values())

    def heard(self, service: str, routing_key: str, body: bytes) -> None:
        """Take in one event of a service; unread when nobody listens or is expected back."""
        if not self._tenants:
            return
        change = self._read(service, routing_key, body)
        if change is None:
            return
        tenant = self._tenants.get(change.tenant)
        if tenant is None:
            return
        if change.key is not None:
            self._onlookers.changed(Place(change.tenant, change.record, change.key))
        tenant.changes[change.event_id] = change
        fair = max(REMEMBERED_AT_LEAST, REMEMBERED // len(self._tenants))
        while len(tenant.changes) > min(REMEMBERED_PER_TENANT, fair):
            tenant.changes.popitem(last=False)
        for client in tenant.clients:
            client.offer(change)

    async def stream(
        self, caller: Caller, last_event_id: str | None, refresh: Refresh
    ) -> AsyncIterator[bytes]:
        """The frames of one client until it is too slow, signed out, or the gateway stops."""
        client = _Client(caller)
        self._forget_unwanted()
        tenant = self._tenants.setdefault(str(caller.tenant), _Tenant())
        # Known from here on: whose rights end while the first frames are sent is told.
        tenant.clients.add(client)
        self._sessions.setdefault(client.session, set()).add(client)
        client.stirred = self._onlookers.places(client.session)
        if client.stirred:
            client.wake.set()
        tenant.wanted_until = float("inf")
        try:
            yield b"retry: 2000\n\n"
            if last_event_id is not None:
                for missed in _missed(tenant, client.caller, last_event_id):
                    yield missed
            while not self._closing:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await client.wake.wait()
                except TimeoutError:
                    client.unsure = True
                    yield b": still here\n\n"
                client.wake.clear()
                while client.unsure:
                    client.unsure = False
                    client.caller = await refresh()
                if client.dropped:
                    yield _RESET
                    return
                while client.waiting and not client.unsure:
                    frame = _frame_for(client.waiting.popleft(), client.caller)
                    if frame is not None:
                        yield frame
                while client.stirred and not client.unsure:
                    frame = self._faces_at(client.stirred.pop(), client)
                    if frame is not None:
                        yield frame
        finally:
            tenant.clients.discard(client)
            self._ended(client)
            if not tenant.clients:
                tenant.wanted_until = time.monotonic() + FORGOTTEN_AFTER_S
            self._forget_unwanted()

    def look_again(self, stale: Stale) -> None:
        """Rights may have changed: nothing more is sent before they have been looked at."""
        for name, tenant in self._tenants.items():
            if stale.tenant not in (None, name):
                continue
            for client in tenant.clients:
                if stale.concerns(client.caller):
                    client.unsure = True
                    client.wake.set()

    def missed_some(self) -> None:
        """Events may have passed unheard: everybody reads again, with the rights of now."""
        for tenant in self._tenants.values():
            tenant.changes.clear()
            for client in tenant.clients:
                client.unsure = True
                client.drop()

    def close(self) -> None:
        """End all streams; clients come back to another process, or to this one restarted."""
        self._closing = True
        for tenant in self._tenants.values():
            for client in tenant.clients:
                client.wake.set()

    def _ended(self, client: _Client) -> None:
        streams = self._sessions[client.session]
        streams.discard(client)
        if not streams:
            del self._sessions[client.session]
            self._onlookers.unheard(client.session)

    def _stirred(self, session: str, place: Place) -> None:
        for client in self._sessions.get(session, ()):
            client.stir(place)

    def _faces_at(self, place: Place, client: _Client) -> bytes | None:
        """Who else looks at a record, unless that was told already or is not for this caller."""
        owner = self._registry.owner_of(place.record)
        if owner is None or not client.caller.may(owner[1]):
            return None
        if not self._onlookers.hears(client.caller, place):
            client.faces.pop(place, None)
            return None
        told = {
            "record": place.record,
            "id": place.id,
            "faces": self._onlookers.faces(client.caller, place),
        }
        frame = b"event: looking\ndata: %b\n\n" % json.dumps(told, separators=(",", ":")).encode()
        if client.faces.get(place) == frame:
            return None
        shown = self._onlookers.places(client.session)
        client.faces = {at: last for at, last in client.faces.items() if at in shown}
        client.faces[place] = frame
        return frame

    def _forget_unwanted(self) -> None:
        now = time.monotonic()
        self._tenants = {n: t for n, t in self._tenants.items() if t.wanted_until > now}

    def _read(self, service: str, routing_key: str, body: bytes) -> _Change | None:
        module = self._registry.modules.get(service)
        if module is None:
            return None
        event_type = routing_key.rpartition(".")[0]
        declared = next(
            (e for e in module.manifest.get("events") or () if e.get("type") == event_type), None
        )
        if declared is None:
            return None
        try:
            envelope = _opened(body)
            data = envelope.get("data") or {}
            version = data.get("version")
            return _Change(
                event_id=str(envelope["id"])[:LONGEST_TEXT],
                tenant=str(envelope["tenant"])[:LONGEST_TEXT],
                type=event_type,
                record=str(declared.get("record") or service),
                permission=declared.get("permission"),
                owner=None if data.get("owner_id") is None else UUID(data["owner_id"]),
                only_owners=declared.get("to") == "owner",
                key=_text(envelope.get("key")),
                version=version if isinstance(version, int) else None,
                at=_text(envelope.get("occurred_at")),
            )
        except (ValueError, KeyError, AttributeError, RecursionError):
            return None


_RESET = b"event: reset\ndata: {}\n\n"


def _missed(tenant: _Tenant, caller: Caller, last_event_id: str) -> list[bytes]:
    """What came after an event that this caller was sent, if it is remembered; else a reset.

    An event of another tenant, or that the caller may not see, is one that is not there.
    """
    changes = tenant.since(last_event_id)
    if changes is None or _frame_for(changes[0], caller) is None:
        return [_RESET]
    frames = (_frame_for(change, caller) for change in changes[1:])
    return [frame for frame in frames if frame is not None]


def _opened(body: bytes) -> Any:
    """The event; of a long one only what stands before its data."""
    if len(body) > WHOLE_BYTES:
        head, found, _ = body[:WHOLE_BYTES].partition(b',"data":')
        if found:
            return json.loads(head + b"}")
    return json.loads(body)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= LONGEST_TEXT else None


def _frame_for(change: _Change, caller: Caller) -> bytes | None:
    """The event as this caller may see it, or nothing.

    Whoever sees only their own or their team's records learns that something changed, so that
    their lists stay true, but neither what nor which record, unless the event says that it is
    theirs.
    """
    who = caller.who
    if who is None or caller.tenant != change.tenant or not caller.may(change.permission):
        return None
    if change.only_owners and change.owner != who.user:
        return None
    rule = who.rows.get(change.record, "all")
    theirs = (
        rule == "all"
        or (change.owner is not None and change.owner == who.user)
        or (rule == "team" and change.owner in who.peers)
    )
    shown = {
        "type": change.type if theirs else "changed",
        "record": change.record,
        "id": change.key if theirs else None,
        "version": change.version if theirs else None,
        "at": change.at,
    }
    return f"id: {change.event_id}\ndata: {json.dumps(shown, separators=(',', ':'))}\n\n".encode()
