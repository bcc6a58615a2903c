"""What is held of a subject, as they may ask for it: the rows that point at them, as JSON."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.privacy.marks import Holdings
from liaison_kit.privacy.traces import Traces

_HIDDEN = "- 'tenant_id' - 'search' - 'keys' - 'folded' - 'fingerprint' - 'sealed'"


def held(
    session: Session, holdings: Holdings, record: str, ids: Sequence[UUID], traces: Traces
) -> dict[str, list[Any]]:
    """By table: the subject's own row, those that point at them or have their address, history and
    what is in the trash."""
    found: dict[str, list[Any]] = {}
    own = holdings.kinds.get(record)
    if own is not None:
        found[own.table.name] = _rows(session, own.table.name, "id = ANY(:ids)", ids, traces)
    for pointer in holdings.at(record):
        where = f"{pointer.column} = ANY(:ids)"
        for address in pointer.addresses:
            where += f" OR lower({address}) = ANY(:emails)"
        found.setdefault(pointer.table.name, []).extend(
            _rows(session, pointer.table.name, where, ids, traces)
        )
    for follower in holdings.followers:
        for table, rows in follower.held(session, ids).items():
            found.setdefault(table, []).extend(rows)
    for table in ("history", "trash"):
        found[table] = _rows(session, table, "record_id = ANY(:ids)", ids, traces)
    return {table: rows for table, rows in found.items() if rows}


def _rows(
    session: Session, table: str, where: str, ids: Sequence[UUID], traces: Traces
) -> list[Any]:
    values: dict[str, Any] = {"ids": list(ids)}
    if ":emails" in where:
        values["emails"] = traces.emails
    statement = f"SELECT to_jsonb(t) {_HIDDEN} FROM {table} t WHERE {where}"
    return list(session.scalars(text(statement), values))
