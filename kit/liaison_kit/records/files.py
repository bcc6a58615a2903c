"""Files in parts: uploads as the gateway streams them in, attachments and error files as they go
out.

A part is at most 512 KiB, so that no process ever holds a whole file. Until a record claims them,
the parts of an upload count against its tenant's quota. Those of an upload that comes to nothing
are dropped at once, or swept away after a day if whoever was to drop them died.
"""

import datetime as dt
from collections.abc import Iterator
from uuid import UUID

from sqlalchemy import Integer, LargeBinary, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from liaison_kit.calls.wire import Upload
from liaison_kit.context import context
from liaison_kit.database.tables import Base, TenantRow
from liaison_kit.settings import settings
from liaison_sdk.errors import Conflict, NotFound, TooMany

PART_BYTES = 512 * 1024


class FilePart(TenantRow, Base):
    """One part of a file."""

    __tablename__ = "file_parts"

    file_id: Mapped[UUID] = mapped_column(primary_key=True)
    part: Mapped[int] = mapped_column(Integer, primary_key=True)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    claimed: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[dt.datetime]


class UploadsFull(TooMany):
    """The tenant's uploads that nothing has claimed hold as much as they may."""

    code, title = "uploads_full", "Too much is being uploaded at once"


class UploadGone(Conflict):
    """Parts of the upload were swept away, or belong to something else by now."""

    code, title = "upload_gone", "This upload is not there any more; send the file again"


def receive(session: Session, file_id: UUID, part: int, body: bytes) -> None:
    """Store a part of an upload, within its tenant's quota.

    Parts that arrive at the same moment don't see each other: the quota may be passed by as many
    as are under way.
    """
    held = session.scalar(
        select(func.coalesce(func.sum(func.octet_length(FilePart.body)), 0)).where(
            FilePart.claimed.is_(False)
        )
    )
    if int(held or 0) + len(body) > settings().upload_quota_bytes:
        raise UploadsFull("Wait until the uploads under way are done")
    put(session, file_id, part, body)


def put(session: Session, file_id: UUID, part: int, body: bytes, *, claimed: bool = False) -> None:
    """Store a part, `claimed` if a record has it already; the same part again replaces it."""
    about = context(session)
    row = {
        "tenant_id": about.tenant,
        "file_id": file_id,
        "part": part,
        "body": body,
        "claimed": claimed,
        "created_at": about.now,
    }
    session.execute(
        insert(FilePart)
        .values(row)
        .on_conflict_do_update(index_elements=["file_id", "part"], set_={"body": body})
    )


def get(session: Session, file_id: UUID, part: int) -> bytes:
    """One part."""
    body = session.scalar(
        select(FilePart.body).where(FilePart.file_id == file_id, FilePart.part == part)
    )
    if body is None:
        raise NotFound("There is no such file")
    return bytes(body)


def parts(session: Session, file_id: UUID) -> int:
    """How many parts a file has."""
    return session.scalar(select(func.count()).where(FilePart.file_id == file_id)) or 0


def chunks(session: Session, file_id: UUID) -> Iterator[bytes]:
    """The file's bytes, one part in memory at a time."""
    for part in range(parts(session, file_id)):
        yield get(session, file_id, part)


def claim(session: Session, file_id: UUID) -> None:
    """A record holds this file now: it is not swept."""
    session.execute(update(FilePart).where(FilePart.file_id == file_id).values(claimed=True))


def claim_upload(session: Session, upload: Upload) -> None:
    """A record holds this upload now; raises `UploadGone` unless all of it is there to be had."""
    found = session.scalars(
        update(FilePart)
        .where(FilePart.file_id == upload.id, FilePart.claimed.is_(False))
        .values(claimed=True)
        .returning(func.octet_length(FilePart.body))
        .execution_options(synchronize_session=False)
    )
    if sum(found) != upload.size:
        raise UploadGone


def drop(session: Session, file_id: UUID) -> None:
    """Delete an upload that came to nothing; what a record has claimed stays."""
    session.execute(
        delete(FilePart).where(FilePart.file_id == file_id, FilePart.claimed.is_(False))
    )


def discard(session: Session, file_id: UUID) -> None:
    """Delete a file."""
    session.execute(delete(FilePart).where(FilePart.file_id == file_id))
