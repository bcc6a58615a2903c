"""Announcements: what a process says of itself on the bus."""

import json
from typing import Any, Literal, NamedTuple

from liaison_gateway.routes import Module, Operation, Table


class Announcement(NamedTuple):
    """Who speaks and what they say; only a process that announces itself tells its manifest."""

    service: str
    instance: str
    kind: Literal["announced", "here", "leaving", "gone"]
    manifest: dict[str, Any] | None = None
    generation: str = ""
    ask_queue: str = ""
    workers: int = 1
    since: float = 0.0


def _check(service: str, manifest: dict[str, Any]) -> None:
    """Raise unless the API can be composed from this: one bad manifest must not harm the others."""
    table = Table()
    for declared in manifest.get("operations", ()):
        if declared.get("path"):
            table.add(Operation(Module(service), declared))
    for event in manifest.get("events") or ():
        str(event["type"])
    dict(manifest.get("schemas") or {})


_OWN = frozenset({"instance", "asked_at", "workers", "since"})


def read(body: bytes) -> Announcement:
    """The announcement in a message; raises ValueError, KeyError or TypeError when it is none."""
    said = json.loads(body)
    service, instance = str(said["service"]), str(said["instance"])
    for kind in ("here", "leaving", "gone"):
        if said.get(kind):
            return Announcement(service, instance, kind)
    manifest = {key: value for key, value in said.items() if key not in _OWN}
    _check(service, manifest)
    return Announcement(
        service,
        instance,
        "announced",
        manifest=manifest,
        generation=str(said["generation"]),
        ask_queue=str(said["asked_at"]),
        workers=max(1, int(said["workers"])),
        since=float(said["since"]),
    )
