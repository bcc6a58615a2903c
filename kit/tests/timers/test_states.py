"""Two runners, and others who set, move and cancel: in any order, each timer has its effect once.

A runner stops inside of its handler until it is told what comes of it; claims end when the test
says so. The database is real. `LIAISON_STATES=300` makes it a long run.
"""

import datetime as dt
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

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
from sqlalchemy.orm import Session

from liaison_kit.run.process import wait_until
from liaison_kit.timers import at, cancel, queue
from liaison_kit.timers.queue import Claim
from liaison_kit.timers.running import Runs
from liaison_kit.timers.timer import handlers_of

from .conftest import FUTURE, PAST, Clock, Ring, Shop, leave

EXAMPLES = int(os.environ.get("LIAISON_STATES", "8"))
KEYS = st.sampled_from("abc")
DUE = st.sampled_from([PAST, None])
OUTCOMES = st.sampled_from(["do", "do", "fail", "die", "again", "stop"])
NEVER_GIVES_UP = (0.0,) * 1000
ROUNDS = 200


class Killed(BaseException):
    """The runner's process ends here."""


@dataclass(eq=False)
class Runner:
    """A process that runs timers: a thread that stops inside of its handler."""

    shop: Shop
    gate: "SimpleQueue[tuple[str, int]]" = field(default_factory=SimpleQueue)
    inside: bool = False
    job: "Future[None] | None" = None
    locks: bool = False
    """Whether a handler has set or cancelled something, which its transaction holds locked."""

    def __post_init__(self) -> None:
        self.runs = Runs(
            "clock", handlers_of(Clock), self.shop.db, self._call, principal_of, NEVER_GIVES_UP
        )

    def _call(self, _method: str, session: Session, timer: Any) -> None:
        leave(session, timer.number)
        self.inside = True
        outcome, number = self.gate.get()
        if outcome == "fail":
            raise ValueError("it fails")
        if outcome == "die":
            raise Killed
        if outcome == "again":
            at(session, PAST, Ring(number=number, filling=timer.filling), key=timer.filling)
        if outcome == "stop":
            cancel(session, Ring, timer.filling)

    def take(self, pool: ThreadPoolExecutor, claim: Claim) -> None:
        self.job = pool.submit(self.runs.run, claim)
        self._settle()

    def go_on(self, outcome: str, number: int) -> None:
        self.locks = self.locks or outcome in ("again", "stop")
        self.inside = False
        self.gate.put((outcome, number))
        self._settle()

    def _settle(self) -> None:
        """Until it is inside of a handler, or done."""
        assert self.job is not None
        job = self.job
        assert wait_until(lambda: job.done() or self.inside, seconds=20, every=0.001)
        if job.done():
            self.job, self.inside, self.locks = None, False, False
            error = job.exception()
            assert error is None or isinstance(error, Killed), error


def principal_of(_signed: str) -> Any:
    raise AssertionError("no timer here is a person's")


class World(RuleBasedStateMachine):
    """What was set, and what of it was dropped, by being moved or cancelled, before it had run."""

    shop: Shop

    def __init__(self) -> None:
        super().__init__()
        self.shop.ground.look("DELETE FROM timers; DELETE FROM things")
        self.pool = ThreadPoolExecutor(2)
        self.runners = [Runner(self.shop), Runner(self.shop)]
        self.number = 0
        self.set_ones: set[int] = set()
        self.dropped: set[int] = set()

    def _there(self, key: str | None = None) -> set[int]:
        """The numbers of timers that are set, or of the one of a key."""
        rows = self.shop.rows("key, (payload ->> 'number')::int")
        return {number for name, number in rows if key in (None, name)}

    def _nobody_holds(self) -> bool:
        return not any(runner.locks for runner in self.runners)

    @precondition(_nobody_holds)
    @rule(key=KEYS, due=DUE)
    def set(self, key: str, due: dt.datetime | None) -> None:
        before = self._there(key)
        self.number += 1
        when = due or dt.datetime.now(dt.UTC) + FUTURE
        with self.shop.writing() as session:
            at(session, when, Ring(number=self.number, filling=key), key=key)
        self.set_ones.add(self.number)
        self.dropped |= before

    @precondition(_nobody_holds)
    @rule(key=KEYS)
    def cancel(self, key: str) -> None:
        before = self._there(key)
        with self.shop.writing() as session:
            assert cancel(session, Ring, key) == bool(before)
        self.dropped |= before

    @rule(which=st.integers(0, 1))
    def take(self, which: int) -> None:
        runner = self.runners[which]
        if runner.job is None and (claim := queue.claim(self.shop.db, "ring")) is not None:
            runner.take(self.pool, claim)

    @rule(which=st.integers(0, 1), outcome=OUTCOMES)
    def go_on(self, which: int, outcome: str) -> None:
        runner = self.runners[which]
        if not runner.inside or not (runner.locks or self._nobody_holds()):
            return
        self.number += 1
        runner.go_on(outcome, self.number)

    @precondition(_nobody_holds)
    @rule()
    def end_claims(self) -> None:
        """As if nobody had renewed them for long; who was claimed often is not suspected here."""
        self.shop.ground.look("UPDATE timers SET run_at = now(), begun = 0 WHERE taken IS NOT NULL")

    @invariant()
    def nothing_has_its_effect_twice_and_what_was_dropped_has_none(self) -> None:
        effects = self.shop.done()
        assert len(effects) == len(set(effects))
        assert not self.dropped & set(effects)

    def teardown(self) -> None:
        try:
            for runner in sorted(self.runners, key=lambda runner: not runner.locks):
                while runner.inside:
                    runner.go_on("do", 0)
            for _ in range(ROUNDS):
                self.end_claims()
                self.take(0)
                if self.runners[0].job is None:
                    break
                while self.runners[0].inside:
                    self.runners[0].go_on("do", 0)
            due = self.shop.ground.look("SELECT id FROM timers WHERE run_at <= now()")
            assert due == []
            self.nothing_has_its_effect_twice_and_what_was_dropped_has_none()
            assert self.set_ones == self.set_ones & (
                set(self.shop.done()) | self.dropped | self._there()
            )
        finally:
            self.pool.shutdown()


@pytest.fixture
def world(shop: Shop) -> type[World]:
    return type("World", (World,), {"shop": shop})


def test_in_whatever_order_things_happen_each_timer_has_its_effect_once(
    world: type[World],
) -> None:
    run_state_machine_as_test(
        world,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
