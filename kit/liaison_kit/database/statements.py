"""Statements that run again and again with other values: planned once per connection.

Planning an insert into an indexed table, or the look-ups before it, costs more than running it.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from liaison_kit.database.prepared import Prepared
from liaison_kit.database.queries import Rows, text_of
from liaison_kit.database.sessions import TenantSession


class Statement:
    """A query, or SQL as the driver takes it: named places (`%(id)s`), `%%` for a percent sign."""

    def __init__(self, sql: str | Rows) -> None:
        numbers = _Numbers()
        text = sql if isinstance(sql, str) else text_of(sql)
        self._prepared = Prepared(text % numbers, len(numbers))
        self._names = tuple(numbers)

    def run(self, session: Session, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """The rows for these values, each of a type that the driver knows or a list of such."""
        given = [_literal(values[name]) for name in self._names]
        assert isinstance(session, TenantSession)
        return session.fetch(self._prepared, given)


class _Numbers(dict[str, str]):
    """What PostgreSQL calls each named place of a prepared statement: `$1` is the first."""

    def __missing__(self, name: str) -> str:
        self[name] = f"${len(self) + 1}"
        return self[name]


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
