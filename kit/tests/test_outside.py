"""What a transaction needs of others is fetched with nothing held; statements have an end."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from liaison_kit.calls.outside import (
    Known,
    Outside,
    answer_if_any,
    answer_to,
    doing,
    knows,
    outside,
)
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.database.faults import is_not_now, took_too_long
from liaison_kit.ids import uuid7
from liaison_sdk.errors import Unavailable

INSERT = text(
    "INSERT INTO idempotency_keys (tenant_id, user_id, key, fingerprint, created_at)"
    " VALUES (:tenant, :tenant, 'k', 'f', now())"
)


@pytest.fixture
def db(database: Any) -> Iterator[Database]:
    """One writing connection and one for jobs, so that whatever is held is missed at once."""
    small = Database(
        database("contacts").url,
        pool_size=1,
        job_pool_size=1,
        statement_timeout_s=0.3,
        job_statement_timeout_s=20,
    )
    yield small
    small.dispose()


@pytest.fixture
def who() -> Context:
    """Somebody's request."""
    return Context(tenant=uuid7())


def test_a_question_is_asked_with_no_connection_in_hand(db: Database, who: Context) -> None:
    free: list[int] = []

    def ask(*_question: Any) -> bytes:
        with db.writing(who) as other:
            free.append(other.scalar(text("SELECT 1")) or 0)
        return b"answer"

    def work(known: Known) -> bytes:
        with db.writing(who) as session:
            knows(session, known)
            session.execute(text("SELECT 1"))
            return answer_to(session, "elsewhere", "something", b"")

    assert doing(ask, who, work) == b"answer"
    assert free == [1]


def test_what_was_done_before_a_question_is_done_once(db: Database, who: Context) -> None:
    tries: list[int] = []

    def work(known: Known) -> bytes:
        with db.writing(who) as session:
            knows(session, known)
            tries.append(1)
            session.execute(INSERT, {"tenant": who.tenant})
            first = answer_to(session, "elsewhere", "one", b"")
            return first + answer_to(session, "elsewhere", "two", b"")

    answer = doing(lambda _service, operation, *_rest: operation.encode(), who, work)

    assert answer == b"onetwo"
    assert len(tries) == 3
    with db.reading(who) as session:
        assert session.scalar(text("SELECT count(*) FROM idempotency_keys")) == 1


def test_who_does_not_answer_is_told_or_done_without(db: Database, who: Context) -> None:
    def silent(*_question: Any) -> bytes:
        raise Unavailable("elsewhere does not answer")

    def needs(known: Known) -> bytes:
        with db.writing(who) as session:
            knows(session, known)
            return answer_to(session, "elsewhere", "one", b"")

    def would_like(known: Known) -> bytes | None:
        with db.writing(who) as session:
            knows(session, known)
            return answer_if_any(session, "elsewhere", "one", b"")

    with pytest.raises(Unavailable, match="elsewhere"):
        doing(silent, who, needs)
    assert doing(silent, who, would_like) is None
    with db.writing(who) as session:
        assert answer_if_any(session, "elsewhere", "one", b"") is None


def test_work_that_needs_something_else_each_time_ends(db: Database, who: Context) -> None:
    def work(known: Known) -> None:
        with db.writing(who) as session:
            knows(session, known)
            outside(session, len(known), lambda: None)
            outside(session, ("again", len(known)), lambda: None)

    with pytest.raises(Unavailable):
        doing(lambda *_: b"", who, work)


def test_what_is_needed_outside_is_never_done_inside(db: Database, who: Context) -> None:
    done: list[int] = []
    with db.writing(who) as session, pytest.raises(Outside):
        outside(session, "key", lambda: done.append(1))

    assert done == []


def test_a_statement_that_runs_too_long_is_stopped_and_is_the_works_own_fault(
    db: Database, who: Context
) -> None:
    for opened in (db.writing, db.reading):
        with pytest.raises(DBAPIError) as stopped, opened(who) as session:
            session.execute(text("SELECT pg_sleep(30)"))

        assert took_too_long(stopped.value)
        assert not is_not_now(stopped.value)
        with opened(who) as session:
            assert session.scalar(text("SELECT 1")) == 1


def test_jobs_have_connections_of_their_own_and_longer(db: Database, who: Context) -> None:
    working, leave = threading.Event(), threading.Event()

    def job() -> None:
        with db.writing(who, job=True) as session:
            session.execute(text("SELECT pg_sleep(0.6)"))
            working.set()
            leave.wait(20)

    thread = threading.Thread(target=job)
    thread.start()
    try:
        assert working.wait(20)
        with db.writing(who) as session:
            assert session.scalar(text("SELECT 1")) == 1
    finally:
        leave.set()
        thread.join()


def test_a_session_that_only_looks_can_not_write(db: Database, who: Context) -> None:
    with pytest.raises(DBAPIError, match="read-only"), db.reading(who, strictly=True) as session:
        session.execute(INSERT, {"tenant": who.tenant})
