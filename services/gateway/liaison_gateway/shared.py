"""Shared operations: one address that several services answer together (jobs, imports, uploads)."""

import asyncio
import json
from collections import OrderedDict
from typing import Any

from liaison_gateway.auth import Caller
from liaison_gateway.bus import Bus, Head, Reply
from liaison_gateway.incoming import Incoming, Query
from liaison_gateway.problems import ModuleDown
from liaison_gateway.routes import Operation, Route
from liaison_sdk.errors import FieldError, Forbidden, InvalidInput

OWNERS_REMEMBERED = 10_000
PAGE, LONGEST_PAGE = 50, 200

_JSON_HEADERS = [(b"content-type", b"application/json")]


class Shared:
    """Asks the services behind a shared route and makes one answer of theirs."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._owners: OrderedDict[str, str] = OrderedDict()

    async def by_id(
        self, route: Route, incoming: Incoming, caller: Caller, body: bytes
    ) -> tuple[Operation, Reply]:
        """Whoever has the record answers; they are asked all at once, later the owner alone.

        Comes with whose operation it was: what the answer leads to, as a file's parts, is theirs.
        """
        operations = _allowed(route, caller)
        wanted = incoming.path[-1][1] if incoming.path else ""
        owner = self._owners.get(wanted)
        if owner is not None:
            known = [o for o in operations if o.service == owner]
            if known:
                self._owners.move_to_end(wanted)
                return known[0], await self._send(known[0], incoming, body)
        answers = await self._send_all(operations, incoming, body)
        return self._best(wanted, operations, answers)

    def _best(
        self, wanted: str, operations: list[Operation], answers: list[Reply | ModuleDown]
    ) -> tuple[Operation, Reply]:
        """Who has the record answers for all; a service that fails has nothing to say about it."""
        replies = [(o, a) for o, a in zip(operations, answers, strict=True) if isinstance(a, Reply)]
        for operation, reply in replies:
            if reply.head.status < 400:
                self.remember(wanted, operation.service)
                return operation, reply
        for operation, reply in replies:
            if reply.head.status != 404 and reply.head.status < 500:
                return operation, reply
        # As long as one service is silent or fails, nobody can say that there is no such record.
        for operation, reply in replies:
            if reply.head.status >= 500:
                return operation, reply
        for answer in answers:
            if isinstance(answer, ModuleDown):
                raise answer
        return replies[0]

    def by_record(self, route: Route, incoming: Incoming, caller: Caller) -> Operation:
        """The service that keeps the record type named by `?record=`."""
        record = incoming.parameter("record")
        served = sorted({record for o in route.operations for record in o.records})
        said = f"record is one of: {', '.join(served)}."
        if record is None:
            raise InvalidInput(said, [FieldError("record", "missing", said)])
        chosen = next((o for o in route.operations if record in o.records), None)
        if chosen is None:
            raise InvalidInput(said, [FieldError("record", "unknown_record", said)])
        if not caller.may(chosen.permission):
            raise Forbidden(f"Your role needs the permission {chosen.permission}.")
        return chosen

    async def merged(self, route: Route, incoming: Incoming, caller: Caller) -> Reply:
        """One page out of all services' pages, newest first: UUIDv7 ids sort by time."""
        operations = _allowed(route, caller)
        limit = _limit(incoming)
        answers = await self._send_all(operations, incoming, b"")
        items: list[dict[str, Any]] = []
        more = False
        count: int | None = 0
        silent: list[str] = []
        for operation, answer in zip(operations, answers, strict=True):
            if isinstance(answer, ModuleDown) or answer.head.status == 503:
                silent.append(operation.service)
                continue
            if answer.head.status >= 400:
                return answer
            page = json.loads(answer.body)
            items += page["items"]
            more = more or page.get("next") is not None
            counted = page.get("count")
            count = None if count is None or counted is None else count + counted
        if len(silent) == len(operations):
            raise ModuleDown(f"The module {silent[0]} does not answer.", silent[0])
        items.sort(key=lambda item: item["id"], reverse=True)
        more = more or len(items) > limit
        items = items[:limit]
        following = items[-1]["id"] if more and items else None
        merged: dict[str, Any] = {"items": items, "next": following}
        if count is not None:
            merged["count"] = count
        if silent:
            merged["unavailable"] = silent
        body = json.dumps(merged, ensure_ascii=False, separators=(",", ":")).encode()
        return Reply(Head(200, _JSON_HEADERS, 0, None, None), body)

    def remember(self, record_id: str, service: str) -> None:
        """This service has the record."""
        if not record_id:
            return
        self._owners[record_id] = service
        self._owners.move_to_end(record_id)
        if len(self._owners) > OWNERS_REMEMBERED:
            self._owners.popitem(last=False)

    def remember_location(self, reply: Reply, service: str) -> None:
        """A service that answers with a `Location` has what is there."""
        for name, value in reply.head.headers:
            if name == b"location":
                self.remember(value.rpartition(b"/")[2].decode("latin-1"), service)

    async def _send(self, operation: Operation, incoming: Incoming, body: bytes) -> Reply:
        header = incoming.head(query=declared_query(operation, incoming.query))
        return await self._bus.call(operation.target, header, body, incoming.time_left())

    async def _send_all(
        self, operations: list[Operation], incoming: Incoming, body: bytes
    ) -> list[Reply | ModuleDown]:
        async def send(operation: Operation) -> Reply | ModuleDown:
            try:
                return await self._send(operation, incoming, body)
            except ModuleDown as down:
                return down

        return await asyncio.gather(*(send(operation) for operation in operations))


def declared_query(operation: Operation, query: Query, *own: str) -> Query:
    """The query without the parameters that only the gateway reads, unless the service does too."""
    gateway_only = {"record", *own}
    if not any(name in gateway_only for name, _ in query):
        return query
    declared = {parameter["name"] for parameter in operation.manifest.get("query_params") or ()}
    return [(n, v) for n, v in query if n not in gateway_only or n in declared]


def _allowed(route: Route, caller: Caller) -> list[Operation]:
    allowed = [o for o in route.operations if caller.may(o.permission)]
    if not allowed:
        raise Forbidden(f"Your role needs the permission {route.operation.permission}.")
    return allowed


def _limit(incoming: Incoming) -> int:
    text = incoming.parameter("limit")
    # What is no number at all is for the services to refuse: they name the rules of their lists.
    return min(int(text), LONGEST_PAGE) if text and text.isdecimal() and len(text) < 6 else PAGE
