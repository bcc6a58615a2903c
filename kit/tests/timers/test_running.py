"""What becomes of timers that are due, with everything that can come in between."""

import datetime as dt
import json
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from liaison_kit.context import Context, context
from liaison_kit.events import parking
from liaison_kit.events.outbox import emit
from liaison_kit.testing import principal
from liaison_kit.timers import Daily, Every, at, cancel, every, queue, running
from liaison_kit.timers.setting import NotMine
from liaison_sdk.errors import NotFound, Unavailable

from ..conftest import Told
from .conftest import FUTURE, PAST, Gate, Post, Ring, Shop


def raising(*numbers: int) -> Any:
    """A handler that can't bear some numbers."""

    def then(_session: Session, timer: Any) -> None:
        if timer.number in numbers:
            raise ValueError(f"can't bear {timer.number}")

    return then


def parked(shop: Shop, state: parking.State = "parked") -> list[parking.ParkedEvent]:
    with shop.db.reading(Context(tenant=shop.tenant)) as session:
        return parking.parked(session, shop.tenant, state=state)


# --- once -----------------------------------------------------------------------------------------


def test_a_timer_that_is_due_runs_once_and_is_gone(shop: Shop) -> None:
    shop.set(*range(250))

    claims = shop.run()

    assert shop.done() == list(range(250))
    assert shop.rows("id") == []
    assert claims == 3


def test_many_of_one_tenant_share_a_transaction_and_each_has_its_own_context(shop: Shop) -> None:
    seen = []
    shop.clock.then = lambda session, timer: seen.append(
        (
            session.scalar(text("SELECT pg_current_xact_id()::text")),
            context(session).correlation_id,
            context(session).tenant,
            timer.due_at,
        )
    )
    for number in range(5):
        shop.set(number)

    shop.run()

    transactions, correlations, tenants, dues = zip(*seen, strict=True)
    assert len(set(transactions)) == 1
    assert len(set(correlations)) == 5
    assert set(tenants) == {shop.tenant}
    assert set(dues) == {PAST}


def test_what_a_handler_tells_goes_out_with_the_timers_removal_or_not_at_all(shop: Shop) -> None:
    def then(session: Session, timer: Ring) -> None:
        emit(session, Told(about="a", number=timer.number))
        if timer.number == 2:
            raise ValueError

    shop.clock.then = then
    shop.set(1, 2, 3)

    shop.run()

    assert sorted(shop.ground.told()) == shop.done() == [1, 3]
    assert shop.rows("payload ->> 'number', attempt") == [("2", 1)]


def test_those_of_a_kind_that_asks_for_it_run_in_one_call_per_tenant(shop: Shop) -> None:
    shop.set(1, 2, 3, kind=Post)
    other = Shop(shop.ground, shop.db)
    other.set(4, kind=Post)

    shop.run(Post)

    assert sorted(map(sorted, shop.clock.calls)) == [[1, 2, 3], [4]]


def test_where_a_call_for_many_fails_each_runs_by_itself(shop: Shop) -> None:
    shop.clock.then = raising(2)
    shop.set(1, 2, 3, kind=Post)

    shop.run(Post)

    assert shop.done() == [1, 3]
    assert [len(call) for call in shop.clock.calls] == [3, 1, 1, 1]


def test_a_timer_may_set_itself_anew(shop: Shop) -> None:
    def then(session: Session, timer: Ring) -> None:
        if timer.number < 3:
            at(session, PAST, Ring(number=timer.number + 1), key="a")

    shop.clock.then = then
    shop.set(1, key="a")

    shop.run()

    assert shop.done() == [1, 2, 3]
    assert shop.rows("id") == []


def test_a_timer_may_cancel_and_move_others_that_are_due_with_it(shop: Shop) -> None:
    def then(session: Session, timer: Ring) -> None:
        if timer.number == 1:
            assert cancel(session, Ring, "2")
            at(session, dt.datetime.now(dt.UTC) + FUTURE, Ring(number=30), key="3")

    shop.clock.then = then
    for number in (1, 2, 3):
        shop.set(number, key=str(number))

    shop.run()

    assert shop.done() == [1]
    assert shop.rows("payload ->> 'number', taken") == [("30", None)]


