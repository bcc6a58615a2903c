"""Values and constants reach the database as they are, whatever signs they are made of."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal,
    select,
)

from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.database.queries import read_from, stand_in, text_of
from liaison_kit.database.statements import Statement
from liaison_kit.ids import uuid7

from .conftest import Ground

# What PostgreSQL's text can hold.
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
SIGNS = [
    "%",
    "%%",
    "%s",
    "%(a)s",
    "$1",
    "'",
    '"',
    "\\",
    "\\'",
    "{}",
    ",",
    "NULL",
    "null",
    ";",
    "é日",
]
FEW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def echo(db: Database, who: Context, type: str, value: Any) -> Any:
    """What the database has understood of a value."""
    statement = _echoes.setdefault(type, Statement(f"SELECT %(value)s::{type}"))
    with db.session(who) as session:
        return statement.run(session, {"value": value})[0][0]


_echoes: dict[str, Statement] = {}


@FEW
@given(value=TEXTS | st.sampled_from(SIGNS))
def test_a_text_is_only_a_text(db: Database, someone: Context, value: str) -> None:
    assert echo(db, someone, "text", value) == value


@FEW
@given(value=st.lists(st.none() | TEXTS | st.sampled_from(SIGNS), max_size=5))
@example(value=[])
@example(value=[None])
@example(value=["", " ", "NULL", None])
@example(value=SIGNS)
def test_a_list_keeps_its_elements(db: Database, someone: Context, value: list[str | None]) -> None:
    assert echo(db, someone, "text[]", value) == value


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("uuid", uuid7()),
        ("uuid", None),
        ("uuid[]", [uuid7(), uuid7()]),
        ("uuid[]", []),
        ("uuid[]", None),
        ("bigint[]", [1, -(2**63), None]),
        ("numeric", Decimal("0.1")),
        ("numeric", Decimal("-12345678901234567890.123456789")),
        ("numeric[]", [Decimal("0.10"), Decimal("1E+3")]),
        ("double precision", 0.1 + 0.2),
        ("bigint", -(2**63)),
        ("boolean", False),
        ("boolean[]", [True, False]),
        ("date", dt.date(9999, 12, 31)),
        ("date[]", [dt.date(2024, 2, 29)]),
        ("timestamptz", dt.datetime(2024, 2, 29, 23, 59, 59, 999999, dt.UTC)),
        ("timestamptz", dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3)))),
        ("timestamptz[]", [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)]),
    ],
)
def test_a_value_comes_back_as_it_went(
    db: Database, someone: Context, type: str, value: Any
) -> None:
    assert echo(db, someone, type, value) == value


@FEW
@given(
    value=st.recursive(
        # Beyond 2**53, where custom fields never go, jsonb has whole numbers of its own.
        st.none() | st.booleans() | TEXTS | st.integers() | st.floats(-1e15, 1e15),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=6,
    )
)
def test_json_is_only_json(db: Database, someone: Context, value: Any) -> None:
    assert echo(db, someone, "jsonb", json.dumps(value)) == value


@pytest.mark.parametrize("use", ["session", "reading"])
def test_both_kinds_of_session_take_the_same_values(
    db: Database, someone: Context, use: str
) -> None:
    same = Statement("SELECT %(id)s::uuid, %(list)s::text[], %(id)s::uuid, '100%%', '%%(id)s'")
    id = uuid7()

    with getattr(db, use)(someone) as session:
        found = same.run(session, {"id": id, "list": ["a", None], "unasked": 1})

    assert found == [(id, ["a", None], id, "100%", "%(id)s")]


@FEW
@given(
    value=TEXTS
    | st.sampled_from(SIGNS)
    | st.none()
    | st.booleans()
    | st.integers(-(2**31), 2**31 - 1)
    | st.decimals(allow_nan=False, allow_infinity=False, places=4)
    | st.dates()
    | st.uuids()
)
@example(value="back\\slash")
@example(value="%(wanted)s %% %s")
@example(value=UUID(int=0))
def test_a_querys_constants_are_written_out_and_its_parameters_are_places(
    db: Database, someone: Context, value: Any
) -> None:
    wanted = func.concat("<", column("wanted"), ">")
    things = select(column("wanted")).select_from(
        func.unnest(literal(["a", "b"], ARRAY(Text))).alias("wanted")
    )
    rows = select(literal(value), wanted).select_from(things.subquery())

    with db.session(someone) as session:
        found = Statement(rows).run(session, {})

    assert found == [(value, "<a>"), (value, "<b>")]


def test_a_place_without_a_value_stays_a_place(db: Database, someone: Context) -> None:
    rows = select(literal("100%"), cast(bindparam("a"), Text), cast(bindparam("b"), Text))

    with db.session(someone) as session:
        found = Statement(rows).run(session, {"a": "%(b)s", "b": None})

    assert found == [("100%", "%(b)s", None)]


def test_a_query_reads_from_what_stands_in_for_its_table() -> None:
    things = Table("things", MetaData(), Column("id", Integer), Column("above", Integer))
    again = things.alias("again")
    above = select(again.c.id).where(again.c.id == things.c.above).scalar_subquery()
    rows = select(things.c.id, above.label("above")).where(things.c.id > 1)

    found = text_of(read_from(rows, things, stand_in("written", things)))

    assert " ".join(found.split()) == (
        "SELECT things.id, (SELECT again.id FROM things AS again"
        " WHERE again.id = things.above) AS above FROM written AS things WHERE things.id > 1"
    )


def test_a_query_may_read_several_times_from_what_stands_in(
    ground: Ground, db: Database, someone: Context
) -> None:
    things = Table("things", MetaData(), Column("id", BigInteger))
    ground.look("INSERT INTO things (id, tenant_id) VALUES (1, %s)", str(someone.tenant))
    both = select(things.c.id, select(func.count(things.c.id)).correlate(None).scalar_subquery())

    with db.session(someone) as session:
        assert Statement(both).run(session, {}) == [(1, 1)]
        two = select(literal(2).label("id")).union_all(select(literal(3))).subquery("things")
        assert Statement(read_from(both, things, two)).run(session, {}) == [(2, 2), (3, 2)]


@pytest.mark.parametrize("constants", [[], ["a"], ["%(a)s", "'", "\\"]])
def test_constants_among_which_a_value_is_looked_for_are_written_out(
    db: Database, someone: Context, constants: list[str]
) -> None:
    rows = select(*(cast(bindparam(name), Text).in_(constants) for name in ("a", "b")))

    with db.session(someone) as session:
        found = Statement(rows).run(session, {"a": (constants or ["a"])[-1], "b": "other"})

    assert found == [(bool(constants), False)]
