"""Statements that run again and again with other values: planned once per connection.

Planning an insert into an indexed table, or the look-ups before it, costs more than running it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg2.extensions import adapt
from sqlalchemy import Select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from liaison_kit.database.sessions import Prepared, ReadingSession, WritingSession

Rows = Select[*tuple[Any, ...]]
"""A SELECT of columns that only its maker knows."""

_PLACE = re.compile(r"%(?:%|\((\w+)\)s)")
_DIALECT = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]


class Statement:
    """SQL as the driver takes it, with named places (`%(id)s`) and `%%` for a percent sign."""

    def __init__(self, sql: str) -> None:
        self._names: list[str] = []
        numbered = _PLACE.sub(self._numbered, sql)
        self._prepared = Prepared(numbered, len(self._names))

    def _numbered(self, place: re.Match[str]) -> str:
        if place[1] is None:
            return "%"
        if place[1] not in self._names:
            self._names.append(place[1])
        return f"${self._names.index(place[1]) + 1}"

    def run(self, session: Session, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """The rows for these values, each of a type that the driver knows or a list of such."""
        given = tuple(_literal(values[name]) for name in self._names)
        assert isinstance(session, ReadingSession | WritingSession)
        return session.fetch(self._prepared, given)


def text_of(rows: Rows) -> str:
    """A query as the text of a `Statement`: its constants written out, its parameters as places."""
    compiled = rows.compile(dialect=_DIALECT)

    def written(place: re.Match[str]) -> str:
        if place[1] is None or compiled.binds[place[1]].required:
            return place[0]
        return _quoted(compiled.params[place[1]]).replace("%", "%%")

    return _PLACE.sub(written, str(compiled))


def read_from(source: str, table: str, sql: str) -> str:
    """The query, reading what it took from a table from something that has the same columns."""
    text, replaced = re.subn(rf"\bFROM {table}\b(?! AS)", f"FROM {source} AS {table}", sql)
    assert replaced == 1, f"the query must read {table} once, not {replaced} times"
    return text


def _quoted(constant: Any) -> str:
    if isinstance(constant, str | UUID):
        # Without a connection the driver knows neither its encoding nor how it reads backslashes.
        return "'" + str(constant).replace("'", "''") + "'"
    quoted: str = adapt(constant).getquoted().decode()
    return quoted


def _literal(value: Any) -> Any:
    """A list as PostgreSQL writes arrays: its elements take the type that the statement expects."""
    if isinstance(value, UUID):
        return str(value)
    if not isinstance(value, list):
        return value
    return "{" + ",".join(_element(v) for v in value) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
