"""The timeline: everything that happened with a person or a company, in one order.

A record's own changes are its history, its notes and files are where they are; only what other
services tell is written here. One statement merges them, so that nothing is stored twice.

An entry carries what it is about, and that one's permission and present owner: it is shown to who
may see the record itself (`seen_occurrences`, docs/decisions/what-is-seen.md).
"""

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
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
            source="seen_history",
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
            source="seen_occurrences",
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


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened with a person or a company (`about_id`), told by another service."""

    id: UUID
    about_id: UUID
    at: dt.datetime
    kind: str
    by: UUID | None
    details: dict[str, Any]
    subject_id: UUID
    """What it tells of: see `Subject`."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A record of another service, its kind, and whose it is at a version of it.

    Who tells no version tells what counts now.
    """

    id: UUID
    record: str
    owner_id: UUID | None
    version: int | None

    @property
    def permission(self) -> str:
        """What it takes to see it."""
        return f"{self.record}:read"


# In the same order everywhere, so that two batches never wait for each other in a circle.
_TELL = Statement("""
WITH owned AS (
    INSERT INTO subjects (id, tenant_id, record, permission, owner_id, version)
    SELECT DISTINCT ON (id) id, %(tenant)s::uuid, record, permission, owner_id,
           coalesce(version, 0)
      FROM ROWS FROM (jsonb_to_recordset(%(subjects)s)
                      AS (id uuid, record text, permission text, owner_id uuid, version bigint))
           WITH ORDINALITY AS told(id, record, permission, owner_id, version, place)
     ORDER BY id, version DESC NULLS FIRST, place DESC
    ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id,
        version = greatest(subjects.version, excluded.version)
     WHERE subjects.version < excluded.version OR excluded.version = 0
)
INSERT INTO occurrences (tenant_id, id, about_id, at, kind, by, details, subject_id)
SELECT %(tenant)s::uuid, id, about_id, at, kind, by, details, subject_id
  FROM jsonb_to_recordset(%(rows)s) AS r(id uuid, about_id uuid, at timestamptz, kind text,
                                         by uuid, details jsonb, subject_id uuid)
ON CONFLICT DO NOTHING
""")


_WAITING = "timeline"


@dataclass(slots=True)
class _Waiting:
    entries: list[Entry] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)


def tell(session: Session, entries: Iterable[Entry]) -> None:
    """Add what another service told; the same event again adds nothing.

    Events come in crowds, so all that a transaction was told is written at once, with its commit.
    """
    _add(session, _Waiting(entries=list(entries)))


def belongs(session: Session, subjects: Iterable[Subject]) -> None:
    """Keep whose these records of another service are; what is older than known changes nothing."""
    _add(session, _Waiting(subjects=list(subjects)))


def take_back(session: Session, subjects: Iterable[UUID], entries: Iterable[UUID]) -> list[UUID]:
    """Take back all that was told of these records, and these entries; whom they were about."""
    _write(session, session.info.pop(_WAITING, _Waiting()))
    rows = _TAKE_BACK.run(session, {"subjects": list(subjects), "entries": list(entries)})
    return [UUID(str(about)) for (about,) in rows]


_TAKE_BACK = Statement("""
    WITH told AS (
        DELETE FROM occurrences WHERE subject_id = ANY(%(subjects)s) OR id = ANY(%(entries)s)
        RETURNING about_id
    ), forgotten AS (
        DELETE FROM subjects WHERE id = ANY(%(subjects)s)
    )
    SELECT DISTINCT about_id FROM told
""")


def _add(session: Session, told: _Waiting) -> None:
    if session.in_nested_transaction():
        # It may be undone by itself.
        _write(session, told)
        return
    waiting: _Waiting = session.info.setdefault(_WAITING, _Waiting())
    waiting.entries += told.entries
    waiting.subjects += told.subjects


def _write(session: Session, told: _Waiting) -> None:
    if not told.entries and not told.subjects:
        return
    subjects = [{**asdict(subject), "permission": subject.permission} for subject in told.subjects]
    values = {
        "tenant": context(session).tenant,
        "rows": to_json(told.entries).decode(),
        "subjects": to_json(subjects).decode(),
    }
    _TELL.run(session, values)


# In front of the outbox, whose insert has the commit with it.
@event.listens_for(Session, "before_commit", insert=True)
def _write_waiting(session: Session) -> None:
    if not session.in_nested_transaction():
        _write(session, session.info.pop(_WAITING, _Waiting()))


@event.listens_for(Session, "after_rollback")
def _forget(session: Session) -> None:
    if not session.in_nested_transaction():
        session.info.pop(_WAITING, None)
