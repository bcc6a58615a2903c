"""Search over all modules: each is asked once, at the same time, and no slow one is waited for."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from liaison_gateway.auth import Caller
from liaison_gateway.bus import Bus, Reply, Target
from liaison_gateway.incoming import Incoming
from liaison_gateway.manifests import Registry
from liaison_gateway.problems import ModuleDown
from liaison_kit.telemetry import log
from liaison_sdk.errors import FieldError, InvalidInput

SHORTEST, LONGEST = 2, 200
"""Characters that are searched for: one is found everywhere."""
SHOWN, MOST_SHOWN = 5, 20
"""Of each kind of record."""
PARAMETERS = ("q", "limit")

_BEST_FIRST = ("exact", "begins", "word", "part")

Reason = Literal["down", "slow", "failed"]


class _Asked(NamedTuple):
    """A module, and which of its kinds of record are searched."""

    service: str
    records: list[dict[str, Any]]


class Search:
    """Asks the modules whose records somebody may read, and puts their answers together.

    A module that has not answered after `within_s` is named as missing, as one that is down is.
    """

    def __init__(self, registry: Registry, bus: Bus, within_s: float) -> None:
        self._registry = registry
        self._bus = bus
        self._within_s = within_s
        self._targets: dict[str, Target] = {}

    async def find(self, incoming: Incoming, caller: Caller) -> dict[str, Any]:
        """What was found of each kind of record, and which modules are not in it."""
        q, limit = _read(incoming)
        incoming.principal = caller.principal
        asked = list(self._asked(caller))
        answers = await self._ask(asked, incoming, q, limit)
        groups: list[dict[str, Any]] = []
        missing: list[dict[str, Any]] = []
        for (service, records), answer in zip(asked, answers, strict=True):
            if isinstance(answer, str):
                names = [record["name"] for record in records]
                missing.append({"service": service, "records": names, "reason": answer})
            else:
                groups += _told(service, records, answer)
        # What is called just so comes first, of whichever kind it is.
        groups.sort(key=lambda group: _BEST_FIRST.index(group["items"][0]["how"]))
        return {"groups": groups, "missing": missing}

    def _asked(self, caller: Caller) -> Iterable[_Asked]:
        for name, module in sorted(self._registry.modules.items()):
            records = [
                record
                for record in module.manifest.get("records") or ()
                if record.get("searchable") and caller.may(record.get("permission"))
            ]
            if records:
                yield _Asked(name, records)

    async def _ask(
        self, asked: list[_Asked], incoming: Incoming, q: str, limit: int
    ) -> list[dict[str, Any] | Reason]:
        incoming.timeout_s = min(incoming.timeout_s, self._within_s)
        incoming.restart_clock()
        header = incoming.head(query=[])
        calls = [self._call(one, header, incoming.timeout_s, q, limit) for one in asked]
        under_way = {call for call in calls if not isinstance(call, str)}
        if under_way:
            await asyncio.wait(under_way, timeout=incoming.timeout_s)
        return [call if isinstance(call, str) else _answer(call) for call in calls]

    def _call(
        self, asked: _Asked, header: bytes, timeout_s: float, q: str, limit: int
    ) -> "asyncio.Future[Reply] | Reason":
        service, records = asked
        if not self._registry.answers(service):
            return "down"
        target = self._targets.setdefault(service, Target(service, "search_records", safe=True))
        names = [record["name"] for record in records]
        body = json.dumps({"q": q, "records": names, "limit": limit}).encode()
        try:
            # The bus gives up a moment later than we do, so that late and gone are told apart.
            return self._bus.call(target, header, body, timeout_s + 1)
        except ModuleDown:
            return "down"


def _answer(call: "asyncio.Future[Reply]") -> dict[str, Any] | Reason:
    if not call.done():
        # Whatever comes now has no reader.
        call.cancel()
        return "slow"
    if call.exception() is not None:
        return "down"
    reply = call.result()
    if reply.head.status != 200:
        log.warning("a module could not search", status=reply.head.status)
        return "failed"
    found: dict[str, Any] = json.loads(reply.body)
    return found


def _told(
    service: str, records: list[dict[str, Any]], answer: dict[str, Any]
) -> Iterable[dict[str, Any]]:
    """The groups of a module, in the order of its records."""
    found = {group["record"]: group for group in answer["groups"]}
    for record in records:
        group = found.get(record["name"])
        if group is not None and group["items"]:
            yield {"service": service, "label": record.get("label"), **group}


def _read(incoming: Incoming) -> tuple[str, int]:
    """What is searched for and how many of each kind are wanted; every bad parameter is named."""
    errors = [
        FieldError(name, "unknown_parameter", f"There is no parameter {name[:LONGEST]}")
        for name, _ in incoming.query
        if name not in PARAMETERS
    ]
    q = (incoming.parameter("q") or "").strip()
    if not q:
        errors.append(FieldError("q", "missing", "Say what to search for, as in ?q=dupont"))
    elif len(q) < SHORTEST:
        errors.append(FieldError("q", "too_short", f"At least {SHORTEST} characters"))
    elif len(q) > LONGEST:
        errors.append(FieldError("q", "too_long", f"At most {LONGEST} characters"))
    given = incoming.parameter("limit")
    limit = SHOWN if given is None else _number(given)
    if not 1 <= limit <= MOST_SHOWN:
        said = f"limit is a number from 1 to {MOST_SHOWN}: so many of each kind"
        errors.append(FieldError("limit", "limit", said))
    if errors:
        raise InvalidInput("Some search parameters need another look", errors)
    return q, limit


def _number(given: str) -> int:
    return int(given) if given.isascii() and given.isdigit() and len(given) < 6 else 0
