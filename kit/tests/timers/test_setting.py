"""Timers are set, moved and cancelled with the transaction of the change, or not at all."""

import datetime as dt
from contextlib import closing

import pytest
from sqlalchemy import text

from liaison_kit.calls.builtin import CommonOperations
from liaison_kit.ids import uuid7
from liaison_kit.service import Service
from liaison_kit.testing import principal
from liaison_kit.timers import Daily, Every, NoZone, Timer, TooFarAhead, at, cancel, every
from liaison_kit.timers.timer import TimerHandler, handlers_of, on_timer
from liaison_kit.zones import UnknownZone
from liaison_sdk.labels import Label

from .conftest import FUTURE, PAST, Clock, Post, Ring, Shop


def soon() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Bell:
    """Counts how often it is rung, and what was committed by then."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.heard: list[int] = []

    def ring(self) -> None:
        self.heard.append(len(self._shop.rows("id")))


def test_a_timer_is_set_if_its_transaction_commits(shop: Shop) -> None:
    with shop.writing() as session:
        at(session, PAST, Ring(number=1))
        session.rollback()
    assert shop.rows("id") == []

    with shop.writing() as session:
        at(session, PAST, Ring(number=1))

    assert shop.rows("kind, payload ->> 'number'") == [("ring", "1")]


def test_a_key_names_one_timer_of_its_kind_and_tenant(shop: Shop) -> None:
    other = uuid7()
    with shop.writing() as session:
        at(session, PAST, Ring(number=1), key="a")
        at(session, PAST, Ring(number=2), key="b")
        at(session, PAST, Post(number=3), key="a")
    with shop.writing(tenant=other) as session:
        at(session, PAST, Ring(number=4), key="a")

    with shop.writing() as session:
        at(session, soon() + FUTURE, Ring(number=5), key="a")

    numbers = {int(number) for (number,) in shop.rows("payload ->> 'number'")}
    assert numbers == {2, 3, 4, 5}


def test_a_timer_is_cancelled_by_its_key_and_who_does_learns_whether_there_was_one(
    shop: Shop,
) -> None:
    shop.set(1, key="a")
    with shop.writing(tenant=uuid7()) as session:
        assert not cancel(session, Ring, "a")
    with shop.writing() as session:
        assert not cancel(session, Post, "a")
        assert cancel(session, Ring, "a")
        assert not cancel(session, Ring, "a")

    assert shop.run() == 0


def test_what_is_over_is_due_at_once(shop: Shop) -> None:
    with shop.writing() as session:
        at(
            session,
            dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=14))),
            Ring(number=1),
        )
        at(session, soon() + FUTURE, Ring(number=2))

    shop.run()

    assert shop.done() == [1]


@pytest.mark.parametrize(
    "when",
    [
        dt.datetime.max.replace(tzinfo=dt.UTC),
        dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=12))),
        soon() + dt.timedelta(days=51 * 366),
    ],
)
def test_a_moment_that_nobody_means_is_refused_and_changes_nothing(
    shop: Shop, when: dt.datetime
) -> None:
    shop.set(1, key="a")

    with shop.writing() as session, pytest.raises(TooFarAhead, match="earlier"):
        at(session, when, Ring(number=2), key="a")

    assert shop.rows("payload ->> 'number'") == [("1",)]


def test_a_time_without_a_zone_is_refused(shop: Shop) -> None:
    with shop.writing() as session, pytest.raises(NoZone):
        at(session, dt.datetime(2026, 1, 1), Ring(number=1))


@pytest.mark.parametrize("key", ["", "k" * 301])
def test_a_key_has_a_length(shop: Shop, key: str) -> None:
    with shop.writing() as session, pytest.raises(ValueError, match="300"):
        at(session, PAST, Ring(number=1), key=key)


def test_a_schedule_needs_a_zone_that_there_is(shop: Shop) -> None:
    with shop.writing() as session, pytest.raises(UnknownZone):
        every(session, Daily(at="06:00"), Ring(number=1), key="a", zone="Europe/Nowhere")

    assert shop.rows("id") == []


def test_a_schedule_is_set_anew_and_cancelled_by_its_key(shop: Shop) -> None:
    for hours in (1, 2):
        with shop.writing() as session:
            every(session, Every(hours=hours), Ring(number=1), key="a")
    assert shop.rows("schedule") == [({"seconds": 7200},)]

    with shop.writing() as session:
        assert cancel(session, Ring, "a")

    assert shop.rows("id") == []


def test_only_what_is_due_soon_is_announced_and_only_once_it_is_there(shop: Shop) -> None:
    bell = Bell(shop)
    shop.db.timers = bell

    with shop.writing() as session:
        at(session, soon() + dt.timedelta(minutes=10), Ring(number=1))
    assert bell.heard == []
    with shop.writing() as session:
        at(session, PAST, Ring(number=2))
        session.rollback()
    assert bell.heard == []
    with shop.writing() as session:
        at(session, PAST, Ring(number=3))
        with session.begin_nested():
            at(session, PAST, Ring(number=4))
        at(session, PAST, Ring(number=5))

    assert bell.heard == [4]


def test_who_runs_timers_elsewhere_is_told_by_a_notice(shop: Shop) -> None:
    with closing(shop.db.listen("timers")) as listening:
        with shop.writing() as session:
            at(session, soon() + dt.timedelta(minutes=10), Ring(number=1))
        listening.poll()
        assert listening.notifies == []

        with shop.writing() as session:
            at(session, PAST, Ring(number=1))
            at(session, PAST, Ring(number=2))
        with listening.cursor() as cursor:
            cursor.execute("SELECT 1")
        listening.poll()

    assert len(listening.notifies) == 1


def test_nobody_sees_another_tenants_timers(shop: Shop) -> None:
    shop.set(1, key="a")
    shop.set(2)

    with shop.writing(tenant=uuid7()) as session:
        seen = session.scalar(text("SELECT count(*) FROM timers"))
        session.execute(text("UPDATE timers SET run_at = now()"))

    assert seen == 0


def test_a_person_is_kept_only_where_the_timer_is_theirs(shop: Shop) -> None:
    who = principal(shop.tenant)
    object.__setattr__(who, "signed", "signed")
    with shop.writing(who) as session:
        at(session, PAST, Ring(number=1))
        at(session, PAST, Ring(number=2), on_behalf=True)

    assert shop.rows("principal") == [(None,), ("signed",)]


def test_a_kind_of_timer_has_a_name_and_one_handler() -> None:
    with pytest.raises(TypeError, match="kind"):
        type("Nameless", (Timer,), {"__module__": __name__})

    class Double(Clock):
        @on_timer(Ring)
        def another(self) -> None: ...

    with pytest.raises(TypeError, match="two handlers for ring"):
        handlers_of(Double)


def test_a_service_knows_its_kinds_of_timers() -> None:
    class Bells(Service):
        name = "bells"
        label = Label(en="Bells", fr="Cloches")

        @on_timer(Ring, together=True)
        def on_rings(self) -> None: ...

    own = {"ring": TimerHandler("ring", Ring, "on_rings", together=True)}
    assert Bells.timer_handlers == handlers_of(CommonOperations) | own
