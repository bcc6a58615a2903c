"""Transactions begin and end where they should, whatever fails in between, for one tenant each."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    OperationalError,
    PendingRollbackError,
    ProgrammingError,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.database.prepared import Prepared
from liaison_kit.database.statements import Statement
from liaison_kit.database.tables import Base, TenantRow
from liaison_kit.events.outbox import emit
from liaison_kit.testing import about, statements

from .conftest import Ground, Told

ADD = Statement("INSERT INTO things (id) VALUES (%(id)s) RETURNING tenant_id")
SEEN = Statement("SELECT count(*), current_setting('liaison.tenant', true) FROM things")
SAY = Statement("SELECT %(said)s::text")
NOWHERE = Statement("SELECT FROM nowhere WHERE id = %(id)s")
TENANT = text("SELECT current_setting('liaison.tenant', true)")


class Thing(TenantRow, Base):
    """A row that SQLAlchemy's session keeps."""

    __tablename__ = "things"

    id: Mapped[int] = mapped_column(primary_key=True)
    said: Mapped[str | None]


def add(session: Session, id: int) -> Any:
    """Add a thing by a prepared statement; whose it has become."""
    return ADD.run(session, {"id": id})[0][0]


def core_add(session: Session, id: int) -> Any:
    """Add a thing through SQLAlchemy; whose it has become."""
    return session.execute(
        text("INSERT INTO things (id) VALUES (:id) RETURNING tenant_id"), {"id": id}
    ).scalar_one()


def orm_add(session: Session, id: int) -> Any:
    """Add a thing by SQLAlchemy's unit of work; whose it has become."""
    thing = Thing(id=id, tenant_id=session.info["context"].tenant)
    session.add(thing)
    session.flush()
    return thing.tenant_id


WAYS = [add, core_add, orm_add]


# --- beginning and ending -------------------------------------------------------------------------


def test_a_change_with_its_event_is_two_round_trips(db: Database, someone: Context) -> None:
    with db.writing(someone) as session:
        SAY.run(session, {"said": "prepared by now"})
        emit(session, Told(about="a"))

    with statements(db) as seen, db.writing(someone) as session:
        add(session, 1)
        emit(session, Told(about="a"))

    assert len(seen) == 2
    assert seen[0].startswith(f"BEGIN; SET LOCAL liaison.tenant = '{someone.tenant}'; INSERT")


@pytest.mark.parametrize("first", WAYS)
@pytest.mark.parametrize("second", WAYS)
def test_a_transaction_is_one_however_its_statements_are_run(
    ground: Ground, db: Database, someone: Context, first: Any, second: Any
) -> None:
    with db.session(someone) as session:
        owners = {first(session, 1), second(session, 2)}
        session.rollback()
    assert owners == {someone.tenant}
    assert ground.things() == []

    with db.writing(someone) as session:
        first(session, 1)
        second(session, 2)
    assert ground.things() == [1, 2]


def test_a_transaction_that_is_left_is_rolled_back(
    ground: Ground, db: Database, someone: Context
) -> None:
    with db.session(someone) as session:
        add(session, 1)

    assert ground.things() == []
    assert ground.states() == {"idle"}


def test_many_rows_at_once_may_be_a_transactions_first_statement(
    ground: Ground, db: Database, someone: Context
) -> None:
    insert = text("INSERT INTO things (id) VALUES (:id)")

    with db.session(someone) as session:
        session.execute(insert, [{"id": 1}, {"id": 2}])
        session.rollback()
    with db.writing(someone) as session:
        session.execute(insert, [{"id": 3}, {"id": 4}])

    assert ground.look("SELECT id, tenant_id::text FROM things ORDER BY id") == [
        (3, str(someone.tenant)),
        (4, str(someone.tenant)),
    ]


def test_a_session_may_be_used_for_one_transaction_after_another(
    ground: Ground, db: Database, someone: Context
) -> None:
    with db.session(someone) as session:
        for id in (1, 2, 3):
            assert add(session, id) == someone.tenant
            emit(session, Told(about="a", number=id))
            if id == 2:
                session.rollback()
            else:
                session.commit()

    assert ground.things() == ground.told() == [1, 3]


