"""Requests that every module takes part in: merges, their undoing, erasures, questions of access.

A request is a row with a receipt per module that has said that it holds data of persons. The
modules are asked by an event, and asked again after a while; the request is done when all that are
not retired have answered. A crash loses none of it: there is nothing but rows, events and timers.
"""

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, delete, func, literal, select, text, update
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session

from liaison_contacts import merges, people
from liaison_contacts.models import (
    HeldPart,
    HoldingModule,
    Merge,
    Person,
    PrivacyReceipt,
    PrivacyRequest,
)
from liaison_contacts.people import PEOPLE
from liaison_kit import listing, records
from liaison_kit.calls.wire import Download
from liaison_kit.context import context
from liaison_kit.events import emit
from liaison_kit.ids import uuid7
from liaison_kit.privacy import erasing
from liaison_kit.privacy.marks import Holdings
from liaison_kit.privacy.serving import HELD, TRACES
from liaison_kit.privacy.traces import Traces, telling
from liaison_kit.records import custom, files
from liaison_kit.records.history import History, keep
from liaison_kit.records.recordtype import RecordType
from liaison_kit.records.search import digits, fold
from liaison_kit.records.trash import Trashed
from liaison_kit.timers.setting import at
from liaison_kit.timers.timer import Timer
from liaison_kit.trust import certificates
from liaison_kit.trust.keys import Keyring
from liaison_kit.trust.sealing import seal, unseal
from liaison_sdk.contracts import contacts as contract
from liaison_sdk.contracts.privacy import (
    AccessAsked,
    ErasureAsked,
    ModuleRetired,
    PersonalDataHeld,
    PrivacyAnswered,
    RecordsMerged,
    RecordsUnmerged,
)
from liaison_sdk.errors import NotFound
from liaison_sdk.labels import Label

OWN = "contacts"
MAY_SEE = "privacy:read"
ASK_AGAIN = dt.timedelta(minutes=10)
FILE_KEPT = dt.timedelta(days=7)

Asked = RecordsMerged | RecordsUnmerged | ErasureAsked | AccessAsked
_EVENTS: Mapping[str, type[Asked]] = {
    "merge": RecordsMerged,
    "undo": RecordsUnmerged,
    "erasure": ErasureAsked,
    "access": AccessAsked,
}
_KIND_OF = {event: kind for kind, event in _EVENTS.items()}

_MODULES = (
    select(
        func.coalesce(
            func.jsonb_agg(
                func.jsonb_build_object(
                    "module",
                    PrivacyReceipt.module,
                    "state",
                    PrivacyReceipt.state,
                    "counts",
                    PrivacyReceipt.counts,
                    "answered_at",
                    PrivacyReceipt.answered_at,
                )
            ),
            sql_cast(literal("[]"), JSONB),
        )
    )
    .where(PrivacyReceipt.request_id == PrivacyRequest.id)
    .correlate(PrivacyRequest)
    .scalar_subquery()
)
REQUESTS = RecordType(
    "privacy_requests",
    Label(en="Privacy request", fr="Demande de confidentialité"),
    model=PrivacyRequest,
    shape=contract.PrivacyRequest,
    columns={"modules": _MODULES, "has_file": PrivacyRequest.file_id.is_not(None)},
    default_sort="-created_at",
)


class AskAgain(Timer):
    """A request whose modules are asked once more, if some have not answered."""

    kind = "privacy_ask_again"

    request_id: UUID


class FileExpires(Timer):
    """What is held of somebody is not kept for longer than it takes to hand it over."""

    kind = "privacy_file_expires"

    request_id: UUID


# --- asking ---------------------------------------------------------------------------------------


def begin(
    session: Session,
    asked: Asked,
    subject: UUID,
    other: UUID | None = None,
    reason: str | None = None,
    done: dict[str, int] | None = None,
) -> UUID:
    """Ask every module; `done` is what contacts has changed itself, if that is all of its part."""
    about = context(session)
    stamps = {"created_at": about.now, "updated_at": about.now}
    session.add(
        PrivacyRequest(
            id=asked.request_id,
            tenant_id=about.tenant,
            version=1,
            custom={},
            created_by=about.user,
            updated_by=about.user,
            kind=_KIND_OF[type(asked)],
            record=asked.record,
            subject_id=subject,
            other_id=other,
            reason=reason,
            state="running",
            asked=asked.model_dump(mode="json"),
            **stamps,
        )
    )
    session.flush()
    for module in {OWN, *_holding(session)}:
        mine = module == OWN and done is not None
        session.add(
            PrivacyReceipt(
                request_id=asked.request_id,
                tenant_id=about.tenant,
                module=module,
                state="done" if mine else "waiting",
                counts=done or {} if mine else {},
                answered_at=about.now if mine else None,
            )
        )
    emit(session, asked)
    _later(session, asked.request_id)
    return asked.request_id


