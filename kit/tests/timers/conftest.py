"""A service with timers whose handlers do what the test wants, on a real database."""

import datetime as dt
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.context import Context, Principal
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.timers import Timer, at, on_timer, queue
from liaison_kit.timers.queue import Claim
from liaison_kit.timers.running import Runs
from liaison_kit.timers.timer import handlers_of
from liaison_kit.trust.renewing import NoLongerAllowed

from ..conftest import Ground

PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
FUTURE = dt.timedelta(days=30)


class Ring(Timer):
    """Each runs by itself."""

    kind = "ring"

    number: int
    filling: str = ""


class Post(Timer):
    """All that are due run in one call."""

    kind = "post"

    number: int


class Clock:
    """A service: each timer that runs leaves a thing with its number."""

    name = "clock"

    def __init__(self) -> None:
        self.then: Callable[[Session, Any], None] = lambda _session, _timer: None
        self.calls: list[list[int]] = []

    @on_timer(Ring)
    def on_ring(self, session: Session, timer: Ring) -> None:
        self.calls.append([timer.number])
        leave(session, timer.number)
        self.then(session, timer)

    @on_timer(Post, together=True)
    def on_post(self, session: Session, timers: Sequence[Post]) -> None:
        self.calls.append([timer.number for timer in timers])
        for timer in timers:
            leave(session, timer.number)
            self.then(session, timer)


def leave(session: Session, number: int) -> None:
    """The effect; it may be there twice, so that it is seen if it is."""
    more = "INSERT INTO things (id, said) VALUES (floor(random() * 1e15), :number)"
    session.execute(text(more), {"number": str(number)})


class Shop:
    """The service's timers, run here when the test says so."""

    def __init__(self, ground: Ground, db: Database) -> None:
        self.ground = ground
        self.db = db
        self.tenant = uuid7()
        self.clock = Clock()
        self.rights: dict[str, Principal | None] = {}
        self.runs = Runs("clock", handlers_of(Clock), db, self._call, self._rights, (1.0, 60.0))

    def _call(self, method: str, session: Session, told: Any) -> None:
        getattr(self.clock, method)(session, told)

    def _rights(self, signed: str) -> Principal:
        found = self.rights[signed]
        if found is None:
            raise NoLongerAllowed
        return found

    @contextmanager
    def writing(
        self, who: Principal | None = None, tenant: UUID | None = None
    ) -> Iterator[Session]:
        """A transaction of the tenant's."""
        about = Context(tenant=tenant or self.tenant, principal=who)
        with self.db.writing(about) as session:
            yield session

    def set(self, *numbers: int, key: str | None = None, kind: type[Any] = Ring) -> None:
        """Timers that are due."""
        with self.writing() as session:
            for number in numbers:
                at(session, PAST, kind(number=number), key=key)

    def claim(self, kind: type[Timer] = Ring) -> Claim:
        """What is due, taken."""
        found = queue.claim(self.db, kind.kind)
        assert found is not None
        return found

    def run(self, kind: type[Timer] = Ring) -> int:
        """Run all that is due; in how many claims."""
        claims = 0
        while (claim := queue.claim(self.db, kind.kind)) is not None:
            self.runs.run(claim)
            claims += 1
        return claims

    def bring_forward(self) -> None:
        """As if the time had come: for retries, for the ends of claims, for schedules."""
        self.ground.look("UPDATE timers SET run_at = now() - interval '1 second'")

    def done(self) -> list[int]:
        """The numbers of the timers that have had their effect."""
        return sorted(int(said) for (said,) in self.ground.look("SELECT said FROM things"))

    def rows(self, columns: str) -> list[Any]:
        return self.ground.look(f"SELECT {columns} FROM timers ORDER BY set_at, id")

    def lot(self) -> list[Any]:
        return self.ground.look(
            "SELECT handler, type, key, state, attempt, error FROM failed_events ORDER BY id"
        )


@pytest.fixture
def shop(ground: Ground) -> Shop:
    """The service, with nothing set."""
    return Shop(ground, ground.open(4))


class Gate:
    """Where a handler waits until the test lets it go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()

    def __call__(self, _session: Session, _timer: Any) -> None:
        self.reached.set()
        assert self._open.wait(20)

    @contextmanager
    def held(self, work: Callable[[], Any]) -> Iterator[None]:
        """Work in a thread up to here; it is let go and waited for at the end."""
        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert self.reached.wait(20)
            yield
        finally:
            self._open.set()
            thread.join(20)
