"""An event is sent if its change is committed, and only then, in the order of the commits."""

from contextlib import closing, suppress

import psycopg2
import pytest
from sqlalchemy import event, text

from liaison_kit.context import Context
from liaison_kit.events.outbox import CHANNEL, emit

from .conftest import Flow, Said


def test_a_rolled_back_change_sends_nothing(flow: Flow) -> None:
    with suppress(ZeroDivisionError), flow.db.writing(Context(flow.tenant)) as session:
        emit(session, Said(record="a", number=1))
        _ = 1 / 0

    assert flow.count("outbox") == 0


def test_a_rolled_back_savepoint_takes_its_events_with_it(flow: Flow) -> None:
    with flow.db.writing(Context(flow.tenant)) as session:
        emit(session, Said(record="a", number=1))
        with suppress(ZeroDivisionError), session.begin_nested():
            emit(session, Said(record="a", number=2))
            _ = 1 / 0
        with session.begin_nested():
            emit(session, Said(record="a", number=3))
        emit(session, Said(record="a", number=4))

    bodies = flow.rows("SELECT body::json->'data'->>'number' FROM outbox ORDER BY seq")
    assert [number for (number,) in bodies] == ["1", "3", "4"]


def test_a_session_that_is_used_again_starts_empty(flow: Flow) -> None:
    with flow.db.session(Context(flow.tenant)) as session:
        emit(session, Said(record="a", number=1))
        session.rollback()
        emit(session, Said(record="a", number=2))
        session.commit()
        session.commit()

    assert flow.count("outbox") == 1


class _Relay:
    """What a relay in this process would see of the outbox when it is rung."""

    def __init__(self, flow: Flow) -> None:
        self.leads = True
        self.seen: list[int] = []
        self._flow = flow

    def ring(self) -> None:
        self.seen.append(self._flow.count("outbox"))


@pytest.mark.parametrize("events", [1, 3])
def test_a_relay_that_leads_here_is_rung_and_others_by_notice(flow: Flow, events: int) -> None:
    flow.db.relay = here = _Relay(flow)
    elsewhere = psycopg2.connect(flow.url.set(drivername="postgresql").render_as_string(False))
    elsewhere.autocommit = True
    elsewhere.cursor().execute(f"LISTEN {CHANNEL}")

    def told() -> int:
        elsewhere.cursor().execute("SELECT 1")
        found, elsewhere.notifies = len(elsewhere.notifies), []
        return found

    def say() -> None:
        with flow.db.writing(Context(flow.tenant)) as session:
            for number in range(events):
                emit(session, Said(record="a", number=number))

    with closing(elsewhere):
        say()
        assert (here.seen, told()) == ([events], 0)
        with suppress(ZeroDivisionError), flow.db.writing(Context(flow.tenant)) as session:
            emit(session, Said(record="a", number=1))
            _ = 1 / 0
        assert (here.seen, told()) == ([events], 0)
        here.leads = False
        say()
        assert (here.seen, told()) == ([events], 1)


def test_events_are_numbered_after_their_records_are_locked(flow: Flow) -> None:
    flow.rows("INSERT INTO things VALUES ('a', 0)")
    update = text("UPDATE things SET said = said + 1 WHERE name = 'a'")

    with (
        flow.db.session(Context(flow.tenant)) as first,
        flow.db.session(Context(flow.tenant)) as second,
    ):
        emit(second, Said(record="a", number=2))
        first.execute(update)
        emit(first, Said(record="a", number=1))
        first.commit()
        second.execute(update)
        second.commit()

    bodies = flow.rows("SELECT body::json->'data'->>'number' FROM outbox ORDER BY seq")
    assert [number for (number,) in bodies] == ["1", "2"]


def test_many_events_of_one_transaction_are_one_statement(flow: Flow) -> None:
    statements: list[str] = []
    event.listen(flow.db.engines[0], "before_cursor_execute", lambda *a: statements.append(a[2]))

    with flow.db.writing(Context(flow.tenant)) as session:
        for number in range(500):
            emit(session, Said(record="a", number=number))

    assert len(statements) == 1
    assert flow.count("outbox") == 500
