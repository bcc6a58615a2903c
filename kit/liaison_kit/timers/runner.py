"""The runner: sleeps until a timer is due and has it run, in processes of the role `jobs`.

It looks when it is rung for one that is due soon, when the first one is due, and now and then.
Several processes share the work; in each a few claims are worked on at a time, through the
connections that jobs have, so that requests do not wait for them.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import eventlet
from eventlet.semaphore import Semaphore
from nameko.extensions import DependencyProvider
from prometheus_client import Gauge
from sqlalchemy.orm import Session

from liaison_kit.database.database import Database
from liaison_kit.database.faults import is_database_away
from liaison_kit.process.roles import plays
from liaison_kit.settings import settings
from liaison_kit.telemetry import log
from liaison_kit.timers import queue, standing
from liaison_kit.timers.queue import Claim
from liaison_kit.timers.running import Runs
from liaison_kit.timers.setting import CHANNEL, LOOK_S
from liaison_kit.timers.timer import TimerHandler
from liaison_kit.trust.renewing import Rights

AT_ONCE = 2
"""How many claims a process works on at a time."""
RENEW_S = 5.0
COUNT_S = 30.0
BUSY_S = 0.2
"""How long to wait for those that are due and that somebody else is at."""
LATE_S = 600.0
"""How late timers of a kind that this release does not know have to be to be reported."""
STOP_S = 15.0

WAITING = Gauge(
    "liaison_timers_waiting",
    f"Timers that are set, up to {queue.COUNTED} of a kind; the same in every process.",
    ["service", "kind"],
)
OVERDUE = Gauge(
    "liaison_timers_overdue",
    "Timers that are due and that nobody has taken yet; the same in every process.",
    ["service", "kind"],
)
UNATTENDED = Gauge(
    "liaison_timers_unattended_seconds",
    "How late timers are of a kind that this process has no handler for.",
    ["service", "kind"],
)


class TimerRunner(DependencyProvider):  # type: ignore[misc]
    """Runs the timers of the service in a process that plays the role `jobs`."""

    def setup(self) -> None:
        self._stopping = False
        self._bell = Semaphore(0)
        self._hands = Semaphore(AT_ONCE)
        self._alone = Semaphore(1)
        self._claims: dict[UUID, Claim] = {}
        self._interrupted: list[Claim] = []
        self._service: Any = None

    def start(self) -> None:
        service = self.container.service_cls
        self._handlers: Mapping[str, TimerHandler] = service.timer_handlers
        if not plays("jobs") or not self._handlers:
            return
        self._db: Database = service.db
        self._runs = Runs(
            service.name,
            self._handlers,
            self._db,
            self._call,
            Rights(service.principals, self._question),
            settings().retry_delays_s,
        )
        self._db.timers = self
        for work in (self._arrange, self._look, self._listen, self._renew, self._count):
            self.container.spawn_managed_thread(work)

    def stop(self) -> None:
        """End what is in hand; what is claimed and not begun is left to others."""
        self._stopping = True
        self._bell.release()
        with eventlet.Timeout(STOP_S, False):
            while self._claims:
                eventlet.sleep(0.02)

    def ring(self) -> None:
        """A timer has been set that is due soon, says who has committed it in this process."""
        if self._bell.counter <= 0:
            self._bell.release()

    # --- greenlets, each of which goes on whatever happens ----------------------------------------

    def _arrange(self) -> None:
        while not self._stopping:
            try:
                standing.arrange_all(self._db, self._handlers.values())
                return
            except Exception as error:
                log.warning("standing timers wait for the database", error=_said(error))
                eventlet.sleep(1)

    def _look(self) -> None:
        while not self._stopping:
            try:
                pause = self._take_what_is_due()
            except Exception as error:
                # A process that has stopped looking would be noticed by nobody.
                log.warning("timers wait for the database", error=_said(error))
                pause = 1.0
            if pause > 0 and not self._stopping:
                self._bell.acquire(timeout=pause)

    def _take_what_is_due(self) -> float:
        """Claim some timers of each kind that is due; how long there is nothing more to do."""
        while self._interrupted:
            queue.give_back(self._db, self._interrupted[-1])
            self._interrupted.pop()
        due = queue.due_in(self._db, list(self._handlers))
        late = sorted((seconds, kind) for kind, seconds in due.items() if seconds <= 0)
        if not late:
            return min([LOOK_S, *due.values()])
        taken = False
        for _seconds, kind in late:
            claim = self._claim(kind)
            if claim is not None:
                taken = True
                self._claims[claim.id] = claim
                self.container.spawn_managed_thread(lambda claim=claim: self._run(claim))
        return 0.0 if taken else BUSY_S

    def _claim(self, kind: str) -> Claim | None:
        """Take something in hand, as soon as a hand is free.

        Of those that may have ended a process one at a time: if it does again, no other is blamed.
        """
        self._hands.acquire()
        alone = self._alone.acquire(blocking=False)
        claim = None
        try:
            if not self._stopping:
                claim = queue.claim(self._db, kind, suspects=alone)
        finally:
            if claim is None:
                self._hands.release()
            if alone and (claim is None or not claim.suspect):
                self._alone.release()
        return claim

    def _run(self, claim: Claim) -> None:
        try:
            self._runs.run(claim)
        except Exception as error:
            # What was begun is taken again when the claim ends by itself.
            self._interrupted.append(claim)
            away = is_database_away(error)
            say = log.warning if away else log.error
            say("timers interrupted", kind=claim.kind, error=_said(error), exc_info=not away)
        finally:
            del self._claims[claim.id]
            self._hands.release()
            if claim.suspect:
                self._alone.release()

    def _listen(self) -> None:
        listening: Any = None
        while not self._stopping:
            try:
                if listening is None or listening.closed:
                    listening = self._db.listen(CHANNEL)
                    # What was announced meanwhile was announced to nobody.
                    self.ring()
                eventlet.hubs.trampoline(listening.fileno(), read=True, timeout=LOOK_S)
                listening.poll()
                if listening.notifies:
                    listening.notifies.clear()
                    self.ring()
            except eventlet.Timeout:
                continue
            except Exception as error:
                log.warning("timers are not announced", error=_said(error))
                listening = None
                eventlet.sleep(1)

    def _renew(self) -> None:
        while not self._stopping or self._claims:
            eventlet.sleep(RENEW_S)
            try:
                if self._claims:
                    queue.renew(self._db, list(self._claims.values()))
            except Exception as error:
                log.warning("claims on timers not renewed", error=_said(error))

    def _count(self) -> None:
        name = self.container.service_cls.name
        while not self._stopping:
            try:
                kinds = list(self._handlers)
                for kind, (waiting, late) in queue.counts(self._db, kinds).items():
                    WAITING.labels(name, kind).set(waiting)
                    OVERDUE.labels(name, kind).set(late)
                UNATTENDED.clear()
                for kind, seconds in queue.unattended(self._db, kinds).items():
                    if seconds > LATE_S:
                        UNATTENDED.labels(name, kind).set(seconds)
            except Exception as error:
                log.warning("timers not counted", error=_said(error))
            eventlet.sleep(COUNT_S)

    # --- the service ------------------------------------------------------------------------------

    def _call(self, method: str, session: Session, told: Any) -> None:
        getattr(self._instance(), method)(session, told)

    def _question(self, *asked: Any) -> bytes:
        answer: bytes = self._instance().ask(*asked)
        return answer

    def _instance(self) -> Any:
        # Handlers keep no state between timers, so one instance with its dependencies does.
        if self._service is None:
            service = self.container.service_cls()
            for provider in self.container.dependencies:
                setattr(service, provider.attr_name, provider.get_dependency(None))
            self._service = service
        return self._service


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