# --- moved, cancelled and taken over meanwhile ----------------------------------------------------


def test_what_is_moved_while_it_runs_has_not_run(shop: Shop) -> None:
    gate = shop.clock.then = Gate()
    shop.set(1, key="a")
    claim = shop.claim()

    with gate.held(lambda: shop.runs.run(claim)), shop.writing() as session:
        at(session, dt.datetime.now(dt.UTC) + FUTURE, Ring(number=2), key="a")

    assert shop.done() == []
    assert shop.rows("payload ->> 'number', attempt, error") == [("2", 0, None)]


def test_what_is_cancelled_while_it_runs_has_not_run_and_the_others_have(shop: Shop) -> None:
    gate = shop.clock.then = Gate()
    shop.set(1, key="a")
    shop.set(2)
    claim = shop.claim()

    with gate.held(lambda: shop.runs.run(claim)), shop.writing() as session:
        assert cancel(session, Ring, "a")

    assert shop.done() == [2]
    assert shop.rows("id") == []
    assert shop.lot() == []


def test_nobody_who_cancels_a_timer_waits_for_it_with_a_record_in_their_hands(shop: Shop) -> None:
    """The handler waits for the record, whose holder cancels the timer: no circle."""
    with shop.writing() as session:
        session.execute(text("INSERT INTO things (id, said) VALUES (7, 'open')"))
    change = text("UPDATE things SET said = 'seen' WHERE id = 7")
    gate = Gate()

    def then(session: Session, timer: Ring) -> None:
        gate(session, timer)
        session.execute(change)

    shop.clock.then = then
    shop.set(1, key="a")
    claim = shop.claim()

    with shop.writing() as session:
        session.execute(text("UPDATE things SET said = 'paid' WHERE id = 7"))
        with gate.held(lambda: shop.runs.run(claim)):
            assert cancel(session, Ring, "a")
            session.commit()

    assert shop.ground.look("SELECT id, said FROM things") == [(7, "paid")]


def test_of_two_who_run_one_timer_the_one_whose_claim_has_ended_keeps_nothing(shop: Shop) -> None:
    gate = shop.clock.then = Gate()
    shop.set(1, key="a")
    first = shop.claim()

    with gate.held(lambda: shop.runs.run(first)):
        shop.bring_forward()
        shop.clock.then = lambda *_: None
        shop.runs.run(shop.claim())
        assert shop.done() == [1]

    assert shop.done() == [1]
    assert shop.rows("id") == []


def test_who_has_lost_a_timer_can_not_set_it_anew_either(shop: Shop) -> None:
    lost = []

    def then(session: Session, timer: Ring) -> None:
        shop.ground.look("DELETE FROM timers")
        try:
            at(session, PAST, Ring(number=2), key="a")
        except NotMine as error:
            lost.append(error)

    shop.clock.then = then
    shop.set(1, key="a")

    shop.runs.run(shop.claim())

    assert len(lost) == 1
    assert shop.done() == []
    assert shop.rows("id") == []


# --- failing --------------------------------------------------------------------------------------


def test_a_failing_timer_is_retried_and_then_parked_listed_and_replayed(shop: Shop) -> None:
    shop.clock.then = raising(1)
    shop.set(1, key="a")

    shop.run()
    retrying = parked(shop, "retrying")
    waits = shop.rows("round(extract(epoch FROM run_at - now()))::int, attempt")
    for _ in range(2):
        shop.bring_forward()
        shop.run()

    assert [(one.handler, one.type, one.key, one.attempts) for one in retrying] == [
        ("on_ring", "ring", "a", 1)
    ]
    assert waits == [(1, 1)]
    (one,) = parked(shop)
    assert (one.handler, one.type, one.key, one.attempts) == ("on_ring", "ring", "a", 3)
    assert one.error is not None
    assert "can't bear 1" in one.error
    assert one.envelope is not None
    assert one.envelope["data"]["number"] == 1
    assert one.first_failed_at == retrying[0].first_failed_at
    assert shop.rows("id") == []
    assert shop.done() == []
    # Its key is free, and what is replayed is not moved by it.
    with shop.writing() as session:
        at(session, dt.datetime.now(dt.UTC) + FUTURE, Ring(number=9), key="a")
        parking.replay(session, shop.tenant, one.id)
    shop.clock.then = lambda *_: None
    shop.run()
    assert shop.done() == [1]
    assert shop.lot() == []
    assert shop.rows("payload ->> 'number'") == [("9",)]


