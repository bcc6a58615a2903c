"""Merging: what points at one record points at another from now on, until that is undone."""

import json
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.ids import uuid7
from liaison_kit.privacy.marks import Holdings, Pointer
from liaison_kit.privacy.moved import wait_for_writers

Told = Callable[[Session, str, Sequence[UUID]], None]
"""Tells others of some records of a kind, by its name."""

_MOVE = text(
    "INSERT INTO moved_ids (id, tenant_id, into_id, request_id)"
    " VALUES (:id, :tenant, :into, :request) ON CONFLICT (id) DO UPDATE"
    " SET into_id = excluded.into_id, request_id = excluded.request_id"
)


def repoint(
    session: Session,
    holdings: Holdings,
    record: str,
    from_id: UUID,
    into_id: UUID,
    request: UUID,
    tell: Told,
) -> dict[str, int]:
    """Have all that points at one record point at the other; how many rows of each table."""
    move(session, from_id, into_id, request)
    counts: dict[str, int] = {}
    for pointer in holdings.at(record):
        moved = _repoint(session, pointer, from_id, into_id, request)
        _told(session, pointer, from_id, into_id, moved, tell)
        if moved:
            counts[pointer.table.name] = counts.get(pointer.table.name, 0) + len(moved)
    for follower in holdings.followers:
        counts |= follower.merged(session, record, from_id, into_id, request)
    return counts


def put_back(
    session: Session,
    holdings: Holdings,
    record: str,
    from_id: UUID,
    into_id: UUID,
    request: UUID,
    tell: Told,
) -> dict[str, int]:
    """Have what a merge moved, or what came late for it, point where it did, as far as it still
    points at the survivor."""
    wait_for_writers(session, from_id)
    session.execute(text("DELETE FROM moved_ids WHERE id = :id"), {"id": from_id})
    counts: dict[str, int] = {}
    for pointer in holdings.at(record):
        moved = _put_back(session, pointer, from_id, into_id, request)
        _told(session, pointer, into_id, from_id, moved, tell)
        if moved:
            counts[pointer.table.name] = counts.get(pointer.table.name, 0) + len(moved)
    for follower in holdings.followers:
        counts |= follower.unmerged(session, record, from_id, into_id, request)
    session.execute(text("DELETE FROM repointed WHERE request_id = :id"), {"id": request})
    return counts


def move(session: Session, id: UUID, into: UUID | None, request: UUID) -> None:
    """From now on the id stands for another, or for nobody.

    Whoever is about to point at it is waited for.
    """
    wait_for_writers(session, id)
    values = {"id": id, "tenant": context(session).tenant, "into": into, "request": request}
    session.execute(_MOVE, values)


def _repoint(
    session: Session, pointer: Pointer, from_id: UUID, into_id: UUID, request: UUID
) -> list[dict[str, Any]]:
    table, column = pointer.table.name, pointer.column
    key = ", ".join(f"'{name}', t.{name}" for name in pointer.keys)
    free = "true"
    if column in pointer.keys:
        # What is there for both stays where it is: one of a kind is enough.
        same = " AND ".join(f"o.{name} = t.{name}" for name in pointer.keys if name != column)
        free = f"NOT EXISTS (SELECT FROM {table} o WHERE o.{column} = :into AND {same})"
    rows = session.execute(
        text(f"""
            WITH moved AS (
                UPDATE {table} t SET {column} = :into{_stamps(pointer)}
                 WHERE {column} = :from AND {free} RETURNING jsonb_build_object({key}) AS key
            ), kept AS (
                INSERT INTO repointed (tenant_id, request_id, place, key)
                SELECT :tenant, :request, '{table}.{column}', key FROM moved
                ON CONFLICT DO NOTHING
            )
            SELECT key FROM moved
        """),
        _values(session, from_id, into_id, request),
    )
    return [row.key for row in rows]


def _put_back(
    session: Session, pointer: Pointer, from_id: UUID, into_id: UUID, request: UUID
) -> list[dict[str, Any]]:
    table, column = pointer.table.name, pointer.column
    # The key was kept as it was before the row was moved where the pointer is part of it.
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    same = " AND ".join(
        f"t.{name} = CAST(r.key ->> '{name}' AS {pointer.table.c[name].type.compile(dialect)})"
        for name in pointer.keys
        if name != column
    )
    key = ", ".join(f"'{name}', t.{name}" for name in pointer.keys)
    rows = session.execute(
        text(f"""
            UPDATE {table} t SET {column} = :from{_stamps(pointer)} FROM repointed r
             WHERE r.request_id = :request AND r.place = '{table}.{column}' AND {same}
               AND t.{column} = :into
            RETURNING jsonb_build_object({key}) AS key
        """),
        _values(session, from_id, into_id, request),
    )
    return [row.key for row in rows]


def _stamps(pointer: Pointer) -> str:
    if pointer.kind is None:
        return ""
    return ", version = t.version + 1, updated_at = :now, updated_by = :by"


def _values(session: Session, from_id: UUID, into_id: UUID, request: UUID) -> dict[str, Any]:
    about = context(session)
    return {
        "from": from_id,
        "into": into_id,
        "request": request,
        "tenant": about.tenant,
        "now": about.now,
        "by": about.user,
    }


_HISTORY = """
INSERT INTO history (id, tenant_id, record, record_id, version, action, at, by, changes)
SELECT given.entry, :tenant, :record, t.id, t.version, 'changed', :now, :by,
       CAST(:changes AS jsonb)
  FROM unnest(CAST(:entries AS uuid[]), CAST(:ids AS uuid[])) AS given (entry, id)
  JOIN {table} t ON t.id = given.id
"""


def _told(
    session: Session,
    pointer: Pointer,
    before: UUID,
    after: UUID,
    moved: list[dict[str, Any]],
    tell: Told,
) -> None:
    """Have the history of moved records say so, and others told of them."""
    if pointer.kind is None or not moved:
        return
    ids = [UUID(key["id"]) for key in moved]
    session.execute(
        text(_HISTORY.format(table=pointer.table.name)),
        {
            **_values(session, before, after, before),
            "record": pointer.kind.name,
            "changes": json.dumps({pointer.column: [str(before), str(after)]}),
            "entries": [uuid7() for _ in ids],
            "ids": ids,
        },
    )
    tell(session, pointer.kind.name, ids)
