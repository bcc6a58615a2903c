"""Crews: the processes of a service that offer the same, and take calls from one queue."""

import json
from collections.abc import Iterator
from typing import Any

from liaison_gateway.problems import ModuleBusy

BACKLOG_ALLOWED = 4
"""Calls per worker that may always wait; beyond it, only those that will be answered in time."""
MEASURED_AFTER_S = 0.5
"""How long a crew must have been busy before its pace says something."""
UNANSWERED_ALLOWED = 1000

Version = tuple[int, ...]


class Instance:
    """One process of a service, as it was last heard of."""

    __slots__ = (
        "ask_at",
        "asked_at",
        "gone_at",
        "heard_at",
        "hung",
        "id",
        "last_asked_at",
        "leaving",
        "said_at",
        "since",
        "workers",
    )

    def __init__(self, id: str) -> None:
        self.id = id
        self.ask_at = ""
        """Where to ask whether it is there; nothing can be delivered there when it is not."""
        self.workers = 1
        self.since = 0.0
        self.heard_at = 0.0
        self.said_at = 0.0
        """When it said what was heard last, by its own clock: older words count for nothing."""
        self.asked_at: float | None = None
        """When it was first asked for a word that it has not given yet."""
        self.last_asked_at = 0.0
        self.gone_at: float | None = None
        self.hung = self.leaving = False

    @property
    def takes_calls(self) -> bool:
        """Whether new calls may be sent to it."""
        return not (self.hung or self.leaving)

    @property
    def may_answer(self) -> bool:
        """Whether calls that it has taken may still be answered."""
        return not self.hung


class Crew:
    """What one generation of a service offers, who of it is there, and how much waits for them."""

    __slots__ = (
        "_answered",
        "_answered_then",
        "_busy_since",
        "generation",
        "instances",
        "manifest",
        "service",
        "signatures",
        "since",
        "unanswered",
        "version",
        "workers",
    )

    def __init__(self, service: str, generation: str, manifest: dict[str, Any]) -> None:
        self.service = service
        self.generation = generation
        self.instances: dict[str, Instance] = {}
        self.since = 0.0
        """When the youngest of its processes started."""
        self.workers = 0
        self.unanswered = 0
        self._answered = self._answered_then = 0
        self._busy_since: float | None = None
        self.describe(manifest)

    def describe(self, manifest: dict[str, Any]) -> None:
        """Take over what a process says of itself."""
        self.manifest = manifest
        self.version = _version(manifest.get("version", "0"))
        self.signatures = {
            (str(o["method"]).upper(), str(o["path"])): signature(o) for o in declared_in(manifest)
        }

    @property
    def age(self) -> tuple[Version, float]:
        """What puts crews in order: the newer version; of one version, the younger processes."""
        return self.version, self.since

    @property
    def may_answer(self) -> bool:
        """Whether calls that were sent to it may still be answered."""
        return any(instance.may_answer for instance in self.instances.values())

    @property
    def limps(self) -> bool:
        """Whether somebody of it hangs while others work."""
        return self.workers > 0 and any(i.hung for i in self.instances.values())

    def count(self) -> None:
        """Bring up to date how many can work at once."""
        self.workers = sum(i.workers for i in self.instances.values() if i.takes_calls)

    def took(self, now: float, timeout_s: float) -> None:
        """One call more; raises `ModuleBusy` when it would not be answered within its time."""
        waiting = self.unanswered - self.workers
        if waiting >= 0:
            if self._busy_since is None:
                self._busy_since, self._answered_then = now, self._answered
            elif waiting >= BACKLOG_ALLOWED * self.workers:
                busy_for = now - self._busy_since
                if busy_for > MEASURED_AFTER_S:
                    per_second = (self._answered - self._answered_then) / busy_for
                    if waiting > per_second * timeout_s:
                        raise ModuleBusy(self.service, waiting / max(per_second, 0.1))
        if self.unanswered >= UNANSWERED_ALLOWED:
            raise ModuleBusy(self.service, 1)
        self.unanswered += 1

    def answered(self) -> None:
        """One call less."""
        self.unanswered -= 1
        self._answered += 1
        if self.unanswered < self.workers:
            self._busy_since = None

    def gave_up(self) -> None:
        """One call less, that nobody answered."""
        self.unanswered -= 1
        if self.unanswered < self.workers:
            self._busy_since = None


def declared_in(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a manifest offers over HTTP: operations, and pages, which say that they are."""
    for operation in manifest.get("operations", ()):
        if operation.get("path"):
            yield operation
    for page in manifest.get("pages", ()):
        yield {**page, "page": True}


def signature(operation: dict[str, Any]) -> str:
    """Equal in two generations when a call made for the one may go to the other."""
    given = operation.get("signature")
    return str(given) if given else json.dumps(operation, sort_keys=True)


def _version(text: object) -> Version:
    return tuple(int(part) if part.isdigit() else 0 for part in str(text).split("."))