def test_a_parked_timer_is_discarded_for_good_and_only_by_its_tenant(shop: Shop) -> None:
    shop.clock.then = raising(1)
    shop.set(1)
    for _ in range(3):
        shop.run()
        shop.bring_forward()
    (one,) = parked(shop)
    other = Shop(shop.ground, shop.db)

    with other.writing() as session:
        assert parking.parked(session, other.tenant) == []
        with pytest.raises(NotFound):
            parking.replay(session, other.tenant, one.id)
    with shop.writing() as session:
        parking.discard(session, shop.tenant, one.id)

    shop.clock.then = lambda *_: None
    assert shop.run() == 0
    assert shop.lot() == []


def test_what_today_can_not_read_is_parked_at_once(shop: Shop) -> None:
    shop.set(1, 2)
    shop.ground.look("UPDATE timers SET payload = '{}' WHERE payload ->> 'number' = '1'")

    shop.run()

    assert shop.done() == [2]
    assert [row[:5] for row in shop.lot()] == [("on_ring", "ring", "", "parked", 1)]


def test_a_timer_that_ends_its_process_each_time_is_found_out_and_parked(shop: Shop) -> None:
    shop.set(1, 2, 3)
    ((poison,),) = shop.ground.look("SELECT id FROM timers WHERE payload ->> 'number' = '1'")

    assert len(shop.claim().ids) == 3
    deaths = 1
    while shop.rows("id"):
        # Whoever has claimed it is gone.
        shop.bring_forward()
        claim = shop.claim()
        assert len(claim.ids) == 1
        if str(claim.ids[0]) == poison and deaths < running.BEGUN_MOST:
            deaths += 1
        else:
            shop.runs.run(claim)

    assert deaths == running.BEGUN_MOST
    assert shop.done() == [2, 3]
    ((_handler, _kind, _key, state, _attempt, error),) = shop.lot()
    assert state == "parked"
    assert "begun 5 times and never ended" in error


def test_beside_a_suspect_only_what_was_never_begun_is_claimed(shop: Shop) -> None:
    shop.set(1, 2)
    shop.claim()
    shop.bring_forward()

    suspect = shop.claim()
    assert (len(suspect.ids), suspect.suspect) == (1, True)
    assert queue.claim(shop.db, Ring.kind, suspects=False) is None

    shop.set(3, 4)
    fresh = queue.claim(shop.db, Ring.kind, suspects=False)
    assert fresh is not None
    assert (len(fresh.ids), fresh.suspect) == (2, False)


def test_when_the_database_goes_away_nobody_is_at_fault(shop: Shop) -> None:
    def then(session: Session, _timer: Ring) -> None:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    shop.clock.then = then
    shop.set(1)
    claim = shop.claim()

    with pytest.raises(OperationalError):
        shop.runs.run(claim)

    assert shop.rows("attempt, error") == [(0, None)]
    shop.clock.then = lambda *_: None
    shop.bring_forward()
    shop.run()
    assert shop.done() == [1]


def test_a_handler_that_takes_too_long_is_ended_and_retried(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "HANDLER_S", 0.05)

    def then(session: Session, _timer: Ring) -> None:
        import eventlet

        eventlet.sleep(5)

    shop.clock.then = then
    shop.set(1)

    shop.runs.run(shop.claim())

    ((attempt, error),) = shop.rows("attempt, error")
    assert attempt == 1
    assert error.startswith("HandlerTooSlow")


# --- for a person ---------------------------------------------------------------------------------


def signed(shop: Shop, text: str) -> Any:
    who = principal(shop.tenant, "things:read")
    object.__setattr__(who, "signed", text)
    return who