def test_a_bare_connection_keeps_what_its_caller_commits(ground: Ground, db: Database) -> None:
    insert = text("INSERT INTO parts VALUES (NULL)")

    with db.connection() as connection:
        connection.execute(insert)
        connection.commit()
        connection.execute(insert)
        connection.rollback()
    with db.connection() as connection:
        connection.execute(insert)

    assert ground.look("SELECT count(*) FROM parts") == [(1,)]
    assert ground.states() == {"idle"}


def test_the_unit_of_work_and_prepared_statements_see_each_others_rows(
    db: Database, someone: Context
) -> None:
    with db.session(someone) as session:
        session.add(Thing(id=1, tenant_id=someone.tenant))
        assert SEEN.run(session, {})[0][0] == 1

        add(session, 2)
        assert session.get(Thing, 2) is not None


# --- what fails -----------------------------------------------------------------------------------


def say_nul(session: Session) -> Any:
    SAY.run(session, {"said": "\x00"})


def say_nul_by_sqlalchemy(session: Session) -> Any:
    session.execute(text("SELECT :said"), {"said": "\x00"})


def ask_nowhere(session: Session) -> Any:
    NOWHERE.run(session, {"id": 1})


def stammer(session: Session) -> Any:
    session.execute(text("SELEC"))


@pytest.mark.parametrize("fail", [say_nul, say_nul_by_sqlalchemy, ask_nowhere, stammer])
@pytest.mark.parametrize("go_on", WAYS)
def test_a_first_statement_that_is_not_run_leaves_the_transaction_to_be_opened(
    ground: Ground, db: Database, someone: Context, fail: Any, go_on: Any
) -> None:
    with db.session(someone) as session:
        with pytest.raises((ValueError, ProgrammingError)):
            fail(session)
        assert go_on(session, 1) == someone.tenant
        session.rollback()

    assert ground.things() == []


@pytest.mark.parametrize("again", [add, core_add])
def test_a_commit_after_a_failed_statement_is_refused(
    ground: Ground, db: Database, someone: Context, again: Any
) -> None:
    def shrug_off(session: Session) -> None:
        add(session, 1)
        with suppress(IntegrityError):
            again(session, 1)

    with pytest.raises(PendingRollbackError), db.writing(someone) as session:
        shrug_off(session)

    assert ground.things() == []
    assert ground.states() == {"idle"}


def test_what_fails_within_a_savepoint_fails_alone(
    ground: Ground, db: Database, someone: Context
) -> None:
    with db.writing(someone) as session:
        for id in (1, 1, 2):
            with suppress(IntegrityError), session.begin_nested():
                assert add(session, id) == someone.tenant
                emit(session, Told(about="a", number=id))

    assert ground.things() == ground.told() == [1, 2]


def test_a_savepoint_may_be_a_transactions_first_statement(
    ground: Ground, db: Database, someone: Context
) -> None:
    with db.session(someone) as session:
        with suppress(ZeroDivisionError), session.begin_nested():
            add(session, 1)
            _ = 1 / 0
        assert add(session, 2) == someone.tenant
        session.rollback()

    assert ground.things() == []


@pytest.mark.parametrize("events", [0, 1, 2])
def test_what_is_found_at_the_commit_only_undoes_all_of_it(
    ground: Ground, db: Database, someone: Context, events: int
) -> None:
    def refer_to_nothing(session: Session) -> None:
        add(session, 1)
        session.execute(text("INSERT INTO parts VALUES (7)"))
        for number in range(events):
            emit(session, Told(about="a", number=number))

    with pytest.raises(IntegrityError), db.writing(someone) as session:
        refer_to_nothing(session)

    assert ground.things() == ground.told() == []
    assert ground.states() == {"idle"}


@pytest.mark.parametrize("events", [1, 2, 1001])
@pytest.mark.parametrize("alone", [True, False])
def test_events_that_cannot_be_written_undo_all_of_it(
    ground: Ground, db: Database, someone: Context, events: int, alone: bool
) -> None:
    def tell(session: Session) -> None:
        if not alone:
            add(session, 1)
        for number in range(events):
            emit(session, Told(about="full" if number == events - 1 else "a"))

    ground.look("ALTER TABLE outbox ADD CONSTRAINT full_up CHECK (body NOT LIKE '%full%')")
    try:
        with pytest.raises(IntegrityError), db.writing(someone) as session:
            tell(session)
    finally:
        ground.look("ALTER TABLE outbox DROP CONSTRAINT full_up")

    assert ground.things() == ground.told() == []
    assert ground.states() == {"idle"}


