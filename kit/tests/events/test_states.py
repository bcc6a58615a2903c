"""Two deliveries of one event, later ones of its record, operators, the relay: in any order.

Two workers take events from a broker that is a list here, so that each step can be chosen; the
database is real. A worker stops inside of its handler until it is told what comes of it.
"""

import datetime as dt
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.context import Context
from liaison_kit.events import inbox, parking, relay
from liaison_kit.events.inbox import Handling, NotNow
from liaison_kit.ids import first_at, uuid7
from liaison_kit.testing import keyring
from liaison_kit.trust.signatures import Signer, Verifier
from liaison_sdk.errors import NotFound
from liaison_sdk.events import Event

from .conftest import Flow, Said

QUEUE = "s.on_said"
TENANT = uuid4()
EXAMPLES = int(os.environ.get("LIAISON_STATES", "8"))


class Killed(BaseException):
    """The worker's process ends here."""


@dataclass(slots=True)
class Copy:
    """A message on its way to the handler."""

    event: UUID
    body: str
    turn: int
    redelivered: bool = False


@dataclass(eq=False)
class Worker:
    """A process of the service: a thread that stops inside of its handler."""

    handling: Handling = field(init=False)
    read: Callable[[Copy], inbox.Arrival] = field(init=False)
    gate: "SimpleQueue[str]" = field(default_factory=SimpleQueue)
    inside: UUID | None = None
    job: "Future[None] | None" = None
    hand: list[Copy] = field(default_factory=list)

    def call(self, session: Session, event: Any) -> None:
        """The handler: its effect, and then whatever the test wants to come of it."""
        session.execute(
            text("INSERT INTO effects (event_id, record, number) VALUES (:id, :record, :number)"),
            {"id": event.envelope.id, "record": event.record, "number": event.number},
        )
        self.inside = event.envelope.id
        try:
            outcome = self.gate.get()
        finally:
            self.inside = None
        if outcome == "fail":
            raise ValueError("it fails")
        if outcome == "die":
            raise Killed

    def take(self, pool: ThreadPoolExecutor, copies: list[Copy]) -> None:
        self.hand = copies
        arrivals = []
        for copy in copies:
            arrival = self.read(copy)
            arrival.redelivered = copy.redelivered
            arrivals.append(arrival)
        self.job = pool.submit(self.handling.handle, arrivals)

    def settled(self) -> bool:
        return self.job is None or self.job.done() or self.inside is not None