def test_a_timer_of_a_persons_runs_with_the_rights_that_they_have_by_then(shop: Shop) -> None:
    seen = []

    def then(session: Session, _timer: Ring) -> None:
        seen.append(
            (
                context(session).principal,
                session.scalar(text("SELECT current_setting('liaison.permissions', true)")),
            )
        )

    shop.clock.then = then
    with shop.writing(signed(shop, "then")) as session:
        at(session, PAST, Ring(number=1), on_behalf=True)
        at(session, PAST, Ring(number=2))
    now = principal(shop.tenant, "things:write")
    shop.rights["then"] = now

    shop.run()

    assert (now, "{things:write}") in seen
    assert [who for who, _ in seen].count(None) == 1


def test_a_timer_of_somebody_who_has_left_is_parked_and_a_schedule_ends(shop: Shop) -> None:
    with shop.writing(signed(shop, "gone")) as session:
        at(session, PAST, Ring(number=1), on_behalf=True)
        every(session, Every(hours=1), Ring(number=2), key="a", on_behalf=True)
    shop.rights["gone"] = None
    shop.bring_forward()

    shop.run()

    assert shop.rows("id") == []
    assert shop.done() == []
    found = parked(shop)
    assert len(found) == 2
    assert all("NoLongerAllowed" in (one.error or "") for one in found)
    assert "signed" not in json.dumps([one.envelope for one in found])
    assert all("principal" not in (one.envelope or {}) for one in found)


def test_when_nobody_can_say_what_somebody_may_the_timer_is_retried(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unanswered(_signed: str) -> Any:
        raise Unavailable("identity does not answer")

    with shop.writing(signed(shop, "then")) as session:
        at(session, PAST, Ring(number=1), on_behalf=True)
    monkeypatch.setattr(shop.runs, "_rights", unanswered)

    shop.run()

    assert shop.rows("attempt") == [(1,)]


# --- every so often -------------------------------------------------------------------------------


def test_a_schedule_goes_on_to_its_next_moment_and_what_was_missed_runs_once(shop: Shop) -> None:
    with shop.writing() as session:
        every(session, Daily(at="06:00"), Ring(number=1), key="a", zone="Europe/Paris")
    shop.ground.look("UPDATE timers SET due_at = due_at - interval '10 days', run_at = now()")

    assert shop.run() == 1

    ((due, run, taken, begun),) = shop.rows("due_at, run_at, taken, begun")
    assert shop.done() == [1]
    assert due == run
    assert dt.timedelta(0) < due - dt.datetime.now(dt.UTC) <= dt.timedelta(hours=25)
    assert (taken, begun) == (None, 0)


def test_a_schedule_that_fails_is_parked_for_that_moment_and_goes_on(shop: Shop) -> None:
    shop.clock.then = raising(1)
    with shop.writing() as session:
        every(session, Every(hours=1), Ring(number=1), key="a")
    for _ in range(6):
        shop.bring_forward()
        shop.run()

    assert [row[4] for row in shop.lot()] == [3, 3]
    shop.clock.then = lambda *_: None
    with shop.writing() as session:
        for one in parking.parked(session, shop.tenant):
            parking.discard(session, shop.tenant, one.id)
    shop.bring_forward()
    shop.run()
    assert shop.done() == [1]
    assert shop.rows("attempt, error, schedule ->> 'seconds'") == [(0, None, "3600")]


def test_a_schedule_may_end_itself(shop: Shop) -> None:
    shop.clock.then = lambda session, _timer: cancel(session, Ring, "a")
    with shop.writing() as session:
        every(session, Every(hours=1), Ring(number=1), key="a")
    shop.bring_forward()

    shop.run()

    assert shop.done() == [1]
    assert shop.rows("id") == []


def test_nothing_is_claimed_of_what_is_claimed_already(shop: Shop) -> None:
    shop.set(1, 2)

    first, second = queue.claim(shop.db, "ring"), queue.claim(shop.db, "ring")

    assert first is not None
    assert len(first.ids) == 2
    assert second is None