def ask_again(session: Session, id: UUID) -> None:
    """Ask those who have not answered once more; who has answered does nothing new."""
    row = session.get(PrivacyRequest, id)
    if row is None or row.state == "done" or row.asked is None:
        return
    emit(session, _EVENTS[row.kind].model_validate(row.asked))
    _later(session, id)


def _later(session: Session, id: UUID) -> None:
    at(session, context(session).now + ASK_AGAIN, AskAgain(request_id=id), key=str(id))


# --- answers --------------------------------------------------------------------------------------


def answered(session: Session, keys: Keyring, event: PrivacyAnswered) -> None:
    """A module has done its part; the last one finishes the request."""
    row = _locked(session, event.request_id)
    if row is None or row.state == "done":
        return
    if event.held is not None:
        part = {
            "tenant_id": row.tenant_id,
            "request_id": row.id,
            "module": event.module,
            "part": event.part,
            "sealed": event.held,
        }
        session.execute(insert(HeldPart).values(part).on_conflict_do_nothing())
        came = select(func.count()).where(
            HeldPart.request_id == row.id, HeldPart.module == event.module
        )
        if (session.scalar(came) or 0) < event.parts:
            return
    session.execute(
        update(PrivacyReceipt)
        .where(
            PrivacyReceipt.request_id == row.id,
            PrivacyReceipt.module == event.module,
            PrivacyReceipt.state == "waiting",
        )
        .values(state="done", counts=event.counts, answered_at=context(session).now)
    )
    _finish(session, keys, row)


def finish(session: Session, keys: Keyring, id: UUID) -> None:
    """End a request if nobody has to be waited for any more."""
    row = _locked(session, id)
    if row is not None and row.state == "running":
        _finish(session, keys, row)


def _locked(session: Session, id: UUID) -> PrivacyRequest | None:
    return session.scalar(select(PrivacyRequest).where(PrivacyRequest.id == id).with_for_update())


def _finish(session: Session, keys: Keyring, row: PrivacyRequest) -> None:
    session.flush()
    waiting = select(PrivacyReceipt.module).where(
        PrivacyReceipt.request_id == row.id, PrivacyReceipt.state == "waiting"
    )
    if session.scalar(waiting.limit(1)) is not None:
        return
    about = context(session)
    row.state, row.finished_at, row.asked = "done", about.now, None
    row.version, row.updated_at = row.version + 1, about.now
    if row.kind == "erasure":
        row.certificate = certificates.issue(keys, _certified(session, row))
    if row.kind == "access":
        row.file_id = uuid7()
        _write_file(session, keys, row)
        at(session, about.now + FILE_KEPT, FileExpires(request_id=row.id), key=f"file {row.id}")


def _certified(session: Session, row: PrivacyRequest) -> dict[str, Any]:
    """What a certificate says: ids, times and numbers, nothing of the person."""
    receipts = session.scalars(
        select(PrivacyReceipt)
        .where(PrivacyReceipt.request_id == row.id)
        .order_by(PrivacyReceipt.module)
    )
    return {
        "type": "erasure",
        "request": str(row.id),
        "organisation": str(row.tenant_id),
        "person": str(row.subject_id),
        "ground": row.reason,
        "asked_at": _time(row.created_at),
        "finished_at": _time(row.finished_at),
        "modules": [
            {
                "module": each.module,
                "state": each.state,
                "answered_at": _time(each.answered_at),
                "rows": each.counts,
            }
            for each in receipts
        ],
    }