def test_a_statement_that_takes_too_long_ends_its_transaction_only(
    ground: Ground, db: Database, someone: Context
) -> None:
    sleep = Statement("SELECT pg_sleep(%(seconds)s)")

    def linger(session: Session) -> None:
        session.execute(text("SET LOCAL statement_timeout = 20"))
        add(session, 1)
        sleep.run(session, {"seconds": 60})

    with pytest.raises(OperationalError) as caught, db.writing(someone) as session:
        linger(session)
    with db.writing(someone) as session:
        sleep.run(session, {"seconds": 0.03})
        add(session, 2)

    assert not caught.value.connection_invalidated
    assert ground.things() == [2]


def test_errors_are_sqlalchemys_however_a_statement_is_run(db: Database, someone: Context) -> None:
    divide = Statement("SELECT 1 / %(by)s")

    with pytest.raises(DataError), db.writing(someone) as session:
        divide.run(session, {"by": 0})
    with db.reading(someone) as session:
        with pytest.raises(DataError):
            divide.run(session, {"by": 0})
        assert session.execute(text("SELECT 1")).scalar_one() == 1
        with pytest.raises(DataError):
            divide.run(session, {"by": 0})
        assert divide.run(session, {"by": 1}) == [(1,)]


# --- the server goes away -------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("when", ["before", "within", "committing", "committing with an event"])
def test_a_lost_connection_is_told_and_loses_its_transaction_only(
    ground: Ground, someone: Context, when: str, way: Callable[[Session, int], Any]
) -> None:
    db = ground.open(pool_size=1)
    with db.writing(someone) as session:
        way(session, 1)

    def be_cut_off(session: Session) -> None:
        if when == "before":
            ground.cut()
        way(session, 2)
        if when != "before":
            ground.cut()
        if when == "within":
            way(session, 3)
        if when == "committing with an event":
            emit(session, Told(about="a"))

    with pytest.raises(DBAPIError) as caught, db.writing(someone) as session:
        be_cut_off(session)
    with db.writing(someone) as session:
        way(session, 4)

    assert caught.value.connection_invalidated
    assert ground.things() == [1, 4]
    assert ground.told() == []


def test_a_session_goes_on_after_a_lost_connection_once_it_is_rolled_back(
    ground: Ground, db: Database, someone: Context
) -> None:
    with db.session(someone) as session:
        add(session, 1)
        ground.cut()
        with pytest.raises(DBAPIError):
            add(session, 2)
        with pytest.raises(PendingRollbackError):
            session.commit()
        session.rollback()
        assert add(session, 3) == someone.tenant
        session.commit()

    assert ground.things() == [3]


@pytest.mark.parametrize("way", WAYS)
def test_one_lost_connection_tells_of_all_of_them(
    ground: Ground, db: Database, someone: Context, way: Any
) -> None:
    with db.session(someone) as one, db.session(someone) as other:
        SEEN.run(one, {})
        SEEN.run(other, {})
    ground.cut()

    with pytest.raises(DBAPIError), db.writing(someone) as session:
        way(session, 1)
    with db.writing(someone) as session:
        way(session, 2)

    assert ground.things() == [2]


def test_a_read_does_not_notice_that_the_server_was_away(
    ground: Ground, db: Database, someone: Context
) -> None:
    with db.reading(someone) as one, db.reading(someone) as other:
        SEEN.run(one, {})
        SEEN.run(other, {})
        ground.cut()

        assert SEEN.run(one, {}) == SEEN.run(other, {}) == [(0, str(someone.tenant))]


# --- pools ----------------------------------------------------------------------------------------


def commit(session: Session) -> None:
    session.commit()


def roll_back(session: Session) -> None:
    session.rollback()


def commit_with_an_event(session: Session) -> None:
    emit(session, Told(about="a"))
    session.commit()


