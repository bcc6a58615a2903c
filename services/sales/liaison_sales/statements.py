"""Statements that a change runs again and again: planned once per connection.

Planning the two statements of a stage move costs more than running them.
"""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import CursorResult
from sqlalchemy.orm import Session

from liaison_kit.db import Prepared

_PLACE = re.compile(r"%\((\w+)\)s")


class Statement:
    """SQL with named places, `%(id)s`; run in the session's transaction."""

    def __init__(self, sql: str) -> None:
        self._names: list[str] = []
        numbered = _PLACE.sub(self._numbered, sql)
        self._prepared = Prepared(numbered, len(self._names))

    def _numbered(self, place: re.Match[str]) -> str:
        if place[1] not in self._names:
            self._names.append(place[1])
        return f"${self._names.index(place[1]) + 1}"

    def run(self, session: Session, values: Mapping[str, Any]) -> CursorResult[Any]:
        """The rows for these values."""
        connection = session.connection()
        sql = self._prepared.execution(connection.info)
        return connection.exec_driver_sql(sql, tuple(values[name] for name in self._names))
