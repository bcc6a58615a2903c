"""The operations of exports: each kind of record has one that starts them, one hands them out.

To see a list is not to carry it away: that takes a permission of its own, `<record>:export`.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field, StringConstraints
from sqlalchemy.orm import Session

from liaison_kit import jobs
from liaison_kit.calls.operations import get
from liaison_kit.calls.wire import Download
from liaison_kit.chosen import Chosen
from liaison_kit.context import Principal, context
from liaison_kit.exports import writing
from liaison_kit.exports.columns import Spread, columns, every_field
from liaison_kit.exports.models import Export
from liaison_kit.ids import uuid7
from liaison_kit.jobs.work import Run, job
from liaison_kit.listing.asked import ListQuery, parse
from liaison_kit.records import files
from liaison_kit.records.recordtype import RecordType
from liaison_kit.resources.declaration import Resource
from liaison_sdk.errors import Conflict, NotFound
from liaison_sdk.types import WITHOUT_NUL

_CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_FieldName = Annotated[str, StringConstraints(max_length=100, pattern=WITHOUT_NUL)]


class NewExport(Chosen):
    """A list to make a file of, and how."""

    sort: _FieldName | None = Field(default=None, description="As the list's order.")
    format: Literal["csv", "xlsx"] = "csv"
    fields: Annotated[list[_FieldName], Field(min_length=1, max_length=500)] | None = Field(
        default=None,
        description="Which fields, in which order; the tenant's own as `custom.<name>`. Else all.",
    )
    headers: Literal["labels", "names"] = Field(
        default="labels", description="What the columns are called: by labels in one's language."
    )
    byte_order_mark: bool = Field(
        default=True, description="Of CSV; Excel takes it for Unicode only with this mark."
    )


class NotReady(Conflict):
    """The file is being made, or came to nothing."""

    code, title = "not_ready", "This file is not ready"


def start(
    session: Session,
    kind: RecordType,
    spread: Spread,
    asked: Callable[[Session, ListQuery[Any]], ListQuery[Any]],
    new: NewExport,
) -> UUID:
    """Have a file made of a list; what is wrong with the list or the fields is told at once."""
    query = new.query()
    if new.sort is not None:
        query = ListQuery([*query.pairs, ("sort", new.sort)])
    query = asked(session, query)
    parse(session, kind, query)
    # Fields that are added while the file is made are not in it.
    fields = every_field(session, kind) if new.fields is None else new.fields
    columns(session, kind, spread, fields)
    about = context(session)
    language = about.principal.locale if about.principal else "en"
    name = f"{kind.name}-{about.now:%Y-%m-%d}.{new.format}"
    id = jobs.start(
        session,
        "export",
        name,
        exported=kind.name,
        query=query.pairs,
        format=new.format,
        fields=fields,
        language=language if new.headers == "labels" else None,
        byte_order_mark=new.byte_order_mark,
    )
    session.add(
        Export(
            id=id,
            tenant_id=about.tenant,
            record=kind.name,
            file_name=name,
            content_type=_CONTENT_TYPES[new.format],
            picked_id=uuid7(),
            rows_id=uuid7(),
            ready=False,
            created_at=about.now,
            created_by=about.user,
        )
    )
    session.flush()
    return id


class ExportOperations:
    """What a service with resources answers about its exports."""

    name: ClassVar[str]
    resources: ClassVar[Sequence[Resource]]

    @get("/exports/{id}/content", allow="jobs:read", shared="id", problems=[404, 409])
    def get_export_content(self, session: Session, id: UUID, principal: Principal) -> Download:
        """The file that an export has made; it is kept for seven days.

        For who started it, and who operates the installation.
        """
        row = session.get(Export, id)
        mine = row is not None and row.created_by == principal.user
        if row is None or not (mine or principal.may("operations:manage")):
            raise NotFound("There is no such export")
        principal.demand(f"{row.record}:read")
        principal.demand(f"{row.record}:export")
        if not row.ready:
            raise NotReady("Its job has not ended, or made nothing")
        parts = files.parts(session, row.id)
        return Download(row.file_name, row.content_type, stored=row.id, parts=parts)

    @job("export")
    def export_job(self, run: Run) -> None:
        """The work behind an export."""
        found = next(r for r in self.resources if r.kind.name == run.arguments["exported"])
        writing.write(run, self.name, found.kind, found.spread)