def fail(session: Session) -> None:
    with suppress(DBAPIError):
        ask_nowhere(session)


def be_interrupted(_session: Session) -> None:
    raise KeyboardInterrupt


def leave(_session: Session) -> None:
    """Neither commit nor roll back."""


@pytest.mark.parametrize(
    "end", [commit, roll_back, commit_with_an_event, fail, be_interrupted, leave]
)
@pytest.mark.parametrize("way", [*WAYS, None])
def test_whoever_takes_a_connection_next_finds_no_tenant_and_no_transaction(
    ground: Ground, someone: Context, end: Any, way: Any
) -> None:
    db = ground.open(pool_size=1)
    with suppress(KeyboardInterrupt), db.session(someone) as session:
        if way is not None:
            way(session, 1)
        end(session)

    assert ground.states() <= {"idle"}
    with db.connection() as connection:
        assert connection.execute(TENANT).scalar_one() in ("", None)
        assert connection.execute(text("SELECT count(*) FROM things")).scalar_one() == 0


def test_whoever_takes_a_connection_for_reading_next_finds_no_tenant(
    ground: Ground, someone: Context
) -> None:
    db, other = ground.open(pool_size=1), about()
    with db.reading(someone) as session:
        assert session.execute(TENANT).scalar_one() == str(someone.tenant)

    with db.engines[1].connect() as connection:
        assert connection.execute(TENANT).scalar_one() in ("", None)
    with db.reading(other) as session:
        assert SEEN.run(session, {})[0][1] == str(other.tenant)
    with db.reading(someone) as session:
        assert SEEN.run(session, {})[0][1] == str(someone.tenant)


def test_a_reading_session_needs_one_connection_however_it_reads(
    ground: Ground, someone: Context
) -> None:
    db = ground.open(pool_size=1)
    tenant = str(someone.tenant)

    with db.reading(someone) as session:
        assert SEEN.run(session, {}) == [(0, tenant)]
        assert session.execute(TENANT).scalar_one() == tenant
        assert SEEN.run(session, {}) == [(0, tenant)]
    with db.reading(someone) as session:
        assert session.execute(TENANT).scalar_one() == tenant
        assert SEEN.run(session, {}) == [(0, tenant)]


def test_each_tenant_sees_its_own_rows_on_the_same_connection(ground: Ground) -> None:
    db = ground.open(pool_size=1)
    tenants = [about() for _ in range(3)]
    for id, who in enumerate(tenants):
        with db.writing(who) as session:
            add(session, id)

    for who in tenants:
        with db.reading(who) as session:
            assert SEEN.run(session, {}) == [(1, str(who.tenant))]
        with db.session(who) as session:
            assert SEEN.run(session, {}) == [(1, str(who.tenant))]


# --- prepared statements --------------------------------------------------------------------------


def prepared(session: Session) -> int:
    count = "SELECT count(*) FROM pg_prepared_statements"
    return int(session.execute(text(count)).scalar_one())


def test_what_is_prepared_in_a_transaction_stays_so_when_it_is_rolled_back(
    ground: Ground, someone: Context
) -> None:
    db = ground.open(pool_size=1)
    in_transaction = Statement("SELECT 1 + %(x)s")
    in_savepoint = Statement("SELECT 2 + %(x)s")

    with db.session(someone) as session:
        in_transaction.run(session, {"x": 1})
        with suppress(ZeroDivisionError), session.begin_nested():
            in_savepoint.run(session, {"x": 1})
            _ = 1 / 0
        assert in_savepoint.run(session, {"x": 1}) == [(3,)]
        session.rollback()

    with db.session(someone) as session:
        assert in_transaction.run(session, {"x": 2}) == [(3,)]
        assert in_savepoint.run(session, {"x": 2}) == [(4,)]


def test_what_could_not_be_prepared_is_prepared_when_it_can_be(
    ground: Ground, someone: Context
) -> None:
    db = ground.open(pool_size=1)
    later = Statement("SELECT count(*) FROM only_later WHERE id = %(id)s")

    for _ in range(2):
        with pytest.raises(ProgrammingError), db.writing(someone) as session:
            later.run(session, {"id": 1})
    with pytest.raises(ProgrammingError), db.reading(someone) as session:
        later.run(session, {"id": 1})
    with db.session(someone) as session:
        session.execute(text("CREATE TEMPORARY TABLE only_later AS SELECT 1 AS id"))
        assert later.run(session, {"id": 1}) == [(1,)]