class World:
    """A broker with one active consumer, two workers, and the database between them."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.workers = [Worker(), Worker()]
        for worker in self.workers:
            worker.handling = Handling("s", "on_said", worker.call, flow.db, (0.0, 0.0))
            worker.read = self.read
        keys = keyring(flow.service)
        self._signer, self._verifier = Signer(keys), Verifier(keys)
        self.pool = ThreadPoolExecutor(4)
        self.active: Worker = self.workers[0]
        self.ready: list[Copy] = []
        self.delayed: list[Copy] = []
        self.bodies: dict[UUID, str] = {}
        self.told: dict[str, list[UUID]] = defaultdict(list)
        self.parked_once: set[UUID] = set()
        self.discarded: set[UUID] = set()
        self.seq = 0

    def tell(self, key: str, age_days: int = 0) -> UUID:
        """One more event of a record."""
        self.seq += 1
        made = dt.datetime.now(dt.UTC) - dt.timedelta(days=age_days)
        event = UUID(int=first_at(made).int | (uuid7().int & ~(-1 << 80)))
        body = self.body(
            id=str(event), seq=self.seq, key=key, data={"record": key, "number": self.seq}
        )
        self.bodies[event] = body
        self.told[key].append(event)
        self.ready.append(Copy(event, body, 0))
        return event

    def body(self, **about: Any) -> str:
        """What the relay would send."""
        (signed,) = self._signer.sign("event", [self.flow.envelope(tenant=str(TENANT), **about)])
        return signed.decode()

    def read(self, copy: Copy) -> inbox.Arrival:
        """What the handler's queue makes of it."""
        events: dict[str, type[Event]] = {"said": Said}
        return inbox.read(
            copy.body.encode(), QUEUE, copy.turn, events, self.flow.service, self._verifier
        )

    def deliver(self, most: int) -> None:
        """The active consumer gets the oldest messages."""
        copies, self.ready = self.ready[:most], self.ready[most:]
        self.active.take(self.pool, copies)
        self.settle()

    def go_on(self, worker: Worker, outcome: str) -> None:
        """The handler that this worker is inside of ends."""
        worker.inside = None
        worker.gate.put(outcome)
        self.settle()

    def lose(self) -> None:
        """The channel is lost while its messages are in hand: another worker gets them."""
        mine = self.active
        self.ready = [Copy(c.event, c.body, c.turn, True) for c in mine.hand] + self.ready
        mine.hand = []
        self.active = self.workers[1 - self.workers.index(mine)]

    def settle(self) -> None:
        """Wait until every worker has ended, is inside its handler, or waits for the other."""
        until = time.monotonic() + 0.15
        while not all(worker.settled() for worker in self.workers):
            if any(worker.inside for worker in self.workers) and time.monotonic() > until:
                break
            time.sleep(0.002)
        for worker in self.workers:
            if worker.job is not None and worker.job.done():
                self._ended(worker)

    def _ended(self, worker: Worker) -> None:
        assert worker.job is not None
        error, worker.job = worker.job.exception(), None
        if isinstance(error, Killed | NotNow) and worker is self.active:
            self.lose()
        assert error is None or isinstance(error, Killed | NotNow), error
        worker.hand = []

    def send(self) -> None:
        """What the relay does: messages go to their retry queues."""
        rows = self.flow.rows("DELETE FROM outbox RETURNING seq, event_id, body, turn")
        for _seq, event, body, turn in sorted(rows):
            self.delayed.append(Copy(event, body, turn))

    def rescue(self) -> None:
        """What the relay does for what is overdue; here everything is."""
        with self.flow.db.engines[0].connect() as connection:
            connection.exec_driver_sql(relay._RESCUE, {"late": -10_000})
            connection.commit()

    def parked(self) -> list[parking.ParkedEvent]:
        with self.flow.db.reading(Context(tenant=TENANT)) as session:
            found = parking.parked(session, TENANT)
        self.parked_once.update(event.event_id for event in found)
        return found

    def operate(self, act: Callable[..., Any], id: UUID) -> None:
        with self.flow.db.writing(Context(tenant=TENANT)) as session:
            act(session, TENANT, id)

    # --- what must be true ------------------------------------------------------------------------

    def nothing_is_left_alone(self) -> None:
        """Each event that is retried or waits is not done, and has a message to bring it back."""
        both = self.flow.rows("SELECT event_id FROM failed_events JOIN inbox USING (event_id)")
        assert both == [], "it is done, and yet holds others up"
        if any(worker.job is not None and not worker.inside for worker in self.workers):
            return
        coming = {(copy.event, copy.turn) for copy in [*self.ready, *self.delayed]}
        coming |= {(copy.event, copy.turn) for worker in self.workers for copy in worker.hand}
        coming |= set(self.flow.rows("SELECT event_id, turn FROM outbox"))
        rows = self.flow.rows("SELECT event_id, turn FROM failed_events WHERE state <> 'parked'")
        assert {tuple(row) for row in rows} <= {tuple(one) for one in coming}

    def finish(self) -> None:
        """Everything goes well from here on, and everything arrives."""
        for _ in range(300):
            for worker in self.workers:
                if worker.inside:
                    self.go_on(worker, "ok")
            self.settle()
            self.send()
            self.ready += self.delayed
            self.delayed = []
            if self.active.job is None and self.ready:
                self.deliver(2)
            busy = any(worker.job is not None for worker in self.workers)
            if not (busy or self.ready or self.flow.count("outbox")):
                break
        self.parked()
        effects = self.flow.rows("SELECT event_id, record FROM effects ORDER BY id")
        states = dict(map(tuple, self.flow.rows("SELECT event_id, state FROM failed_events")))
        assert set(states.values()) <= {"parked"}, "somebody waits for ever"
        applied = [event for event, _record in effects]
        assert len(applied) == len(set(applied)), "an effect came twice"
        everyone = {event for events in self.told.values() for event in events}
        assert set(applied) | set(states) | self.discarded == everyone, "an event is lost"
        assert not set(applied) & (set(states) | self.discarded), "what is parked has had effects"
        for key, events in self.told.items():
            steady = [event for event in events if event not in self.parked_once]
            mine = [event for event, record in effects if record == key]
            assert [event for event in mine if event in steady] == steady, "out of order"
        assert self.flow.count("begun_events") == 0

    def close(self) -> None:
        """Let every thread go."""
        for worker in self.workers:
            for _ in range(9):
                worker.gate.put("die")
        self.pool.shutdown()


