"""Prepared statements: what a connection plans once and runs again and again."""

import itertools
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from liaison_kit.telemetry import SpanKind, span

fetch_listeners: list[Callable[[str], None]] = []
"""Told each statement that bypasses SQLAlchemy, as its own events tell of the others."""


class Prepared:
    """A statement that each connection plans once: planning a list costs more than running it."""

    MOST = 300
    """So many a connection remembers, at some 60 kB each; lists come in no end of shapes."""

    _numbers = itertools.count(1)

    def __init__(self, sql: str, parameters: int) -> None:
        self.sql = sql
        self._name = f"liaison_{next(self._numbers)}"
        self._span = "sql " + sql.split(None, 1)[0].lower()
        marks = ", ".join(["%s"] * parameters)
        self._execute = f"EXECUTE {self._name}({marks})" if parameters else f"EXECUTE {self._name}"

    def fetch(
        self, driver: Any, known: Any, values: Sequence[Any], opening: str, ending: str = ""
    ) -> list[tuple[Any, ...]]:
        """The rows; `known` keeps what the connection has prepared.

        `opening` and `ending` run in the same round trip; with an ending no rows are returned.
        """
        prepared: set[str] = known.setdefault("prepared", set())
        for note in fetch_listeners:
            note(opening + self.sql)
        with closing(driver.cursor()) as cursor:
            if self._name not in prepared:
                if len(prepared) >= self.MOST:
                    cursor.execute("DEALLOCATE ALL")
                    prepared.clear()
                # By itself: what fails later must leave no doubt whether it is prepared.
                cursor.execute(f"PREPARE {self._name} AS {self.sql}")
                prepared.add(self._name)
            told = {"db.system": "postgresql", "db.statement": self.sql[:2000]}
            with span(self._span, kind=SpanKind.CLIENT, **told):
                cursor.execute(opening + self._execute + ending, values)
            return cursor.fetchall() if cursor.description else []
