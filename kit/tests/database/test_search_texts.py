"""What records are found by is kept by the database, also of rows from before it was declared."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import URL, Connection, create_engine, make_url, text

from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.database.migrations import Roles, kit_tables, prepare
from liaison_kit.database.record_tables import (
    REFILLED,
    add_column,
    kept_searches,
    record_table,
    searched,
)
from liaison_kit.records.search import TWINS, fold
from liaison_kit.run.credentials import Credentials
from liaison_kit.testing import about

# Of Latin, Greek and Cyrillic, those letters that somebody writes.
LETTERS = st.one_of(
    st.characters(min_codepoint=0x20, max_codepoint=0x52F, categories=["L", "N"]),
    st.sampled_from("".join(TWINS.values()) + " '-\"\u00a0\u202fﬁ"),
)


@pytest.fixture
def roles(postgres: str, credentials: Credentials) -> Iterator[Roles]:
    """A database with boats in it, which have a name and were searched by nothing else."""
    found = credentials.roles("harbour", make_url(postgres))
    prepare(make_url(postgres), found)
    with _owner(found) as connection:
        op = _op(connection)
        kit_tables(op)
        kept_searches(op)
        record_table(op, "boats", "name text NOT NULL", "search text NOT NULL")
        searched(op, "boats", "name")
    yield found
    engine = create_engine(_driven(postgres), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP DATABASE liaison_harbour WITH (FORCE)"))
    engine.dispose()


class _Owner:
    def __init__(self, roles: Roles) -> None:
        self._engine = create_engine(roles.owner)

    def __enter__(self) -> Connection:
        self._open = self._engine.begin()
        return self._open.__enter__()

    def __exit__(self, *raised: object) -> None:
        self._open.__exit__(*raised)  # type: ignore[arg-type]
        self._engine.dispose()


def _driven(server: str) -> URL:
    return make_url(server).set(drivername="postgresql+psycopg2")


def _owner(roles: Roles) -> _Owner:
    return _Owner(roles)


def _op(connection: Connection) -> Operations:
    return Operations(MigrationContext.configure(connection))


def _fill(connection: Connection, tenant: UUID, number: int) -> None:
    connection.execute(
        text(
            "INSERT INTO boats (id, tenant_id, version, created_at, updated_at, name)"
            " SELECT gen_random_uuid(), :tenant, 1, now(), now(), 'Boat ' || n"
            " FROM generate_series(1, :number) n"
        ),
        {"tenant": tenant, "number": number},
    )


def _found(db: Database, who: Context, word: str) -> int:
    with db.reading(who) as session:
        looked = text("SELECT count(*) FROM boats_found WHERE search LIKE :word")
        return int(session.scalar(looked, {"word": f"% {word}%"}) or 0)


def test_a_column_that_is_searched_from_now_on_finds_the_rows_that_are_there(roles: Roles) -> None:
    who, others = about(), about()
    rows = REFILLED + 10
    with _owner(roles) as connection:
        _fill(connection, who.tenant, rows)
        _fill(connection, others.tenant, 1)

    with _owner(roles) as connection:
        op = _op(connection)
        add_column(op, "boats", "harbour text")
        # As the release before, which runs on, or somebody in SQL, may have filled it meanwhile.
        connection.execute(text("ALTER TABLE boats DISABLE TRIGGER search_boats"))
        connection.execute(text("UPDATE boats SET harbour = 'Étretat'"))
        connection.execute(text("ALTER TABLE boats ENABLE TRIGGER search_boats"))
        searched(op, "boats", "name", "harbour", refill=True)
    db = Database(roles.service)
    before = _found(db, who, "etretat")
    rounds = []
    for _ in range(3):
        with db.connection() as tidying:
            tidying.execute(text("SELECT refill_searches()"))
            tidying.commit()
        rounds.append(_found(db, who, "etretat"))
    elsewhere = _found(db, others, "etretat")
    db.dispose()
    with _owner(roles) as connection:
        left = connection.scalar(text("SELECT count(*) FROM search_refills"))

    assert before == 0
    assert 0 < rounds[0] < rows, "one transaction takes a bounded number"
    assert rounds[1:] == [rows, rows]
    assert (elsewhere, left) == (1, 0)


def test_whoever_writes_a_row_it_is_found_by_what_it_says(roles: Roles) -> None:
    who = about()
    with _owner(roles) as connection:
        _fill(connection, who.tenant, 1)
        connection.execute(text("UPDATE boats SET name = 'Œuvre ßolide', search = 'anything'"))
        kept = connection.scalar(text("SELECT search FROM boats"))

    assert kept == " oeuvre ssolide"


def test_a_service_can_make_texts_anew_and_not_say_of_what(roles: Roles) -> None:
    db = Database(roles.service)
    with db.connection() as connection:
        may = connection.scalar(text("SELECT has_table_privilege('search_refills', 'INSERT')"))
    db.dispose()

    assert may is False


@given(words=st.lists(st.text(LETTERS, max_size=12), min_size=1, max_size=100))
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_database_folds_letters_as_searches_do(words: list[str], roles: Roles) -> None:
    statement = text("SELECT w, fold_text(w) FROM unnest(CAST(:words AS text[])) w")
    with _owner(roles) as connection:
        kept = [(word, folded) for word, folded in connection.execute(statement, {"words": words})]

    assert kept == [(word, fold(word)) for word in words]


def test_each_letter_is_folded_by_the_database_as_searches_do(roles: Roles) -> None:
    letters = [each for each in map(chr, range(0x20, 0x530)) if each.isalnum()]
    statement = text("SELECT w, fold_text(w) FROM unnest(CAST(:letters AS text[])) w")
    with _owner(roles) as connection:
        rows = connection.execute(statement, {"letters": letters}).all()

    kept = {letter: folded for letter, folded in rows}  # noqa: C416
    assert {each: kept[each] for each in letters if kept[each] != fold(each)} == {}


def test_what_looks_like_a_key_of_the_keyboard_is_found_by_it(roles: Roles) -> None:
    names = {"O’Brien": "o'brien", "Jean‑Luc": "jean-luc", "«L\u200bʼOréal»": '"l\'oreal"'}
    with _owner(roles) as connection:
        kept = {n: connection.scalar(text("SELECT fold_text(:n)"), {"n": n}) for n in names}

    assert kept == names == {n: fold(n) for n in names}