def _time(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(dt.UTC).isoformat()


# --- modules --------------------------------------------------------------------------------------


def holds(session: Session, event: PersonalDataHeld) -> None:
    """A module holds data of persons: it is asked from now on."""
    now = context(session).now
    row = {
        "tenant_id": context(session).tenant,
        "module": event.module,
        "said_at": now,
        "retired_at": None,
        "retired_by": None,
    }
    session.execute(
        insert(HoldingModule)
        .values(row)
        .on_conflict_do_update(
            index_elements=["tenant_id", "module"],
            set_={"said_at": now, "retired_at": None, "retired_by": None},
            # What it said before it was retired comes late.
            where=func.coalesce(HoldingModule.retired_at, dt.datetime.min.replace(tzinfo=dt.UTC))
            < event.occurred_at,
        )
    )


def retire(session: Session, keys: Keyring, module: str) -> None:
    """Wait for a module no more: it is gone, and what it held with it."""
    row = session.get(HoldingModule, (context(session).tenant, module))
    if module == OWN or row is None or row.retired_at is not None:
        raise NotFound(f"No module {module[:80]!r} that can be retired holds data of persons")
    about = context(session)
    row.retired_at, row.retired_by = about.now, about.user
    waited_for = select(PrivacyReceipt.request_id).where(
        PrivacyReceipt.module == module, PrivacyReceipt.state == "waiting"
    )
    requests = sorted(session.scalars(waited_for))
    session.execute(
        update(PrivacyReceipt)
        .where(PrivacyReceipt.module == module, PrivacyReceipt.state == "waiting")
        .values(state="retired", answered_at=about.now)
    )
    for id in requests:
        finish(session, keys, id)
    emit(session, ModuleRetired(module=module))


def _holding(session: Session) -> Sequence[str]:
    return session.scalars(
        select(HoldingModule.module).where(HoldingModule.retired_at.is_(None))
    ).all()


# --- erasing and giving access --------------------------------------------------------------------


def erase(session: Session, keys: Keyring, holdings: Holdings, id: UUID, reason: str) -> UUID:
    """Erase a person: in contacts what is found by their id at once, the rest in every module."""
    subject = _subject(session, id)
    request = uuid7()
    ids = merges.parts_of(session, id)
    traces = _traces(session, ids, subject)
    erasing.settle(session, ids, request)
    erasing.by_marks(session, holdings, PEOPLE.name, ids, traces)
    session.execute(delete(Person).where(Person.id == id))
    session.execute(delete(Merge).where(Merge.from_id.in_(ids) | Merge.into_id.in_(ids)))
    _drop_files(session, ids)
    version = int(subject["version"]) + 1
    keep(session, PEOPLE, id, version, "removed", {})
    people.tell_removed(session, [id])
    asked = ErasureAsked(
        tenant_id=context(session).tenant,
        request_id=request,
        record="contacts",
        subject_id=id,
        ids=ids,
        sealed=_sealed(session, keys, traces),
    )
    return begin(session, asked, id, reason=reason)


def give(session: Session, keys: Keyring, id: UUID) -> UUID:
    """Have every module tell what it holds of a person."""
    subject = _subject(session, id)
    ids = merges.parts_of(session, id)
    asked = AccessAsked(
        tenant_id=context(session).tenant,
        request_id=uuid7(),
        record="contacts",
        subject_id=id,
        ids=ids,
        sealed=_sealed(session, keys, _traces(session, ids, subject)),
    )
    return begin(session, asked, id)


def _subject(session: Session, id: UUID) -> Mapping[str, Any]:
    """The person's row, locked; also of one who is in the trash."""
    try:
        return records.values_of(records.load(session, PEOPLE, Person, id))
    except NotFound:
        _, peers = listing.row_rule(session, PEOPLE)
        wanted = select(Trashed).where(Trashed.record_id == id, Trashed.record == PEOPLE.name)
        if peers is not None:
            wanted = wanted.where(Trashed.owner_id.in_(peers))
        found = session.scalar(wanted.with_for_update())
        if found is None:
            raise merges.missing(session, PEOPLE, id) from None
        return found.held | {"version": found.version}


def _traces(session: Session, ids: Sequence[UUID], subject: Mapping[str, Any]) -> Traces:
    """What the person is, and was, called and reached by, without what others share."""
    known = [subject, *_earlier(session, ids)]
    known += session.scalars(select(Merge.held).where(Merge.from_id.in_(ids)))
    emails = {each["address"].lower() for row in known for each in row.get("emails") or ()}
    phones = {each["number"] for row in known for each in row.get("phones") or ()}
    names = {
        (row["first_name"], row["last_name"])
        for row in known
        if row.get("first_name") and row.get("last_name")
    }
    taken = _taken(session, ids, emails, phones, names)
    texts = _own_fields(session, ids, known)
    return Traces(
        emails=sorted(emails - taken),
        phones=sorted(each for each in phones if digits(each) not in taken),
        names=sorted(each for each in names if fold(" ".join(each)) not in taken),
        texts=sorted(texts),
    )


_ELSEWHERE = select(Person.id).where(
    Person.custom.contains(bindparam("said", type_=JSONB)),
    Person.id.not_in(bindparam("ids", expanding=True)),
)


def _own_fields(
    session: Session, ids: Sequence[UUID], known: Sequence[Mapping[str, Any]]
) -> set[str]:
    """What the tenant's personal fields say of the person, and of nobody else."""
    plain = {each.name for each in custom.fields(session, PEOPLE.name) if not each.personal}
    said = {
        (name, value)
        for row in known
        for name, value in (row.get("custom") or {}).items()
        if name not in plain and telling(value)
    }
    return {
        value
        for name, value in said
        if session.scalar(_ELSEWHERE.limit(1), {"said": {name: value}, "ids": list(ids)}) is None
    }


def _earlier(session: Session, ids: Sequence[UUID]) -> Iterator[dict[str, Any]]:
    """What history tells of how they were: each change as two rows of what was changed."""
    changes = session.scalars(
        select(History.changes).where(History.record_id.in_(ids), History.record == PEOPLE.name)
    ).all()
    for change in changes:
        for side in (0, 1):
            yield {name: both[side] for name, both in change.items()}


_TAKEN = text("""
SELECT unnest(keys) FROM people_found WHERE keys && CAST(:keys AS text[]) AND id <> ALL(:ids)
UNION
SELECT unnest(keys) FROM companies_found WHERE keys && CAST(:keys AS text[])
""")


def _taken(
    session: Session,
    ids: Sequence[UUID],
    emails: set[str],
    phones: set[str],
    names: set[tuple[str, str]],
) -> set[str]:
    """Those of these that others have as well: they would be blanked with them."""
    keys = [*emails, *map(digits, phones), *(fold(" ".join(each)) for each in names)]
    return set(session.scalars(_TAKEN, {"keys": keys, "ids": list(ids)}))


def _sealed(session: Session, keys: Keyring, traces: Traces) -> dict[str, str]:
    """The traces as only each module can read them: no broker and no table has them in clear."""
    written = traces.model_dump_json().encode()
    modules = {OWN, *_holding(session)}
    return {module: seal(keys, module, TRACES, written).decode() for module in sorted(modules)}


# --- files ----------------------------------------------------------------------------------------


def _write_file(session: Session, keys: Keyring, row: PrivacyRequest) -> None:
    """Put together what the modules have told, without ever having more than a part in hand."""
    assert row.file_id is not None
    waiting, number = b"", 0
    for piece in _pieces(session, keys, row):
        waiting += piece
        while len(waiting) >= files.PART_BYTES:
            files.put(session, row.file_id, number, waiting[: files.PART_BYTES])
            waiting, number = waiting[files.PART_BYTES :], number + 1
    files.put(session, row.file_id, number, waiting)
    files.claim(session, row.file_id)
    session.execute(delete(HeldPart).where(HeldPart.request_id == row.id))


def _pieces(session: Session, keys: Keyring, row: PrivacyRequest) -> Iterator[bytes]:
    head = {"person": str(row.subject_id), "asked_at": _time(row.created_at)}
    yield json.dumps(head).encode()[:-1] + b', "modules": {'
    rows = session.execute(
        select(HeldPart.module, HeldPart.part)
        .where(HeldPart.request_id == row.id)
        .order_by(HeldPart.module, HeldPart.part)
    ).all()
    before = None
    for module, part in rows:
        if module != before:
            yield (b"" if before is None else b", ") + json.dumps(module).encode() + b": "
        before = module
        sealed = session.get_one(HeldPart, (row.id, module, part)).sealed
        yield unseal(keys, HELD, sealed.encode())
    yield b"}}\n"


def drop_file(session: Session, request: UUID) -> None:
    """Delete the file of a question of access."""
    row = session.get(PrivacyRequest, request)
    if row is not None and row.file_id is not None:
        files.discard(session, row.file_id)
        row.file_id = None


def _drop_files(session: Session, ids: Sequence[UUID]) -> None:
    """What was put together of a person goes with them."""
    wanted = select(PrivacyRequest.id).where(
        PrivacyRequest.subject_id.in_(ids), PrivacyRequest.kind == "access"
    )
    for request in session.scalars(wanted).all():
        drop_file(session, request)
        session.execute(delete(HeldPart).where(HeldPart.request_id == request))


# --- reading --------------------------------------------------------------------------------------


def read(session: Session, id: UUID) -> tuple[bytes, int]:
    """A request, for who asked it and for who may see all."""
    session.flush()
    principal = context(session).principal
    if principal is not None and not principal.may(MAY_SEE):
        asked_by = select(PrivacyRequest.created_by).where(PrivacyRequest.id == id)
        if session.scalar(asked_by) != principal.user:
            raise NotFound("There is no such request")
    found = listing.read(session, REQUESTS, id)
    if found is None:
        raise NotFound("There is no such request")
    return found[0].encode(), found[1]


def file(session: Session, id: UUID) -> Download:
    """What is held of a person, for nobody but who has asked."""
    row = session.get(PrivacyRequest, id)
    if row is None or row.file_id is None or row.created_by != context(session).user:
        raise NotFound("There is no such file, or it is not yours")
    parts = files.parts(session, row.file_id)
    name = f"held-{row.subject_id}.json"
    return Download(name, "application/json", stored=row.file_id, parts=parts)
