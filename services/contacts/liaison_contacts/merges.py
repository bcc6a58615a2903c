"""Merges: two records that are the same person or company become one, until that is undone.

The survivor takes over what it lacks (`uniting`), the other's row leaves its table and is kept
here, and all that points at it points at the survivor: in contacts at once, in the other modules as
they hear of it (`privacy`). Merges into one record are undone latest first.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast
from uuid import UUID

from pydantic_core import to_jsonable_python
from sqlalchemy import Text, literal, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from liaison_contacts import companies, parties, people, uniting
from liaison_contacts.companies import COMPANIES
from liaison_contacts.models import Company, Merge, Party, PrivacyRequest
from liaison_contacts.people import PEOPLE
from liaison_kit import listing, records
from liaison_kit.context import context
from liaison_kit.ids import uuid7
from liaison_kit.privacy.moved import where_it_is
from liaison_kit.records import Held, custom, trash
from liaison_kit.records.history import keep
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.contracts.contacts import Merging
from liaison_sdk.contracts.privacy import Party as PartyName
from liaison_sdk.contracts.privacy import RecordsMerged, RecordsUnmerged
from liaison_sdk.errors import Conflict, InvalidInput, LiaisonError, NotFound, StaleVersion

P = TypeVar("P", bound=Party)

KINDS = {kind.name: kind for kind in (PEOPLE, COMPANIES)}
_TELL: Mapping[str, tuple[Callable[..., None], Callable[..., None]]] = {
    "contacts": (people.tell, people.tell_removed),
    "companies": (companies.tell, companies.tell_removed),
}


class MergedIntoAnother(NotFound):
    """The record has become part of another, which the problem names."""

    code, title = "merged", "This record has been merged into another"

    def __init__(self, into: UUID) -> None:
        super().__init__(f"It is part of {into} now")
        self.into = into

    def problem(self) -> dict[str, Any]:
        """The problem, with the record that it is part of now."""
        return super().problem() | {"merged_into": str(self.into)}


class IntoItself(InvalidInput):
    """A record can't be merged into itself."""

    code, title = "into_itself", "A record can't be merged into itself"


class BeingErased(Conflict):
    """The person is being erased."""

    code, title = "being_erased", "This person is being erased"


class UndoneAlready(Conflict):
    """A merge is undone once."""

    code, title = "undone_already", "This merge has been undone"


class LaterFirst(Conflict):
    """What was built on a merge has to be undone before it."""

    code, title = "undo_later_first", "Undo the later merge first"


def missing(session: Session, kind: RecordType, id: UUID) -> LiaisonError:
    """Why there is no such record: who may see the survivor of a merge is told of it."""
    into = where_it_is(session, id)
    if into is not None and into != id and listing.read(session, kind, into) is not None:
        return MergedIntoAnother(into)
    principal = context(session).principal
    if principal is None or principal.rows.get(kind.name, "all") == "all":
        running = select(PrivacyRequest.id).where(
            PrivacyRequest.subject_id == id,
            PrivacyRequest.kind == "erasure",
            PrivacyRequest.state == "running",
        )
        if session.scalar(running) is not None:
            return BeingErased("Its erasure goes on until every module has answered")
    return NotFound(f"There is no such record in {kind.name}")


def merge(
    session: Session, kind: RecordType, into_id: UUID, version: int, asked: Merging
) -> RecordsMerged:
    """Make the other one part of this one; what the modules are to be told."""
    if asked.from_id == into_id:
        raise IntoItself.field("from", "itself", "Name another record than the one it goes into")
    unknown = set(asked.take) - kind.fields.keys()
    if unknown:
        name = min(unknown)
        raise InvalidInput.field("take", "unknown", f"{kind.name} have no field {name[:80]!r}")
    into, other = _both(session, kind, into_id, version, asked)
    after = uniting.united(records.values_of(into), records.values_of(other), asked.take)
    if kind is COMPANIES:
        after["parent_id"] = _parent(session, into, other, after["parent_id"])  # type: ignore[arg-type]
    after = _that_can_be(session, kind, into, after)
    request = uuid7()
    held = _take_out(session, kind, other)
    before = records.values_of(into)
    into, changed = records.change(session, kind, into, after | _compared_by(kind, before | after))
    session.add(
        Merge(
            id=request,
            tenant_id=context(session).tenant,
            record=kind.name,
            from_id=other.id,
            into_id=into.id,
            held=literal(held, Text).cast(JSONB),
            changed=to_jsonable_python(changed),
            undone=False,
        )
    )
    saved, removed = _TELL[kind.name]
    removed(session, [other.id])
    saved(session, [into.id])
    return RecordsMerged(
        tenant_id=context(session).tenant,
        request_id=request,
        record=_name(kind),
        from_id=other.id,
        into_id=into.id,
    )


