"""Notes and attachments of people and companies."""

from typing import TypeVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from liaison_contacts.companies import COMPANIES
from liaison_contacts.models import Attachment, Note
from liaison_contacts.people import PEOPLE
from liaison_kit import listing, records
from liaison_kit.calls.wire import Download, Upload
from liaison_kit.context import context
from liaison_kit.records import Held, files
from liaison_kit.records.recordtype import RecordType, as_json
from liaison_sdk.contracts import contacts as contract
from liaison_sdk.contracts.flows import NoteAsked
from liaison_sdk.errors import NotFound
from liaison_sdk.labels import Label

NOTES = RecordType(
    "notes",
    Label(en="Note", fr="Note"),
    model=Note,
    shape=contract.Note,
    default_sort="-created_at",
)
MOST = 200
Hanging = TypeVar("Hanging", Note, Attachment)
_KINDS = {kind.name: kind for kind in (PEOPLE, COMPANIES)}


def add(session: Session, kind: RecordType, id: UUID, new: contract.NewNote) -> Held[Note]:
    """Add a note about a record."""
    _demand(session, kind, id)
    return records.create(session, NOTES, Note, about=kind.name, about_id=id, body=new.body)


def add_asked(session: Session, asked: NoteAsked) -> Held[Note]:
    """Add a note that a flow of another module asks for."""
    kind = _KINDS[asked.record]
    return add(session, kind, asked.id, contract.NewNote(body=asked.body))


def change(session: Session, id: UUID, version: int, new: contract.NewNote) -> Held[Note]:
    """Rewrite a note."""
    _demand_above(session, session.get(Note, id), "write")
    note = records.load(session, NOTES, Note, id, version)
    return records.change(session, NOTES, note, {"body": new.body})[0]


def remove(session: Session, id: UUID, version: int) -> None:
    """Delete a note."""
    _demand_above(session, session.get(Note, id), "write")
    records.remove(session, NOTES, records.load(session, NOTES, Note, id, version))


def of(session: Session, kind: RecordType, id: UUID) -> bytes:
    """The latest notes about a record, as a JSON page."""
    _demand(session, kind, id)
    rows = (
        NOTES.select()
        .where(Note.about == kind.name, Note.about_id == id)
        .order_by(Note.created_at.desc(), Note.id.desc())
        .limit(MOST)
    )
    return _page(session.scalars(as_json(rows)).all())


def attach(session: Session, kind: RecordType, id: UUID, upload: Upload) -> contract.Attachment:
    """Keep an uploaded file with a record."""
    _demand(session, kind, id)
    about = context(session)
    attachment = Attachment(
        id=upload.id,
        tenant_id=about.tenant,
        about=kind.name,
        about_id=id,
        name=upload.name,
        content_type=upload.content_type,
        size=upload.size,
        created_at=about.now,
        created_by=about.user,
    )
    session.add(attachment)
    files.claim_upload(session, upload)
    return contract.Attachment.model_validate(attachment, from_attributes=True)


def attachments(session: Session, kind: RecordType, id: UUID) -> list[contract.Attachment]:
    """The latest files of a record."""
    _demand(session, kind, id)
    rows = session.scalars(
        select(Attachment)
        .where(Attachment.about == kind.name, Attachment.about_id == id)
        .order_by(Attachment.created_at.desc())
        .limit(MOST)
    )
    return [contract.Attachment.model_validate(row, from_attributes=True) for row in rows]


def content(session: Session, id: UUID) -> Download:
    """A file's bytes, to hand out."""
    row = _demand_above(session, session.get(Attachment, id), "read")
    return Download(row.name, row.content_type, stored=id, parts=files.parts(session, id))


def detach(session: Session, id: UUID) -> None:
    """Delete a file."""
    row = _demand_above(session, session.get(Attachment, id), "write")
    session.delete(row)
    files.discard(session, id)


def _demand_above(session: Session, row: Hanging | None, verb: str) -> Hanging:
    """What hangs on a record is for whoever may do the same with the record itself."""
    missing = NotFound("There is no such note or file")
    if row is None:
        raise missing
    kind = _KINDS[row.about]
    principal = context(session).principal
    if principal is not None:
        principal.demand(f"{kind.name}:{verb}")
    if listing.read(session, kind, row.about_id) is None:
        raise missing
    return row


def _demand(session: Session, kind: RecordType, id: UUID) -> None:
    if listing.read(session, kind, id) is None:
        raise NotFound(f"There is no such record in {kind.name}")


def _page(rows: "list[str] | tuple[str, ...] | object") -> bytes:
    return b'{"items":[%b],"next":null}' % ",".join(rows).encode()  # type: ignore[arg-type]
