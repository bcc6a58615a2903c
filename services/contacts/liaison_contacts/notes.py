"""Notes about people and companies."""

from uuid import UUID

from sqlalchemy.orm import Session

from liaison_contacts.companies import COMPANIES
from liaison_contacts.models import Note
from liaison_contacts.people import PEOPLE
from liaison_kit import listing, records
from liaison_kit.records import Held
from liaison_kit.records.attachments import demand
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
    _demand_above(session, session.get(Note, id))
    note = records.load(session, NOTES, Note, id, version)
    return records.change(session, NOTES, note, {"body": new.body})[0]


def remove(session: Session, id: UUID, version: int) -> None:
    """Delete a note."""
    _demand_above(session, session.get(Note, id))
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


def _demand_above(session: Session, note: Note | None) -> None:
    missing = NotFound("There is no such note")
    if note is None:
        raise missing
    demand(session, _KINDS[note.about], note.about_id, "write", missing)


def _demand(session: Session, kind: RecordType, id: UUID) -> None:
    if listing.read(session, kind, id) is None:
        raise NotFound(f"There is no such record in {kind.name}")


def _page(rows: "list[str] | tuple[str, ...] | object") -> bytes:
    return b'{"items":[%b],"next":null}' % ",".join(rows).encode()  # type: ignore[arg-type]