def undo(session: Session, kind: RecordType, into_id: UUID, id: UUID) -> RecordsUnmerged:
    """Make the two records two again; what the modules are to be told."""
    model: type[Party] = cast("type[Party]", kind.model)
    try:
        into = records.load(session, kind, model, into_id)
    except NotFound:
        raise missing(session, kind, into_id) from None
    done = session.scalar(
        select(Merge)
        .where(Merge.id == id, Merge.into_id == into_id, Merge.record == kind.name)
        .with_for_update()
    )
    if done is None:
        raise NotFound("There is no such merge")
    if done.undone:
        raise UndoneAlready
    later = select(Merge.id).where(Merge.into_id == into_id, Merge.id > id, Merge.undone.is_(False))
    if session.scalar(later.limit(1)) is not None:
        raise LaterFirst("Another record was merged into this one since")
    now = to_jsonable_python(records.values_of(into))
    before = {
        name: _before(name, was, became, now)
        for name, (was, became) in done.changed.items()
        if now[name] == became or name == "custom"
    }
    values = _that_can_be(session, kind, into, before)
    compared_by = _compared_by(kind, records.values_of(into) | values)
    records.change(session, kind, into, values | compared_by)
    _put_in(session, kind, done)
    done.undone = True
    # Who has not heard of the merge yet hears of it before its undoing, and not again after it.
    session.execute(update(PrivacyRequest).where(PrivacyRequest.id == id).values(asked=None))
    saved, _ = _TELL[kind.name]
    saved(session, [into_id, done.from_id])
    return RecordsUnmerged(
        tenant_id=context(session).tenant,
        request_id=uuid7(),
        merge_id=done.id,
        record=_name(kind),
        from_id=done.from_id,
        into_id=into_id,
    )


def parts_of(session: Session, id: UUID) -> list[UUID]:
    """A record and all that were merged into it, as far as that was not undone."""
    return list(session.scalars(_PARTS, {"id": id}))


_PARTS = text("""
WITH RECURSIVE parts AS (
    SELECT CAST(:id AS uuid) AS id
    UNION
    SELECT m.from_id FROM parts JOIN merges m ON m.into_id = parts.id AND NOT m.undone
)
SELECT id FROM parts
""")


# --- two rows into one ----------------------------------------------------------------------------


def _both(
    session: Session, kind: RecordType, into_id: UUID, version: int, asked: Merging
) -> tuple[Held[Party], Held[Party]]:
    """Both records, locked in an order that all share: two who merge at once don't meet halfway."""
    model: type[Party] = cast("type[Party]", kind.model)
    found: dict[UUID, Held[Party]] = {}
    for id in sorted((into_id, asked.from_id)):
        try:
            found[id] = records.load(session, kind, model, id)
        except NotFound:
            raise missing(session, kind, id) from None
    into, other = found[into_id], found[asked.from_id]
    # The answer to a stale version is the current record.
    records.load(session, kind, model, into_id, version)
    if asked.from_version is not None and other.version != asked.from_version:
        current = records.answer(session, kind, other.id)[0]
        raise StaleVersion(
            f"You knew the other at version {asked.from_version}; it is at {other.version}", current
        )
    return into, other


def _take_out(session: Session, kind: RecordType, row: Held[Party]) -> str:
    """Take a row out of its table; the row as JSON, to be kept as it is."""
    gone = session.scalar(
        text(f"DELETE FROM {kind.table.name} t WHERE id = :id RETURNING CAST(to_jsonb(t) AS text)"),
        {"id": row.id},
    )
    keep(session, kind, row.id, row.version + 1, "removed", {})
    return cast(str, gone)


def _put_in(session: Session, kind: RecordType, done: Merge) -> None:
    about, held = context(session), done.held
    lost = dict.fromkeys(trash.gone_references(session, kind, held))
    version = held["version"] + 2
    now = held | lost
    now |= {"version": version, "updated_at": about.now, "updated_by": about.user}
    try:
        trash.put_row(session, kind, Merge, done.id, held, now)
    except IntegrityError as error:
        raise trash.in_the_way(kind, error) from None
    unlinked = {name: (held[name], None) for name in lost}
    keep(session, kind, UUID(held["id"]), version, "restored", unlinked)


def _before(name: str, was: Any, became: Any, now: Mapping[str, Any]) -> Any:
    """A field as it was; of the tenant's own fields, those that nobody has changed since."""
    if name != "custom":
        return was
    return {
        each: was.get(each)
        for each in became
        if became[each] != was.get(each) and now["custom"].get(each) == became[each]
    }


def _that_can_be(
    session: Session, kind: RecordType, into: Held[Party], after: dict[str, Any]
) -> dict[str, Any]:
    """The values without those that can't be taken over: what they point at is gone or hidden, or
    the tenant has taken the field away."""
    before = records.values_of(into)
    new = {
        name: value
        for name, value in after.items()
        if name in kind.references and value not in (None, before[name])
    }
    lost = trash.gone_references(session, kind, new) if new else []
    kept = {name: value for name, value in after.items() if name not in lost}
    if "custom" in kept:
        known = {each.name for each in custom.fields(session, kind.name)}
        changes = kept["custom"].items()
        kept["custom"] = {
            name: value
            for name, value in changes
            if name in known and before["custom"].get(name) != value
        }
    return kept


def _compared_by(kind: RecordType, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the record is compared by."""
    names = (values["first_name"], values["last_name"]) if kind is PEOPLE else (values["name"],)
    return {"keys": parties.keys(names, values)}


_ABOVE = text("""
WITH RECURSIVE above AS (
    SELECT parent_id AS id FROM companies WHERE id = :id
    UNION
    SELECT c.parent_id FROM above JOIN companies c ON c.id = above.id
)
SELECT EXISTS (SELECT FROM above WHERE id = :above)
""")


def _parent(
    session: Session, into: Held[Company], other: Held[Company], chosen: UUID | None
) -> UUID | None:
    """The survivor's parent: never itself, nor one that is below it."""
    if session.scalar(_ABOVE, {"id": into.id, "above": other.id}):
        return other.parent_id
    if session.scalar(_ABOVE, {"id": other.id, "above": into.id}):
        return into.parent_id
    return chosen


def _name(kind: RecordType) -> PartyName:
    return cast(PartyName, kind.name)