@pytest.fixture
def world(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(inbox, "_KEY_S", 0.02)
    made = World(flow)
    yield made
    made.close()


def test_an_event_redelivered_in_the_middle_of_a_failing_handler_leaves_nothing_behind(
    world: World,
) -> None:
    first, second = world.workers
    world.tell("a")
    world.deliver(1)
    world.lose()
    world.deliver(1)
    assert first.inside
    assert not second.inside, "it waits for the one that has begun"

    world.go_on(first, "fail")
    if second.inside:
        world.go_on(second, "ok")

    world.nothing_is_left_alone()
    world.finish()
    assert world.flow.failed() == []


def test_a_second_delivery_that_fails_after_the_first_was_done_changes_nothing(
    world: World,
) -> None:
    world.tell("a")
    world.deliver(1)
    world.lose()
    world.deliver(1)

    world.go_on(world.workers[0], "ok")

    assert world.flow.count("effects") == 1
    assert world.flow.failed() == []
    world.finish()


def test_a_process_that_dies_of_an_event_each_time_ends_with_the_event_parked(
    world: World,
) -> None:
    poison = world.tell("a")
    world.tell("a")
    other = world.tell("b")

    deaths = 0
    for _ in range(20):
        world.deliver(3)
        while world.active.inside:
            died = world.active.inside == poison
            deaths += died
            world.go_on(world.active, "die" if died else "ok")
        if not world.ready:
            break
    world.finish()

    assert deaths <= inbox.BEGUN_MOST + 1
    (parked,) = world.parked()
    assert parked.event_id == poison
    assert "never ended" in (parked.error or "")
    applied = [event for (event,) in world.flow.rows("SELECT event_id FROM effects")]
    assert other in applied
    assert len(applied) == 2


def test_what_is_older_than_the_inbox_remembers_is_left_to_an_operator(world: World) -> None:
    """Somebody who kept a signed event could have it handled again, once it is forgotten."""
    days = inbox.REMEMBERED.days
    old, young = world.tell("a", age_days=days + 1), world.tell("a", age_days=days - 1)

    world.deliver(2)
    while world.active.inside:
        world.go_on(world.active, "ok")

    (parked,) = world.parked()
    assert parked.event_id == old
    assert "may have been handled" in (parked.error or "")
    assert world.flow.rows("SELECT event_id FROM effects") == [(young,)]

    world.operate(parking.replay, parked.id)
    world.finish()
    assert sorted(world.flow.rows("SELECT event_id FROM effects")) == [(old,), (young,)]
    world.ready.append(Copy(old, world.bodies[old], 0))
    world.finish()
    assert world.flow.count("effects") == 2, "it is known now"


def test_what_is_left_of_a_done_event_goes_when_its_copy_comes(world: World) -> None:
    """An earlier release could leave such a row, behind which others waited for ever."""
    event = world.tell("a")
    world.deliver(1)
    world.go_on(world.active, "ok")
    world.flow.rows(
        "INSERT INTO failed_events VALUES (:id, 'on_said', :queue, :event, :tenant, 'said', 'a', 1,"
        " :body, 'retrying', 1, 1, 'x', now(), now(), now())",
        id=uuid4(),
        queue=QUEUE,
        event=event,
        tenant=TENANT,
        body=world.body(id=str(event), key="a", data={"record": "a", "number": 1}),
    )
    world.tell("a")

    world.rescue()
    world.finish()

    assert world.flow.failed() == []
    assert world.flow.count("effects") == 2


class AnyOrder(RuleBasedStateMachine):
    """Every step that can happen to events, in any order that hypothesis thinks of."""

    flow: Flow

    def __init__(self) -> None:
        super().__init__()
        self.flow.rows("TRUNCATE effects, outbox, inbox, failed_events, begun_events")
        self.world = World(self.flow)

    @precondition(lambda self: self.world.seq < 8)
    @rule(key=st.sampled_from("aab"))
    def tell(self, key: str) -> None:
        self.world.tell(key)

    @precondition(lambda self: self.world.active.job is None and self.world.ready)
    @rule(most=st.integers(1, 3))
    def deliver(self, most: int) -> None:
        self.world.deliver(most)

    @precondition(lambda self: any(worker.inside for worker in self.world.workers))
    @rule(
        which=st.integers(0, 1),
        outcome=st.sampled_from(["ok", "ok", "fail", "fail", "fail", "die"]),
    )
    def go_on(self, which: int, outcome: str) -> None:
        inside = [worker for worker in self.world.workers if worker.inside]
        self.world.go_on(inside[which % len(inside)], outcome)

    @precondition(
        lambda self: (
            self.world.active.hand
            and all(w.job is None for w in self.world.workers if w is not self.world.active)
        )
    )
    @rule()
    def lose_the_channel(self) -> None:
        self.world.lose()

    @rule()
    def send(self) -> None:
        self.world.send()

    @precondition(lambda self: self.world.delayed)
    @rule(which=st.integers(0, 9))
    def come_back(self, which: int) -> None:
        self.world.ready.append(self.world.delayed.pop(which % len(self.world.delayed)))

    @rule()
    def rescue(self) -> None:
        self.world.rescue()

    @rule(act=st.sampled_from(["replay", "replay", "discard"]), which=st.integers(0, 9))
    def operate(self, act: str, which: int) -> None:
        parked = self.world.parked()
        if not parked:
            return
        chosen = parked[which % len(parked)]
        self.world.operate(getattr(parking, act), chosen.id)
        if act == "discard":
            self.world.discarded.add(chosen.event_id)
            with pytest.raises(NotFound):
                self.world.operate(parking.replay, chosen.id)

    @invariant()
    def nothing_is_left_alone(self) -> None:
        self.world.nothing_is_left_alone()

    def teardown(self) -> None:
        try:
            self.world.finish()
        finally:
            self.world.close()


def test_in_whatever_order_things_happen_each_event_is_done_once_or_parked(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "_KEY_S", 0.02)
    machine = type("Machine", (AnyOrder,), {"flow": flow})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
