"""The operations that every service has: files, jobs, custom fields, history, trash, events."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar
from uuid import UUID

from pydantic import Field
from sqlalchemy import ColumnElement, and_, or_, select, true
from sqlalchemy.orm import Session

from liaison_kit import jobs, listing, records, tenants
from liaison_kit.calls.operations import delete, get, internal, patch, post
from liaison_kit.calls.wire import Accepted, Call, Raw, Reply, Version
from liaison_kit.context import Principal, context
from liaison_kit.events import handles, parking, resend
from liaison_kit.events.parking import ParkedEvent
from liaison_kit.events.resend import Told
from liaison_kit.jobs import Job, JobRow, Run, job
from liaison_kit.listing.asked import Page
from liaison_kit.listing.searching import Groups, SearchAsked, search
from liaison_kit.records import custom, files, trash
from liaison_kit.records.custom import CustomFieldChanges, CustomFieldShape, NewCustomField
from liaison_kit.records.history import Change
from liaison_kit.records.recordtype import RecordType
from liaison_kit.records.trash import InTrash
from liaison_kit.timers import standing
from liaison_kit.timers.setting import at
from liaison_kit.timers.timer import Timer, TimerHandler, on_timer
from liaison_sdk.contracts.identity import TenantSaved
from liaison_sdk.errors import BadRequest, InvalidInput, NotFound
from liaison_sdk.types import Closed

if TYPE_CHECKING:
    from liaison_kit.database.database import Database
    from liaison_kit.imports.fields import Importable


OPERATE = "operations:manage"
Limit = Annotated[int, Field(ge=1, le=200)]


SWEPT_AGAIN = dt.timedelta(seconds=0.2)
"""How long a service rests between two pieces of a sweep."""


class FieldRemoved(Timer):
    """There are records left that hold a value of a field that was taken away."""

    kind = "field_removed"

    record: str
    field_id: UUID


class OneRecord(Closed):
    """A record, by its kind and id."""

    record: str
    id: UUID


class CommonOperations:
    """What every service answers beside its own operations."""

    name: ClassVar[str]
    records: ClassVar[Sequence[RecordType]]
    importables: ClassVar[Sequence["Importable"]]
    tells: ClassVar[Sequence[Told]]
    timer_handlers: ClassVar[Mapping[str, TimerHandler]]
    db: ClassVar["Database"]

    @classmethod
    def record(cls, name: str) -> RecordType:
        """One of this service's kinds of record, by name."""
        for kind in cls.records:
            if kind.name == name:
                return kind
        raise InvalidInput.field("record", "unknown", f"{cls.name} has no records {name[:80]!r}")

    # --- files -----------------------------------------------------------------------------------

    @internal()
    def put_part(self, session: Session, call: Call) -> None:
        """Store one part of a file that is being uploaded."""
        about = call.meta["upload"]
        if len(call.body) > files.PART_BYTES:
            raise BadRequest("This part is too large")
        files.receive(session, UUID(about["id"]), int(about["part"]), call.body)

    @internal()
    def drop_parts(self, session: Session, call: Call) -> None:
        """Give up what is stored of an upload that was refused or broke off."""
        files.drop(session, UUID(call.meta["upload"]["id"]))

    @internal()
    def get_part(self, session: Session, call: Call) -> Reply:
        """One part of a file that is being handed out."""
        about = call.meta["upload"]
        body = files.get(session, UUID(about["id"]), int(about["part"]))
        return Reply(200, body, content_type="application/octet-stream")

    # --- jobs ------------------------------------------------------------------------------------

    @get("/jobs", allow="jobs:read", shared="merge")
    def list_jobs(
        self, session: Session, limit: Limit = 50, cursor: UUID | None = None
    ) -> Page[Job]:
        """Long work, latest first: one's own, that of whose imports one sees, else all."""
        wanted = select(JobRow).where(self._shown_jobs(session))
        wanted = wanted.order_by(JobRow.id.desc()).limit(limit + 1)
        if cursor is not None:
            wanted = wanted.where(JobRow.id < cursor)
        rows = list(session.scalars(wanted))
        after = str(rows[limit - 1].id) if len(rows) > limit else None
        return Page[Job](items=[jobs.shape(row) for row in rows[:limit]], next=after)

    @get("/jobs/{id}", allow="jobs:read", shared="id", problems=[404])
    def get_job(self, session: Session, id: UUID) -> Job:
        """How far a job has come."""
        return jobs.shape(self._job(session, id))

    @post("/jobs/{id}/cancel", allow="jobs:write", shared="id", status=200, problems=[404, 409])
    def cancel_job(self, session: Session, id: UUID) -> Job:
        """Ask a job to stop after its present step: one's own, or with `operations:manage` any."""
        row = self._job(session, id)
        principal = context(session).principal
        if principal is not None and row.created_by != principal.user:
            principal.demand(OPERATE)
        return jobs.cancel(session, id)

    def _job(self, session: Session, id: UUID) -> JobRow:
        row = session.scalar(select(JobRow).where(JobRow.id == id, self._shown_jobs(session)))
        if row is None:
            raise NotFound("There is no such job")
        return row

    def _shown_jobs(self, session: Session) -> ColumnElement[bool]:
        """Which jobs the caller may know of.

        A job about records of a kind, as an import is, is shown like such a record that belongs to
        who started it; any other to who started it, and all to who operates the installation.
        """
        principal = context(session).principal
        if principal is None or principal.may(OPERATE):
            return true()
        about = JobRow.arguments["record"].astext
        shown = [JobRow.created_by == principal.user]
        for found in self.importables:
            if found.readable(principal):
                peers = found.peers(session)
                theirs = true() if peers is None else JobRow.created_by.in_(peers)
                shown.append(and_(about == found.record, theirs))
        return or_(*shown)

    # --- what gateways ask -----------------------------------------------------------------------

    @internal(reads=True)
    def search_records(self, session: Session, principal: Principal, asked: SearchAsked) -> Groups:
        """What somebody means by a few words, of those of these kinds that they may read."""
        kinds = [
            kind
            for kind in self.records
            if kind.name in asked.records
            and kind.search is not None
            and principal.may(kind.permission)
        ]
        return search(session, kinds, asked)

    @internal(reads=True)
    def may_read(self, session: Session, principal: Principal, asked: OneRecord) -> None:
        """Whether somebody may read a record: the answer is nothing, or that there is none."""
        kind = self.record(asked.record)
        principal.demand(kind.permission)
        if listing.read(session, kind, asked.id) is None:
            raise NotFound(f"There is no such record in {kind.name}")

    # --- custom fields ---------------------------------------------------------------------------

    @get("/custom-fields", allow="custom_fields:read", shared="record")
    def list_custom_fields(self, session: Session, record: str) -> Page[CustomFieldShape]:
        """The fields that this tenant has added to a kind of record."""
        rows = custom.fields(session, self.record(record).name)
        return Page[CustomFieldShape](items=[custom.shape(row) for row in rows], next=None)

    @post("/custom-fields", allow="custom_fields:write", shared="record", problems=[409])
    def create_custom_field(
        self, session: Session, record: str, new: NewCustomField
    ) -> CustomFieldShape:
        """Add a field to a kind of record; records hold it under `custom`."""
        return custom.define(session, self.record(record).name, new)

    @patch("/custom-fields/{id}", allow="custom_fields:write", shared="id", problems=[404, 409])
    def change_custom_field(
        self, session: Session, id: UUID, changes: CustomFieldChanges, version: Version
    ) -> CustomFieldShape:
        """Change what is sent of an added field: its label, its choices, whether it is required.

        Its name and its kind stay. A choice that records have can't go; it can be called otherwise.
        """
        kind = self.record(custom.record_of(session, id))
        return custom.change(session, kind, id, version, changes)

    @delete("/custom-fields/{id}", allow="custom_fields:write", shared="id", problems=[404, 409])
    def delete_custom_field(self, session: Session, id: UUID) -> None:
        """Take an added field away, with what records have in it.

        Nobody sees the values any more; of many records they are taken out in the minutes after.
        """
        kind = self.record(custom.record_of(session, id))
        if not custom.remove(session, kind, id):
            self._sweep_on(session, FieldRemoved(record=kind.name, field_id=id))

    @on_timer(FieldRemoved)
    def on_field_removed(self, session: Session, timer: FieldRemoved) -> None:
        """Take the values of a removed field out of some more records."""
        if not custom.sweep(session, self.record(timer.record), timer.field_id):
            self._sweep_on(session, timer)

    def _sweep_on(self, session: Session, timer: FieldRemoved) -> None:
        at(session, dt.datetime.now(dt.UTC) + SWEPT_AGAIN, timer, key=str(timer.field_id))

    @get("/custom-fields/{id}/history", allow="history:read", shared="id", problems=[404])
    def list_custom_field_history(self, session: Session, id: UUID) -> Raw[Page[Change]]:
        """What was changed in an added field: who, when, before and after; latest first."""
        found = records.history_of(session, "custom_fields", id)
        if found is None:
            raise NotFound("There is no such custom field")
        return Raw(found)

    # --- history ---------------------------------------------------------------------------------

    @get("/history", allow="history:read", shared="record", problems=[404])
    def list_history(
        self, session: Session, principal: Principal, record: str, id: UUID
    ) -> Raw[Page[Change]]:
        """What was changed in a record: who, when, before and after; latest first."""
        kind = self.record(record)
        principal.demand(kind.permission)
        if listing.read(session, kind, id) is None and not trash.is_in_trash(session, kind, id):
            raise NotFound(f"There is no such record in {kind.name}")
        return Raw(records.history(session, kind, id))

    # --- trash -----------------------------------------------------------------------------------

    @get("/trash", allow="history:read", shared="record")
    def list_trash(
        self,
        session: Session,
        principal: Principal,
        record: str,
        limit: Limit = 50,
        cursor: UUID | None = None,
    ) -> Page[InTrash]:
        """What was deleted of a kind of record and can be restored still, latest first."""
        kind = self.record(record)
        principal.demand(kind.permission)
        items, after = trash.trash(session, kind, limit, cursor)
        return Page[InTrash](items=items, next=None if after is None else str(after))

    # --- parked events ---------------------------------------------------------------------------

    @get("/parked-events", allow=OPERATE, shared="merge")
    def list_parked_events(
        self,
        session: Session,
        principal: Principal,
        handler: str | None = None,
        state: parking.State = "parked",
        limit: Limit = 50,
        cursor: UUID | None = None,
    ) -> Page[ParkedEvent]:
        """Events that a handler has given up on, latest first; or is retrying, or lets wait.

        A handler is called as its service and itself: `contacts.on_deal_won`.
        """
        service, dot, name = (handler or f"{self.name}.").rpartition(".")
        if not dot:
            said = "Name the handler with its service, as in contacts.on_deal_won"
            raise InvalidInput.field("handler", "which_service", said)
        if service != self.name:
            return Page[ParkedEvent](items=[], next=None)
        found = parking.parked(
            session,
            principal.tenant,
            state=state,
            handler=name or None,
            before=cursor,
            limit=limit + 1,
        )
        after = str(found[limit - 1].id) if len(found) > limit else None
        items = [self._named(event) for event in found[:limit]]
        return Page[ParkedEvent](items=items, next=after)

    @post(
        "/parked-events/{id}/replay",
        allow=OPERATE,
        shared="id",
        status=200,
        problems=[404],
    )
    def replay_parked_event(self, session: Session, principal: Principal, id: UUID) -> ParkedEvent:
        """Put an event through its handler again."""
        return self._named(parking.replay(session, principal.tenant, id))

    @post(
        "/parked-events/{id}/discard",
        allow=OPERATE,
        shared="id",
        status=200,
        problems=[404],
    )
    def discard_parked_event(self, session: Session, principal: Principal, id: UUID) -> ParkedEvent:
        """Give an event up for good."""
        return self._named(parking.discard(session, principal.tenant, id))

    def _named(self, event: ParkedEvent) -> ParkedEvent:
        """As operators know it: handlers of several services may have one name."""
        return event.model_copy(update={"handler": f"{self.name}.{event.handler}"})

    # --- the tenant ------------------------------------------------------------------------------

    @handles(TenantSaved)
    def on_tenant_saved(self, session: Session, event: TenantSaved) -> None:
        """Keep where the tenant is; what it has by a schedule follows its clock."""
        if tenants.keep(session, event):
            standing.follow_the_clock(session)
            standing.arrange(session, self.timer_handlers.values())

    # --- telling again ---------------------------------------------------------------------------

    @post("/modules/{module}/resend", allow=OPERATE, shared="id", problems=[404])
    def resend(self, session: Session, module: str) -> Accepted:
        """Have a module tell the others again what they keep of its records.

        For a module that was installed later, or whose database was restored from a backup: what it
        has not heard, it hears from the modules that hold it.
        """
        if module != self.name:
            raise NotFound("There is no such module")
        return Accepted(jobs.start(session, "resend", f"Resend {self.name}"))

    @job("resend")
    def resend_job(self, run: Run) -> None:
        """The work behind telling again."""
        resend.tell_again(run, self.tells)
