"""Announcements: what a process says of itself on the bus."""

import json
import time
from typing import Any, Literal, NamedTuple

from liaison_gateway.crews import declared_in
from liaison_gateway.routes import Module, Operation, Table

FRESH_S = 60.0
"""How old an announcement may be: an old one told again would bring back what is gone."""


def speaker(body: bytes) -> str | None:
    """Who an announcement says it comes from; nobody when it is none, or is an old one."""
    try:
        said = json.loads(body)
        fresh = abs(time.time() - float(said["at"])) < FRESH_S
        return str(said["service"]) if fresh else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


class Announcement(NamedTuple):
    """Who speaks and what they say; only a process that announces itself tells its manifest."""

    service: str
    instance: str
    kind: Literal["announced", "here", "leaving", "gone"]
    at: float
    manifest: dict[str, Any] | None = None
    generation: str = ""
    ask_at: str = ""
    workers: int = 1
    since: float = 0.0


def _check(service: str, manifest: dict[str, Any]) -> None:
    """Raise unless the API can be composed from this: one bad manifest must not harm the others."""
    table = Table()
    for declared in declared_in(manifest):
        if declared.get("page") and not str(declared["path"]).startswith(f"/p/{service}/"):
            raise ValueError("a service's pages are below its own address")
        table.add(Operation(Module(service), declared))
    for event in manifest.get("events") or ():
        str(event["type"])
    dict(manifest.get("schemas") or {})


_OWN = frozenset({"instance", "ask_at", "workers", "since", "at", "signature"})


def read(body: bytes) -> Announcement:
    """The announcement in a message; raises ValueError, KeyError or TypeError when it is none."""
    said = json.loads(body)
    service, instance, at = str(said["service"]), str(said["instance"]), float(said["at"])
    for kind in ("here", "leaving", "gone"):
        if said.get(kind):
            return Announcement(service, instance, kind, at)
    if not str(said["ask_at"]).startswith(f"{service}.process."):
        raise ValueError("a service is asked through its own queues")
    manifest = {key: value for key, value in said.items() if key not in _OWN}
    _check(service, manifest)
    return Announcement(
        service,
        instance,
        "announced",
        at,
        manifest=manifest,
        generation=str(said["generation"]),
        ask_at=str(said["ask_at"]),
        workers=max(1, int(said["workers"])),
        since=float(said["since"]),
    )
