"""Drafts: what somebody has written and not sent yet, kept for them and shown to nobody else.

The last to write wins, unless they say which version they go on from. Whether there is such a
record is not asked: a form for a new one has a draft as well, under an id that the screen makes.
"""

from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select, text
from sqlalchemy.orm import Session

from liaison_identity.models import Draft
from liaison_kit.context import context
from liaison_sdk.contracts import desk
from liaison_sdk.contracts.desk import LONGEST_DRAFT
from liaison_sdk.errors import Conflict, InvalidInput, NotFound, StaleVersion

MOST = 500
"""So many drafts a user may have at a time; each goes thirty days after it was last touched."""


class DraftTooLong(InvalidInput):
    """More than a draft may hold: it belongs in a file."""

    code, title = "draft_too_long", "This draft is too long"


class TooManyDrafts(Conflict):
    """The user has as many drafts as anybody may have; send or drop one first."""

    code, title = "too_many_drafts", "You have too many drafts"


class NoSuchDraft(NotFound):
    """Nothing of this has been begun, or it was sent, dropped, or not touched for long."""

    title = "There is no such draft"


def keep(
    session: Session, record: str, id: UUID, field: str, body: str, version: int | None
) -> desk.Draft:
    """Keep what has been written so far, in place of what was there at this version, or at any."""
    if len(body) > LONGEST_DRAFT:
        said = f"A draft has at most {LONGEST_DRAFT} characters, and this has {len(body)}"
        raise DraftTooLong.field("body", "draft_too_long", said)
    about = context(session)
    values = {
        "tenant": about.tenant,
        "user": about.user,
        "record": record,
        "id": id,
        "field": field,
        "body": body,
        "version": version,
        "now": about.now,
    }
    kept = session.execute(_KEEP, values).one_or_none()
    if kept is None:
        there = _found(session, record, id, field)
        if there is None:
            raise NoSuchDraft("What this is about was erased")
        current = _shape(there).model_dump_json().encode()
        raise StaleVersion(f"It is at version {there.version} now", current)
    if kept.version == 1:
        if version is not None:
            raise StaleVersion("This draft is gone: it was sent or dropped elsewhere")
        _demand_room(session)
    # Where the record was merged meanwhile, it is the survivor's draft.
    return desk.Draft(
        record=record,
        record_id=kept.record_id,
        field=field,
        body=body,
        version=kept.version,
        updated_at=about.now,
    )


_KEEP = text("""
INSERT INTO drafts AS kept (tenant_id, user_id, record, record_id, field, body, version, updated_at)
VALUES (:tenant, :user, :record, :id, :field, :body, 1, :now)
ON CONFLICT (user_id, record, record_id, field) DO UPDATE
   SET body = excluded.body, version = kept.version + 1, updated_at = excluded.updated_at
 WHERE CAST(:version AS bigint) IS NULL OR kept.version = :version
RETURNING record_id, version
""")


def one(session: Session, record: str, id: UUID, field: str) -> desk.Draft:
    """The caller's own of one field."""
    found = _found(session, record, id, field)
    if found is None:
        raise NoSuchDraft()
    return _shape(found)


def all_of(session: Session, record: str, id: UUID) -> list[desk.Draft]:
    """All that the caller has begun about a record."""
    rows = session.scalars(select(Draft).where(*_of(session, record, id)).order_by(Draft.field))
    return [_shape(row) for row in rows]


def drop(session: Session, record: str, id: UUID, field: str) -> None:
    """It was sent, or is wanted no more; that there is none is just as well."""
    session.execute(delete(Draft).where(*_of(session, record, id), Draft.field == field))


def _found(session: Session, record: str, id: UUID, field: str) -> Draft | None:
    return session.scalar(select(Draft).where(*_of(session, record, id), Draft.field == field))


def _of(session: Session, record: str, id: UUID) -> list[ColumnElement[bool]]:
    user = context(session).user
    return [Draft.user_id == user, Draft.record == record, Draft.record_id == id]


def _demand_room(session: Session) -> None:
    mine = select(func.count()).where(Draft.user_id == context(session).user)
    if (session.scalar(mine) or 0) > MOST:
        raise TooManyDrafts(
            f"You have {MOST} drafts: send or drop one that you don't need any more"
        )


def _shape(row: Draft) -> desk.Draft:
    return desk.Draft.model_validate(row, from_attributes=True)
