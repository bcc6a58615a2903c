"""What PostgreSQL can't hold is its caller's to change; what we asked wrongly is ours to mend."""

import json
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from liaison_kit.calls.operations import post
from liaison_kit.database.database import Database
from liaison_kit.service import Service
from liaison_kit.testing import at_work, call, principal
from liaison_sdk.labels import Label


class Say(BaseModel):
    """An expression, and what it is given."""

    sql: str
    value: str | None = None
    error: str | None = None


class Ground(Service):
    """Says what it is told to say to PostgreSQL."""

    name = "ground"
    label = Label(en="Ground", fr="Sol")
    permissions: ClassVar[dict[str, Label]] = {}

    @post("/say", allow="ground:say")
    def say(self, session: Session, say: Say) -> None:
        """Say it."""
        if say.error is not None:
            raise ValueError(say.error)
        value = "\ud800" if say.value == "half a pair" else say.value
        session.execute(text(say.sql), {} if value is None else {"value": value})


def said(db: Database, sql: str, value: str | None = None, error: str | None = None) -> Any:
    body = Say(sql=sql, value=value, error=error).model_dump_json().encode()
    return call(at_work(Ground, db), "say", principal(), body)


THEIRS = {
    "number_out_of_range": ("SELECT CAST(:value AS numeric)::int", "1e20"),
    "text_too_long": (
        "CREATE TEMPORARY TABLE short (t varchar(10)) ON COMMIT DROP;"
        " INSERT INTO short VALUES (:value)",
        "x" * 11,
    ),
    "time_out_of_range": ("SELECT CAST(:value AS date)", "2026-02-30"),
}


@pytest.mark.parametrize("code", THEIRS)
def test_a_value_that_can_not_be_held_is_422_and_named(db: Database, code: str) -> None:
    sql, value = THEIRS[code]
    reply = said(db, sql, value)

    assert reply.status == 422
    assert json.loads(reply.body)["code"] == code


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT CAST(:value AS text)", "a\0b"),
        ("SELECT CAST(:value AS text)", "half a pair"),
        ("SELECT CAST(:value AS jsonb) ->> 'a'", '{"a": "\\u0000"}'),
    ],
)
def test_characters_that_can_not_be_held_are_422_and_named(
    db: Database, sql: str, value: str
) -> None:
    reply = said(db, sql, value)

    assert (reply.status, json.loads(reply.body)["code"]) == (422, "unusable_characters")


@pytest.mark.parametrize(
    ("sql", "value", "state"),
    [
        ("SELECT 1 / (CAST(:value AS int) - 1234)", "1234", "22012"),
        ("SELECT CAST(:value AS int)", "Mustermann", "22P02"),
        ("SELECT CAST(:value AS uuid)", "Mustermann", "22P02"),
        ("SELECT CAST(:value AS date)", "Mustermann", "22007"),
        ("SELECT substring(:value, 1, -1)", "Mustermann", "22011"),
        ("SELECT :value FROM nowhere", "Mustermann", "42P01"),
        ("SELECT :value || chr(0)", "Mustermann", "54000"),
    ],
)
def test_a_fault_of_ours_is_500_and_logged_without_values(
    db: Database, sql: str, value: str, state: str
) -> None:
    with capture_logs() as logged:
        reply = said(db, sql, value)

    (told,) = logged
    assert reply.status == 500
    assert (told["event"], told["operation"]) == ("operation failed", "ground.say")
    assert told["sqlstate"] == state
    assert value not in str(logged) + reply.body.decode()


@pytest.mark.parametrize("message", ["NULL", "ANNULLED", "0x00ff", "not a NUL"])
def test_an_error_that_speaks_of_null_is_not_taken_for_bad_input(
    db: Database, message: str
) -> None:
    assert said(db, "SELECT 1", error=message).status == 500
