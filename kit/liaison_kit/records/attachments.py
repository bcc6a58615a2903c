"""Attachments: files that belong to records, of each kind whose declaration says so.

    VEHICLES = RecordType("vehicles", …, attachments=True)

makes `list_vehicle_attachments` and `create_vehicle_attachment` at `/vehicles/{id}/attachments`,
and the service hands files out and deletes them. What a file belongs to decides who may: whoever
may see the record, or change it. A deleted record takes its files to the trash with it.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Mapped, Session

from liaison_kit import listing
from liaison_kit.calls.operations import delete, get
from liaison_kit.calls.wire import Download, Upload
from liaison_kit.context import context
from liaison_kit.database.migrations import Op, enable_tenancy
from liaison_kit.database.tables import Base, TenantRow
from liaison_kit.privacy.marks import names_a_file, personal, points_at
from liaison_kit.privacy.tables import lands
from liaison_kit.records import files
from liaison_kit.records.recordtype import RecordType
from liaison_sdk import records as contract
from liaison_sdk.errors import NotFound

MOST = 200


class Attachment(TenantRow, Base):
    """A file that belongs to a record; a stored file has its id."""

    __tablename__ = "attachments"

    id: Mapped[UUID] = names_a_file(primary_key=True)
    about: Mapped[str]
    about_id: Mapped[UUID] = points_at(goes_with=True, deleted="follow")
    name: Mapped[str] = personal()
    content_type: Mapped[str]
    size: Mapped[int]
    created_at: Mapped[dt.datetime]
    created_by: Mapped[UUID | None]


_TABLES = """
CREATE TABLE attachments (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    about text NOT NULL,
    about_id uuid NOT NULL,
    name text NOT NULL,
    content_type text NOT NULL,
    size bigint NOT NULL,
    created_at timestamptz NOT NULL,
    created_by uuid
);

CREATE INDEX ix_attachments_about ON attachments (tenant_id, about_id, created_at)
"""


def attachment_tables(op: Op) -> None:
    """The files of a service's records, as one of its migrations makes it."""
    for statement in _TABLES.split(";\n\n"):
        op.execute(statement)
    enable_tenancy(op, "attachments")
    lands(op, "attachments", "about_id", goes_with=True, refused=True)


def of(session: Session, kind: RecordType, id: UUID) -> list[contract.Attachment]:
    """The latest files of a record."""
    _demand(session, kind, id)
    rows = session.scalars(
        select(Attachment)
        .where(Attachment.about == kind.name, Attachment.about_id == id)
        .order_by(Attachment.created_at.desc())
        .limit(MOST)
    )
    return [contract.Attachment.model_validate(row, from_attributes=True) for row in rows]


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


def operations(kinds: Sequence[RecordType]) -> Iterator[Callable[..., Any]]:
    """Handing out and deleting the files of these kinds of record, of one service."""
    by_name = {kind.name: kind for kind in kinds}

    def belonging(session: Session, id: UUID, verb: str) -> Attachment:
        missing = NotFound("There is no such file")
        row = session.get(Attachment, id)
        if row is None:
            raise missing
        demand(session, by_name[row.about], row.about_id, verb, missing)
        return row

    def get_attachment_content(_service: Any, session: Session, id: UUID) -> Download:
        row = belonging(session, id, "read")
        return Download(row.name, row.content_type, stored=id, parts=files.parts(session, id))

    def delete_attachment(_service: Any, session: Session, id: UUID) -> None:
        session.delete(belonging(session, id, "write"))
        files.discard(session, id)

    get_attachment_content.__doc__ = f"A file's bytes.\n\n{_needs(by_name, 'read')}"
    delete_attachment.__doc__ = f"Delete a file.\n\n{_needs(by_name, 'write')}"
    found = get("/attachments/{id}/content", shared="id", problems=[404])
    yield found(get_attachment_content)
    yield delete("/attachments/{id}", shared="id", problems=[404])(delete_attachment)


def _needs(names: Iterable[str], verb: str) -> str:
    listed = " or ".join(f"`{name}:{verb}`" for name in names)
    return f"Needs {listed}, by what it hangs on."


def demand(session: Session, kind: RecordType, id: UUID, verb: str, missing: NotFound) -> None:
    """What hangs on a record is for whoever may do the same with the record itself."""
    principal = context(session).principal
    if principal is not None:
        principal.demand(f"{kind.name}:{verb}")
    if listing.read(session, kind, id) is None:
        raise missing


def _demand(session: Session, kind: RecordType, id: UUID) -> None:
    if listing.read(session, kind, id) is None:
        raise NotFound(f"There is no such record in {kind.name}")