def test_what_failed_at_its_first_run_is_prepared_all_the_same(
    ground: Ground, someone: Context
) -> None:
    db = ground.open(pool_size=1)
    divide = Statement("SELECT 1 / %(by)s")

    with pytest.raises(DataError), db.writing(someone) as session:
        divide.run(session, {"by": 0})

    with db.writing(someone) as session:
        assert divide.run(session, {"by": 1}) == [(1,)]


def test_a_new_connection_prepares_anew(ground: Ground, someone: Context) -> None:
    db = ground.open(pool_size=1)
    one = Statement("SELECT 1")
    for use in (db.session, db.reading):
        with use(someone) as session:
            one.run(session, {})

    db.dispose()

    for use in (db.session, db.reading):
        with use(someone) as session:
            assert one.run(session, {}) == [(1,)]


def test_a_connection_forgets_when_it_has_prepared_too_much(
    ground: Ground, someone: Context
) -> None:
    db = ground.open(pool_size=1)
    many = [Statement(f"SELECT {n}") for n in range(Prepared.MOST + 2)]

    for use in (db.session, db.reading):
        with use(someone) as session:
            for n, statement in enumerate(many):
                assert statement.run(session, {}) == [(n,)]
            assert many[0].run(session, {}) == [(0,)]
            assert prepared(session) <= Prepared.MOST


def test_a_column_that_a_migration_adds_does_not_disturb_what_is_prepared(
    ground: Ground, db: Database, someone: Context
) -> None:
    insert = Statement(
        "WITH written AS (INSERT INTO things (id) VALUES (%(id)s) RETURNING *)"
        " SELECT id FROM written"
    )
    with db.writing(someone) as session:
        insert.run(session, {"id": 1})

    ground.look("ALTER TABLE things ADD COLUMN colour text NOT NULL DEFAULT 'red'")
    try:
        with db.writing(someone) as session:
            assert insert.run(session, {"id": 2}) == [(2,)]
    finally:
        ground.look("ALTER TABLE things DROP COLUMN colour")


# --- events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 1000, 1001, 2001])
def test_all_events_of_a_transaction_are_written_in_their_order_or_none(
    ground: Ground, db: Database, someone: Context, number: int
) -> None:
    for end in (roll_back, commit):
        with db.session(someone) as session:
            add(session, 1)
            for n in range(number):
                emit(session, Told(about="a", number=n))
            end(session)

    assert ground.told() == list(range(number))
    assert ground.things() == [1]


def test_events_are_forgotten_with_the_savepoint_that_they_were_told_in(
    ground: Ground, db: Database, someone: Context
) -> None:
    with db.writing(someone) as session:
        add(session, 1)
        emit(session, Told(about="a", number=1))
        outer = session.begin_nested()
        emit(session, Told(about="a", number=2))
        with session.begin_nested():
            emit(session, Told(about="a", number=3))
        outer.rollback()
        with session.begin_nested():
            emit(session, Told(about="a", number=4))
            with suppress(IntegrityError), session.begin_nested():
                emit(session, Told(about="a", number=5))
                orm_add(session, 1)
        emit(session, Told(about="a", number=6))

    assert ground.told() == [1, 4, 6]


def test_what_is_added_while_the_session_is_flushed_is_committed_with_the_rest(
    ground: Ground, db: Database, someone: Context
) -> None:
    with db.writing(someone) as session:

        @event.listens_for(session, "after_flush")
        def _echo(session: Session, _context: Any) -> None:
            for thing in [thing for thing in session.new if thing.id < 3]:
                session.add(Thing(id=thing.id + 1, tenant_id=someone.tenant))
                emit(session, Told(about="a", number=thing.id))

        session.add(Thing(id=1, tenant_id=someone.tenant))
        emit(session, Told(about="a", number=0))

    assert ground.things() == [1, 2, 3]
    assert ground.told() == [0, 1, 2]
