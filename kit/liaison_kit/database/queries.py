"""Queries that are composed with SQLAlchemy and run without it: their text, and what they read."""

import datetime as dt
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Alias, BindParameter, Column, FromClause, Select, Table, column
from sqlalchemy import table as named
from sqlalchemy.dialects.postgresql.base import PGCompiler
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.sql import visitors

Rows = Select[*tuple[Any, ...]]
"""A SELECT of columns that only its maker knows."""


def text_of(rows: Rows) -> str:
    """A query as the driver takes it: its constants written out, its parameters as named places."""
    return str(rows.compile(dialect=_DIALECT))


def read_from(rows: Rows, table: Table, source: FromClause) -> Rows:
    """The query, taking from `source` what it took from the table.

    What it reads of the same table under another name it goes on reading there.
    """

    def instead(element: Any, **_: Any) -> Any:
        if isinstance(element, Alias):
            return element
        if isinstance(element, Table) and element.name == table.name:
            return source
        if isinstance(element, Column) and isinstance(element.table, Table):
            return source.c[element.name] if element.table.name == table.name else None
        return None

    # It makes a SELECT of a SELECT, which its types do not say.
    return cast(Rows, visitors.replacement_traverse(cast(Any, rows), {}, instead))


def stand_in(name: str, table: Table) -> FromClause:
    """What has another name and the table's columns: a view, or rows that were just written."""
    columns = (column(each.name, each.type) for each in table.c)
    return named(name, *columns).alias(table.name)


# --- how SQLAlchemy writes a query for us --------------------------------------------------------


class _Compiler(PGCompiler):
    """Writes constants out, so that what is prepared is planned for them."""

    def visit_bindparam(self, bindparam: BindParameter[Any], *given: Any, **named: Any) -> Any:
        named["literal_binds"] = not bindparam.required
        return super().visit_bindparam(bindparam, *given, **named)  # type: ignore[no-untyped-call]

    def render_literal_value(self, value: Any, type_: Any) -> str:
        written: str = super().render_literal_value(value, type_)  # type: ignore[no-untyped-call]
        # In quotes it would be a text.
        return (
            f"{written}::{type_.compile(_DIALECT)}"
            if isinstance(value, dt.date | UUID)
            else written
        )


class _Dialect(PGDialect_psycopg2):
    statement_compiler = _Compiler
    supports_statement_cache = False


_DIALECT = _Dialect()  # type: ignore[no-untyped-call]
