"""The timeline: everything that happened with a person or a company, in one order.

A record's own changes are its history, its notes and files are where they are; only what other
services tell is written here. One statement merges them, so that nothing is stored twice.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from liaison_kit import listing
from liaison_kit.context import context
from liaison_kit.database.statements import Statement
from liaison_kit.listing import cursors
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.errors import InvalidInput, NotFound

# Each branch is cut to the page by its own index before they are merged.
_BRANCH = """
    (SELECT {id} AS id, {at} AS at, {kind} AS kind, {by} AS by, {details} AS details
     FROM {source} WHERE {condition}
       AND (CAST(:at AS timestamptz) IS NULL OR ({at}, {id}) < (CAST(:at AS timestamptz), CAST(:id
       AS uuid)))
     ORDER BY {at} DESC, {id} DESC LIMIT :limit)
"""


def _sql(table: str) -> str:
    branches = [
        _BRANCH.format(
            id="id",
            at="created_at",
            kind="'created'",
            by="created_by",
            details="'{}'::jsonb",
            source=table,
            condition="id = :about",
        ),
        _BRANCH.format(
            id="id",
            at="at",
            kind="action",
            by="by",
            details="jsonb_build_object('changes', changes)",
            source="history",
            condition="record_id = :about",
        ),
        _BRANCH.format(
            id="id",
            at="created_at",
            kind="'note'",
            by="created_by",
            details="jsonb_build_object('body', left(body, 500))",
            source="notes",
            condition="about_id = :about",
        ),
        _BRANCH.format(
            id="id",
            at="created_at",
            kind="'attachment'",
            by="created_by",
            details="jsonb_build_object('name', name, 'size', size)",
            source="attachments",
            condition="about_id = :about",
        ),
        _BRANCH.format(
            id="id",
            at="at",
            kind="kind",
            by="by",
            details="details",
            source="occurrences",
            condition="about_id = :about",
        ),
    ]
    return (
        "SELECT row_to_json(r)::text, r.at::text, r.id::text FROM ("
        + " UNION ALL ".join(branches)
        + " ORDER BY at DESC, id DESC LIMIT :limit) r"
    )


_STATEMENTS = {"contacts": text(_sql("people")), "companies": text(_sql("companies"))}


def of(session: Session, kind: RecordType, id: UUID, limit: int, cursor: str | None) -> bytes:
    """A page of the timeline, latest first."""
    if listing.read(session, kind, id) is None:
        raise NotFound(f"There is no such record in {kind.name}")
    place = (str(context(session).tenant), "timeline", kind.name, str(id))
    at, last = _position(place, cursor) if cursor else (None, None)
    rows = session.execute(
        _STATEMENTS[kind.name], {"about": id, "at": at, "id": last, "limit": limit + 1}
    ).all()
    after = None
    if len(rows) > limit:
        rows = rows[:limit]
        after = cursors.written(place, (rows[-1][1], rows[-1][2]))
    items = ",".join(row[0] for row in rows)
    return b'{"items":[%b],"next":%b}' % (items.encode(), json.dumps(after).encode())


def _position(place: Any, cursor: str) -> list[str | None]:
    try:
        return cursors.read(place, cursor)
    except cursors.ForeignCursor:
        raise InvalidInput.field(
            "cursor", "cursor", "This cursor does not belong to this list"
        ) from None


_TELL = Statement(
    "INSERT INTO occurrences (tenant_id, id, about_id, at, kind, by, details)"
    " SELECT %(tenant)s::uuid, id, about_id, at, kind, by, details FROM"
    " jsonb_to_recordset(%(rows)s) AS r(id uuid, about_id uuid, at timestamptz,"
    " kind text, by uuid, details jsonb) ON CONFLICT DO NOTHING"
)


_WAITING = "timeline"


def tell(session: Session, entries: Iterable[dict[str, Any]]) -> None:
    """Add what another service told; the same event again adds nothing.

    Events come in crowds, so all that a transaction was told is written at once, with its commit.
    """
    if session.in_nested_transaction():
        # It may be undone by itself.
        _write(session, list(entries))
    else:
        session.info.setdefault(_WAITING, []).extend(entries)


def _write(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        told = {"tenant": context(session).tenant, "rows": to_json(rows).decode()}
        _TELL.run(session, told)


# In front of the outbox, whose insert has the commit with it.
@event.listens_for(Session, "before_commit", insert=True)
def _write_waiting(session: Session) -> None:
    if not session.in_nested_transaction():
        _write(session, session.info.pop(_WAITING, ()))


@event.listens_for(Session, "after_rollback")
def _forget(session: Session) -> None:
    if not session.in_nested_transaction():
        session.info.pop(_WAITING, None)
