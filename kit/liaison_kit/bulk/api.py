"""The operations of bulk changes: each kind of record has one that starts them; what became of one,
and taking it back, are for all kinds."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, Field, create_model
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from liaison_kit import chosen, jobs
from liaison_kit.bulk import working
from liaison_kit.bulk.models import BulkChange
from liaison_kit.calls.operations import get, post
from liaison_kit.calls.wire import Accepted
from liaison_kit.chosen import Chosen
from liaison_kit.context import Principal
from liaison_kit.events.resend import Told
from liaison_kit.ids import uuid7
from liaison_kit.jobs.work import JobRow, Run, job
from liaison_kit.listing.asked import ListQuery
from liaison_kit.resources.declaration import Resource
from liaison_sdk.errors import Conflict, InvalidInput, NotFound
from liaison_sdk.types import Name

MOST = 10_000
"""How many records one bulk change may be of."""

_ACTS = ("change", "add_tags", "remove_tags", "owner_id", "delete")
_ENDED = ("done", "failed", "cancelled")
_Tags = Annotated[list[Name], Field(min_length=1, max_length=50)]
_Limit = Annotated[int, Field(ge=1, le=200)]


class NewBulk(Chosen):
    """What is to be done to which records: at most 10,000, by their ids or as a list finds them."""

    ids: Annotated[list[UUID], Field(min_length=1, max_length=MOST)] | None = None
    delete: Literal[True] | None = None

    def act(self) -> dict[str, Any]:
        """What is to be done: one thing, or tags to add and to remove."""
        sent = self.model_dump(mode="json", exclude_unset=True)
        act = {name: sent[name] for name in _ACTS if name in sent}
        # An owner may be none; nothing else may.
        empty = [name for name, value in act.items() if name != "owner_id" and not value]
        if empty:
            raise InvalidInput.field(empty[0], "missing", f"{empty[0]} says nothing to do")
        if not act or (len(act) > 1 and act.keys() != {"add_tags", "remove_tags"}):
            told = "Say one thing to do: change, owner_id, delete, or tags to add and to remove"
            raise InvalidInput.field("change", "one_act", told)
        return act

    def which(self) -> list[UUID] | ListQuery[Any]:
        """The records: those of the ids, in their order, or those of a list."""
        listed = bool({"filters", "q", "where"} & self.model_fields_set)
        if (self.ids is not None) == listed:
            told = "Say which: by ids, or by filters, q and where as the list takes them"
            raise InvalidInput.field("ids", "one_choice", told)
        if self.ids is not None:
            return sorted(set(self.ids))
        return ListQuery([*self.query().pairs, ("sort", "id")])


def body_of(resource: Resource) -> type[NewBulk]:
    """What may be asked of a kind of record: by what its changes take."""
    known = resource.changes.model_fields
    more: dict[str, Any] = {"change": (resource.changes | None, None)}
    if "tags" in known:
        more |= {"add_tags": (_Tags | None, None), "remove_tags": (_Tags | None, None)}
    if "owner_id" in known:
        more["owner_id"] = (UUID | None, None)
    made: type[NewBulk] = create_model(
        f"{resource.kind.shape.__name__}Bulk", __base__=NewBulk, __doc__=NewBulk.__doc__, **more
    )
    return made


def start(
    session: Session,
    resource: Resource,
    new: NewBulk,
) -> UUID:
    """Settle which records it is of, and have it done to them."""
    act, which = new.act(), new.which()
    picked = uuid7()
    if isinstance(which, list):
        total = len(which)
        chosen.keep(session, picked, which)
    else:
        query = resource.asked(session, which)
        total = chosen.pick(session, resource.kind, query, picked, MOST + 1)
        if total > MOST:
            told = f"These are more than {MOST} records; narrow them by filters"
            raise InvalidInput.field("filters", "too_many", told)
    id = jobs.start(
        session,
        "bulk",
        f"{resource.kind.name}: {', '.join(act)}",
        bulk=resource.kind.name,
        act=act,
        picked=str(picked),
    )
    jobs.find(session, id).total = total
    session.flush()
    return id


class BulkItem(BaseModel):
    """A record that was skipped, or that could not be put back: which, and why."""

    id: UUID
    code: str | None
    message: str | None
    undo_code: str | None
    undo_message: str | None


class BulkShape(BaseModel):
    """What became of a bulk change: of how many records, and of each that was refused something."""

    job: UUID
    record: str
    total: int
    changed: int
    skipped: int
    undone: int
    kept: int = Field(description="Could not be put back, or not all of it.")
    items: list[BulkItem]
    next: str | None


class BulkOperations:
    """What a service with resources answers about its bulk changes."""

    resources: ClassVar[Sequence[Resource]]
    tells: ClassVar[Sequence[Told]]
    ask: Any

    @get("/bulk/{id}", allow="jobs:read", shared="id", problems=[404])
    def get_bulk(
        self,
        session: Session,
        id: UUID,
        principal: Principal,
        limit: _Limit = 50,
        cursor: UUID | None = None,
    ) -> BulkShape:
        """What became of a bulk change, with the records that were skipped or not put back.

        For who started it, and who operates the installation.
        """
        row = _find(session, principal, id)
        of = BulkChange.job_id == id
        counted = select(
            func.count().filter(BulkChange.code.is_(None)),
            func.count().filter(BulkChange.code.is_not(None)),
            func.count().filter(BulkChange.undone),
            func.count().filter(BulkChange.undo_code.is_not(None)),
        )
        changed, skipped, undone, kept = session.execute(counted.where(of)).one()
        told = or_(BulkChange.code.is_not(None), BulkChange.undo_code.is_not(None))
        wanted = select(BulkChange).where(of, told).order_by(BulkChange.record_id).limit(limit + 1)
        if cursor is not None:
            wanted = wanted.where(BulkChange.record_id > cursor)
        rows = list(session.scalars(wanted))
        shown = rows[:limit]
        return BulkShape(
            job=id,
            record=row.arguments["bulk"],
            total=row.total or 0,
            changed=changed,
            skipped=skipped,
            undone=undone,
            kept=kept,
            items=[
                BulkItem(
                    id=one.record_id,
                    code=one.code,
                    message=one.message,
                    undo_code=one.undo_code,
                    undo_message=one.undo_message,
                )
                for one in shown
            ],
            next=str(shown[-1].record_id) if len(rows) > limit else None,
        )

    @post("/bulk/{id}/undo", allow="jobs:write", shared="id", problems=[404, 409])
    def undo_bulk(self, session: Session, id: UUID, principal: Principal) -> Accepted:
        """Take a bulk change back: what nobody has changed since becomes as it was.

        What was deleted is restored from the trash. The rest is told where the bulk change is.
        """
        row = _find(session, principal, id)
        principal.demand(f"{row.arguments['bulk']}:write")
        if row.status not in _ENDED:
            raise Conflict(f"The job is {row.status}; cancel it first")
        title = f"Undo {row.title}"
        return Accepted(
            jobs.start(
                session,
                "bulk_undo",
                title,
                about_id=id,
                bulk=row.arguments["bulk"],
                act=row.arguments["act"],
            )
        )

    @job("bulk")
    def bulk_job(self, run: Run) -> None:
        """The work behind a bulk change."""
        working.change_all(run, self.ask, self._resource(run))

    @job("bulk_undo")
    def bulk_undo_job(self, run: Run) -> None:
        """The work behind taking a bulk change back."""
        resource = self._resource(run)
        told = next((told for told in self.tells if told.kind is resource.kind), None)
        working.undo_all(run, self.ask, resource, told)

    def _resource(self, run: Run) -> Resource:
        return next(r for r in self.resources if r.kind.name == run.arguments["bulk"])


def _find(session: Session, principal: Principal, id: UUID) -> JobRow:
    """A bulk change of somebody's own, or anybody's for who operates the installation."""
    row = session.get(JobRow, id)
    mine = row is not None and row.created_by == principal.user
    if row is None or row.kind != "bulk" or not (mine or principal.may("operations:manage")):
        raise NotFound("There is no such bulk change")
    return row
