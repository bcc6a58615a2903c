"""The work of bulk changes: a batch per transaction, each record in a savepoint, by its own rules.

What a record's rules refuse is kept beside it, and the others go on. The checkpoint is saved with
the batch, so that no record is changed twice by a job that is taken up again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from liaison_kit import chosen, listing, records
from liaison_kit.bulk.models import BulkChange
from liaison_kit.calls.outside import Known, doing, knows
from liaison_kit.context import context
from liaison_kit.database import bad_values
from liaison_kit.events.resend import Told
from liaison_kit.jobs.work import Cancelled, Run
from liaison_kit.records import custom, files
from liaison_kit.resources.declaration import Resource
from liaison_sdk.errors import Conflict, InvalidInput, LiaisonError, NotFound

TOGETHER = 100
"""How many records are changed, and locked, in one transaction."""

_STAMPS = frozenset({"id", "version", "updated_at", "updated_by"})
Act = Mapping[str, Any]
"""What is done, as it was sent: `change`, `add_tags`, `remove_tags`, `owner_id` or `delete`."""


class ChangedSince(Conflict):
    """Somebody has changed the record after the bulk change."""

    code, title = "changed_since", "The record has been changed since"


class NotRestorable(Conflict):
    """Records of this kind don't go to the trash."""

    code, title = "not_restorable", "What is deleted of this kind can't be restored"


class PutBackPartly(Conflict):
    """Something that followed from the change does not follow from taking it back."""

    code, title = "put_back_partly", "Some of the record could not be put back"


def change_all(run: Run, ask: Any, resource: Resource) -> None:
    """Do to each of the records what was asked for."""
    act, picked = run.arguments["act"], UUID(run.arguments["picked"])

    def some(session: Session) -> int:
        _demand(session, resource)
        number, start = divmod(run.done, chosen.BATCH)
        ids = chosen.batch(session, picked, number)[start : start + TOGETHER]
        before = listing.some(session, resource.kind, ids)
        for id in ids:
            session.add(_changed(session, run.id, resource, id, before.get(id), act))
        return len(ids)

    try:
        while run.done < (run.total or 0):
            _step(run, ask, some)
    except (Cancelled, LiaisonError):
        with suppress(Cancelled), run.step() as session:
            files.discard(session, picked)
        raise
    with run.step() as session:
        files.discard(session, picked)


def undo_all(run: Run, ask: Any, resource: Resource, told: Told | None) -> None:
    """Put back what a bulk change has done, where nobody has changed the record since."""
    act = run.arguments["act"]

    def some(session: Session) -> int:
        _demand(session, resource)
        last = run.checkpoint.get("last")
        wanted = select(BulkChange).where(
            BulkChange.job_id == run.about_id, BulkChange.code.is_(None), ~BulkChange.undone
        )
        if last is not None:
            wanted = wanted.where(BulkChange.record_id > UUID(last))
        ordered = wanted.order_by(BulkChange.record_id).limit(TOGETHER)
        rows = session.scalars(ordered.with_for_update()).all()
        now = listing.some(session, resource.kind, [row.record_id for row in rows])
        for row in rows:
            _undone(session, resource, row, now.get(row.record_id), act, told)
        run.checkpoint["last"] = str(rows[-1].record_id) if rows else last
        return len(rows)

    while _step(run, ask, some):
        pass


def _step(run: Run, ask: Any, some: Callable[[Session], int]) -> int:
    """One transaction of the work, begun again with the answer where it has to ask others."""

    def once(known: Known) -> int:
        with run.step() as session:
            knows(session, known)
            done = some(session)
            run.done += done
        return done

    return doing(ask, run.context, once)


def _demand(session: Session, resource: Resource) -> None:
    """Who started it may have lost the right meanwhile."""
    principal = context(session).principal
    if principal is not None:
        principal.demand(f"{resource.kind.name}:write")


# --- doing ----------------------------------------------------------------------------------------


def _changed(
    session: Session, job: UUID, resource: Resource, id: UUID, found: str | None, act: Act
) -> BulkChange:
    row = BulkChange(
        tenant_id=context(session).tenant,
        job_id=job,
        record_id=id,
        at=context(session).now,
        code=None,
        message=None,
        version=None,
        before={},
        undone=False,
        undo_code=None,
        undo_message=None,
    )

    def do() -> None:
        if found is None:
            raise NotFound(f"There is no such record in {resource.kind.name}")
        before = json.loads(found)
        row.version = before["version"]
        if act.get("delete"):
            resource.rules.remove(session, id, _version(session, resource, id, before["version"]))
            return
        wanted = resource.changes.model_validate_json(json.dumps(_wanted(act, before)), strict=True)
        done = resource.rules.change(session, id, before["version"], wanted)
        body, row.version = records.answer(session, resource.kind, done)
        row.before = _difference(resource, before, json.loads(body))

    error = _refusal(session, do)
    if error is not None:
        row.code, row.message = error.code, error.detail or error.title
    return row


