"""The operations that every service has: files, jobs, custom fields, history, events."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar
from uuid import UUID

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from liaison_kit import jobs, records
from liaison_kit.calls.operations import delete, get, internal, post
from liaison_kit.calls.wire import Accepted, Call, Raw, Reply
from liaison_kit.context import Principal
from liaison_kit.events import parking, resend
from liaison_kit.events.parking import ParkedEvent
from liaison_kit.events.resend import Told
from liaison_kit.jobs import Job, JobRow, Run, job
from liaison_kit.listing.asked import Page
from liaison_kit.records import custom, files
from liaison_kit.records.custom import CustomFieldShape, NewCustomField
from liaison_kit.records.history import Change
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.errors import BadRequest, InvalidInput, NotFound

if TYPE_CHECKING:
    from liaison_kit.database.database import Database


Limit = Annotated[int, Field(ge=1, le=200)]


class CommonOperations:
    """What every service answers beside its own operations."""

    name: ClassVar[str]
    records: ClassVar[Sequence[RecordType]]
    tells: ClassVar[Sequence[Told]]
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
        """Long work of this tenant, latest first."""
        wanted = select(JobRow).order_by(JobRow.id.desc()).limit(limit + 1)
        if cursor is not None:
            wanted = wanted.where(JobRow.id < cursor)
        rows = list(session.scalars(wanted))
        after = str(rows[limit - 1].id) if len(rows) > limit else None
        return Page[Job](items=[jobs.shape(row) for row in rows[:limit]], next=after)

    @get("/jobs/{id}", allow="jobs:read", shared="id", problems=[404])
    def get_job(self, session: Session, id: UUID) -> Job:
        """How far a job has come."""
        return jobs.shape(jobs.find(session, id))

    @post("/jobs/{id}/cancel", allow="jobs:write", shared="id", status=200, problems=[404, 409])
    def cancel_job(self, session: Session, id: UUID) -> Job:
        """Ask a job to stop after its present step."""
        return jobs.cancel(session, id)

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

    @delete("/custom-fields/{id}", allow="custom_fields:write", shared="id", problems=[404])
    def delete_custom_field(self, session: Session, id: UUID) -> None:
        """Take an added field away."""
        custom.remove(session, id)

    # --- history ---------------------------------------------------------------------------------

    @get("/history", allow="history:read", shared="record", problems=[404])
    def list_history(
        self, session: Session, principal: Principal, record: str, id: UUID
    ) -> Raw[Page[Change]]:
        """What was changed in a record: who, when, before and after; latest first."""
        kind = self.record(record)
        principal.demand(f"{kind.name}:read")
        return Raw(records.history(session, kind, id))

    # --- parked events ---------------------------------------------------------------------------

    @get("/parked-events", allow="operations:manage", shared="merge")
    def list_parked_events(
        self,
        session: Session,
        principal: Principal,
        handler: str | None = None,
        limit: Limit = 50,
        cursor: UUID | None = None,
    ) -> Page[ParkedEvent]:
        """Events that a handler has given up on, latest first."""
        found = parking.parked(
            session, principal.tenant, handler=handler, before=cursor, limit=limit + 1
        )
        after = str(found[limit - 1].id) if len(found) > limit else None
        return Page[ParkedEvent](items=found[:limit], next=after)

    @post(
        "/parked-events/{id}/replay",
        allow="operations:manage",
        shared="id",
        status=200,
        problems=[404],
    )
    def replay_parked_event(self, session: Session, principal: Principal, id: UUID) -> ParkedEvent:
        """Put an event through its handler again."""
        return parking.replay(session, principal.tenant, id)

    @post(
        "/parked-events/{id}/discard",
        allow="operations:manage",
        shared="id",
        status=200,
        problems=[404],
    )
    def discard_parked_event(self, session: Session, principal: Principal, id: UUID) -> ParkedEvent:
        """Give an event up for good."""
        return parking.discard(session, principal.tenant, id)

    # --- telling again ---------------------------------------------------------------------------

    @post("/modules/{module}/resend", allow="operations:manage", shared="id", problems=[404])
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
