"""Files in parts: uploads as the gateway streams them in, attachments and error files as they go
out.

A part is at most 512 KiB, so that no process ever holds a whole file. Parts that no record has
claimed within a day are swept away.
"""

import datetime as dt
from collections.abc import Iterator
from uuid import UUID

from sqlalchemy import LargeBinary, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from liaison_kit.context import context
from liaison_kit.database.tables import Base, TenantRow
from liaison_sdk.errors import NotFound

PART_BYTES = 512 * 1024


class FilePart(TenantRow, Base):
    """One part of a file."""

    __tablename__ = "file_parts"

    file_id: Mapped[UUID] = mapped_column(primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    claimed: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[dt.datetime]


def put(session: Session, file_id: UUID, part: int, body: bytes) -> None:
    """Store a part; the same part again replaces it."""
    about = context(session)
    row = {
        "tenant_id": about.tenant,
        "file_id": file_id,
        "part": part,
        "body": body,
        "claimed": False,
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


def discard(session: Session, file_id: UUID) -> None:
    """Delete a file."""
    session.execute(delete(FilePart).where(FilePart.file_id == file_id))