def _version(session: Session, resource: Resource, id: UUID, found: int) -> int:
    """Of a record to be deleted: it may have let go of one that was deleted before it."""
    kind = resource.kind
    if not any(each.kind is kind and each.deleted == "unlink" for each in kind.referrers):
        return found
    now: int | None = session.scalar(select(kind.table.c.version).where(kind.table.c.id == id))
    return found if now is None else now


def _wanted(act: Act, before: Mapping[str, Any]) -> dict[str, Any]:
    """The change of this record that the act comes to."""
    if "change" in act:
        return dict(act["change"])
    if "owner_id" in act:
        return {"owner_id": act["owner_id"]}
    kept = [tag for tag in before["tags"] if tag not in act.get("remove_tags", ())]
    return {"tags": list(dict.fromkeys([*kept, *act.get("add_tags", ())]))}


def _difference(
    resource: Resource, before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any]:
    """What was changed, as it was before; of the tenant's own fields those that were changed."""
    plain = _STAMPS | resource.kind.derived
    found = {n: v for n, v in before.items() if n not in plain and after[n] != v}
    if "custom" in found:
        names = before["custom"].keys() | after["custom"].keys()
        pairs = {n: (before["custom"].get(n), after["custom"].get(n)) for n in names}
        found["custom"] = {n: was for n, (was, is_now) in pairs.items() if was != is_now}
    return found


def _refusal(session: Session, do: Callable[[], None]) -> LiaisonError | None:
    """Do it in a savepoint; what is refused leaves nothing behind but the error that says why."""
    try:
        with session.begin_nested():
            do()
            session.flush()
    except LiaisonError as error:
        return error
    except IntegrityError:
        return Conflict("The database refuses it beside what is there")
    except ValidationError as error:
        return InvalidInput(error.errors(include_input=False, include_url=False)[0]["msg"])
    except (DataError, ValueError) as error:
        refused = bad_values.named(error)
        if refused is None:
            raise
        return refused
    return None


# --- undoing --------------------------------------------------------------------------------------


def _undone(
    session: Session,
    resource: Resource,
    row: BulkChange,
    found: str | None,
    act: Act,
    told: Told | None,
) -> None:
    if act.get("delete"):
        error = _refusal(session, lambda: _restore(session, resource, row.record_id, told))
    elif not row.before:
        error = None
    elif found is None:
        error = NotFound("There is no such record any more")
    elif json.loads(found)["version"] != row.version:
        error = ChangedSince("Somebody has changed the record since")
    else:
        error = _put_back(session, resource, row, act)
    row.undone = error is None or isinstance(error, PutBackPartly)
    row.undo_code = None if error is None else error.code
    row.undo_message = None if error is None else error.detail or error.title


def _restore(session: Session, resource: Resource, id: UUID, told: Told | None) -> None:
    if not resource.kind.restorable:
        raise NotRestorable
    resource.bring_back(session, id, told)


def _put_back(
    session: Session, resource: Resource, row: BulkChange, act: Act
) -> LiaisonError | None:
    """Change the record back: all that was changed, else what had been sent to change it."""
    sent = act.get("change", {"owner_id": None} if "owner_id" in act else {"tags": None})
    left: list[str] = []
    error: LiaisonError | None = None
    for names in (_together(resource, row.before, list(sent)), list(sent)):
        values = {name: row.before[name] for name in names if name in row.before}
        if "custom" in values:
            kind = resource.kind.name
            values["custom"] = custom.still_held(session, kind, row.job_id, values["custom"])

        def change(values: dict[str, Any] = values) -> None:
            version = row.version
            assert version is not None
            wanted = resource.changes.model_validate_json(json.dumps(values), strict=True)
            done = resource.rules.change(session, row.record_id, version, wanted)
            body, _ = records.answer(session, resource.kind, done)
            left[:] = _left(row.before, json.loads(body))

        error = _refusal(session, change)
        if error is None:
            return PutBackPartly(f"Not put back: {', '.join(left)}") if left else None
    return error


def _together(resource: Resource, before: Mapping[str, Any], sent: Sequence[str]) -> Sequence[str]:
    """What was sent, and what else was changed by it that may be sent beside it."""
    names = list(sent)
    for name in before:
        if name not in names and name in resource.changes.model_fields:
            values = {n: before[n] for n in (*names, name) if n in before}
            try:
                resource.changes.model_validate_json(json.dumps(values), strict=True)
            except ValidationError:
                continue
            names.append(name)
    return names


def _left(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is still not as it was."""
    left = [name for name, was in before.items() if name != "custom" and now[name] != was]
    own = before.get("custom", {})
    return left + [f"custom.{name}" for name, was in own.items() if now["custom"].get(name) != was]
