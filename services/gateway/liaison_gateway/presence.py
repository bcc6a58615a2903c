"""Presence: which processes of the services are there, and whether they answer.

A process announces itself every ten seconds. When a call has waited for a moment, the processes
that may have it are asked for a word through a queue that exists only as long as they do: if it
can't be delivered they are dead, and if they stay silent they are hung. So nobody is asked as long
as everything is answered, and nothing is taken for dead because it is slow.
"""

import time
from collections.abc import Callable, Iterator

from liaison_gateway.announcements import Announcement
from liaison_gateway.crews import Crew, Instance
from liaison_kit.telemetry import log

SILENT_AFTER_S = 35.0
"""Services announce themselves every 10 s; three missed announcements are silence."""
ASK_AGAIN_S = 0.25
"""The broker may notice a moment later than we do that a connection has ended."""
LEFT_REMEMBERED_S = 2.0
"""What a process said before it left may be heard after it."""
LAST_ANSWERS_S = 0.25
"""Answers travel on other connections than the goodbye and may be heard after it."""


class Presence:
    """All crews of all services.

    `on_change(service)` is called when somebody came, left, or stopped answering, and
    `on_lost(crew)` when nobody of a crew is left to answer what it has taken. A process that is
    asked for a word answers within milliseconds, also when its workers are busy: one that has not
    within `hung_after_s` is hung.
    """

    def __init__(
        self,
        on_change: Callable[[str], None],
        on_lost: Callable[[Crew], None],
        hung_after_s: float,
    ) -> None:
        self._crews: dict[str, dict[str, Crew]] = {}
        self._left: dict[tuple[str, str], float] = {}
        self._on_change = on_change
        self._on_lost = on_lost
        self._hung_after_s = hung_after_s
        self.ask: Callable[[str], None] = lambda _address: None

    def crews(self, service: str) -> list[Crew]:
        """The crews of a service that have anybody who takes calls or might again, newest first."""
        there = [
            crew
            for crew in self._crews.get(service, {}).values()
            if any(not instance.leaving for instance in crew.instances.values())
        ]
        return sorted(there, key=lambda crew: crew.age, reverse=True)

    def may_answer(self, service: str) -> bool:
        """Whether anybody is left who could answer a call to this service."""
        return any(crew.may_answer for crew in self._crews.get(service, {}).values())

    def heard(self, said: Announcement) -> None:
        """Take in what a process said."""
        now = time.monotonic()
        if self._left.get((said.service, said.instance), 0.0) > now - LEFT_REMEMBERED_S:
            return
        if said.manifest is not None:
            self._announced(said, now)
            return
        for crew, instance in self._all(said.service):
            if instance.id != said.instance or instance.said_at > said.at:
                continue
            instance.said_at = said.at
            if said.kind == "here":
                self._is_there(crew, instance, now)
            elif said.kind == "leaving" and not instance.leaving:
                instance.leaving = True
                self._changed(crew)
            elif said.kind == "gone":
                instance.leaving, instance.gone_at = True, now + LAST_ANSWERS_S
                self._left = {k: at for k, at in self._left.items() if at > now - LEFT_REMEMBERED_S}
                self._left[said.service, said.instance] = now
                self._changed(crew)

    def doubt(self, service: str) -> None:
        """A call has waited: ask whoever may have it for a word, and again until they say it."""
        now = time.monotonic()
        for _, instance in self._all(service):
            if now - max(instance.heard_at, instance.last_asked_at) > ASK_AGAIN_S:
                instance.last_asked_at = now
                if instance.asked_at is None:
                    instance.asked_at = now
                self.ask(instance.ask_at)

    def nobody_at(self, address: str) -> None:
        """A process that was asked is not there any more."""
        for service in list(self._crews):
            for crew, instance in self._all(service):
                if instance.ask_at == address:
                    self._remove(crew, instance, "it died")

    def unserved(self, crew: Crew) -> None:
        """Nobody takes calls from a crew's queue any more."""
        for instance in list(crew.instances.values()):
            if not instance.leaving:
                self._remove(crew, instance, "nobody takes its calls")

    def look(self) -> None:
        """What comes to pass by waiting; to be called several times a second."""
        now = time.monotonic()
        for service in list(self._crews):
            for crew, instance in self._all(service):
                if instance.gone_at is not None and instance.gone_at <= now:
                    self._remove(crew, instance, "it left")
                elif instance.heard_at < now - SILENT_AFTER_S:
                    self._remove(crew, instance, "it fell silent")
                elif instance.asked_at is None or instance.asked_at > now - self._hung_after_s:
                    continue
                elif not instance.hung:
                    log.warning("process hangs", service=service, instance=instance.id)
                    instance.hung = True
                    self._changed(crew)
                    if not crew.may_answer:
                        self._on_lost(crew)

    def forgive(self) -> None:
        """The broker was away: nobody's silence in that time counts against them."""
        now = time.monotonic()
        for service in self._crews:
            for crew, instance in self._all(service):
                if instance.hung or instance.asked_at is not None:
                    self._is_there(crew, instance, now)
                instance.heard_at = now

    def _announced(self, said: Announcement, now: float) -> None:
        assert said.manifest is not None
        crews = self._crews.setdefault(said.service, {})
        crew = crews.get(said.generation)
        if crew is None:
            crew = crews[said.generation] = Crew(said.service, said.generation, said.manifest)
        instance = crew.instances.get(said.instance)
        if instance is None:
            instance = crew.instances[said.instance] = Instance(said.instance)
            instance.since = said.since
            if said.since >= crew.since and crew.manifest != said.manifest:
                crew.describe(said.manifest)
            crew.since = max(crew.since, said.since)
        elif instance.said_at > said.at:
            return
        instance.said_at, instance.ask_at = said.at, said.ask_at
        known = instance.heard_at and instance.workers == said.workers
        instance.workers = said.workers
        self._is_there(crew, instance, now)
        if not known:
            self._changed(crew)

    def _is_there(self, crew: Crew, instance: Instance, now: float) -> None:
        was_hung = instance.hung
        instance.heard_at, instance.asked_at, instance.hung = now, None, False
        if was_hung:
            self._changed(crew)

    def _remove(self, crew: Crew, instance: Instance, why: str) -> None:
        if crew.instances.pop(instance.id, None) is None:
            return
        log.info("process gone", service=crew.service, instance=instance.id, why=why)
        if not crew.instances:
            self._crews[crew.service].pop(crew.generation, None)
        self._changed(crew)
        if not crew.may_answer:
            self._on_lost(crew)

    def _changed(self, crew: Crew) -> None:
        crew.count()
        self._on_change(crew.service)

    def _all(self, service: str) -> Iterator[tuple[Crew, Instance]]:
        for crew in list(self._crews.get(service, {}).values()):
            for instance in list(crew.instances.values()):
                yield crew, instance
