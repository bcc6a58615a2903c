"""The tables of connect, read by nobody else."""

import datetime as dt
from uuid import UUID

from sqlalchemy import Integer, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from liaison_kit.database.tables import Base, Record, refers_to
from liaison_kit.privacy.marks import personal, points_at


class _Kept(Record):
    """A message: from whom to whom, what it says, and how far it has come."""

    intent_id: Mapped[UUID]
    sender: Mapped[str]
    channel: Mapped[str]
    purpose: Mapped[str]
    to_address: Mapped[str | None] = personal(address=True)
    to_name: Mapped[str | None] = personal()
    person_id: Mapped[UUID | None] = points_at("contacts", deleted="stays")
    language: Mapped[str]
    template: Mapped[str | None]
    subject: Mapped[str | None] = personal()
    text: Mapped[str | None] = personal()
    html: Mapped[str | None] = personal()
    secret: Mapped[bool]
    sealed: Mapped[str | None] = personal()
    fingerprint: Mapped[bytes] = personal(LargeBinary)
    about_record: Mapped[str | None]
    about_id: Mapped[UUID | None] = points_at("contacts", "companies", deleted="stays")
    owner_id: Mapped[UUID | None] = refers_to("users", deleted="stays")
    urgent: Mapped[bool]
    state: Mapped[str]
    reason: Mapped[str | None]
    answer: Mapped[str | None] = personal()
    attempts: Mapped[int] = mapped_column(Integer)
    not_before: Mapped[dt.datetime | None]
    expires_at: Mapped[dt.datetime | None]
    wake_at: Mapped[dt.datetime]
    worker: Mapped[UUID | None]
    handed_at: Mapped[dt.datetime | None]
    sent_at: Mapped[dt.datetime | None]


class Message(_Kept, Base):
    """The ledger; one row per intent."""

    __tablename__ = "messages"


class SeenMessage(_Kept, Base):
    """The view of those that the person who asks may see."""

    __tablename__ = "seen_messages"


class Template(Record, Base):
    """A message's texts in one language, as the tenant writes them."""

    __tablename__ = "templates"

    code: Mapped[str]
    language: Mapped[str]
    name: Mapped[str]
    subject: Mapped[str]
    text: Mapped[str]
    html: Mapped[str | None]
