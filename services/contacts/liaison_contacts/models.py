"""The tables of contacts; nobody else reads them."""

import datetime as dt
from typing import Any
from uuid import UUID

from sqlalchemy import CHAR, Integer, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from liaison_kit.copies import KeptRow
from liaison_kit.database.tables import Base, MoneyAmount, Record, Searched, TenantRow
from liaison_kit.privacy.marks import personal, points_at


class Party(Searched):
    """What people and companies have in common."""

    owner_id: Mapped[UUID | None]
    emails: Mapped[list[Any]] = mapped_column(JSONB)
    phones: Mapped[list[Any]] = mapped_column(JSONB)
    addresses: Mapped[list[Any]] = mapped_column(JSONB)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    stage: Mapped[str]
    customer_since: Mapped[dt.date | None]
    customer_because: Mapped[str | None]
    because_id: Mapped[UUID | None]
    """The deal that this is because of: who may not see it is not told."""
    keys: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """What is compared whole: e-mail addresses, the digits of phone numbers, the folded name."""


class Person(Party, Base):
    """A person."""

    __tablename__ = "people"

    first_name: Mapped[str]
    last_name: Mapped[str]
    title: Mapped[str | None]
    salutation: Mapped[str | None]
    middle_name: Mapped[str | None]
    suffix: Mapped[str | None]
    department: Mapped[str | None]
    birthday: Mapped[dt.date | None]
    languages: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    websites: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    company_id: Mapped[UUID | None] = points_at("companies")


class Company(Party, Base):
    """A company."""

    __tablename__ = "companies"

    name: Mapped[str]
    parent_id: Mapped[UUID | None] = points_at("companies")
    industry: Mapped[str | None]
    website: Mapped[str | None]
    year_founded: Mapped[int | None] = mapped_column(Integer)
    employees: Mapped[int | None] = mapped_column(Integer)
    annual_revenue_amount: Mapped[Any | None] = mapped_column(MoneyAmount)
    annual_revenue_currency: Mapped[str | None] = mapped_column(CHAR(3))


class Note(Record, Base):
    """A note about a person or a company."""

    __tablename__ = "notes"

    about: Mapped[str]
    about_id: Mapped[UUID] = points_at("contacts", "companies", goes_with=True)
    body: Mapped[str] = personal()


class Owner(KeptRow, Base):
    """A user whom people and companies may belong to, as identity tells of them."""

    __tablename__ = "owners"

    email: Mapped[str | None]


class Occurrence(TenantRow, Base):
    """Something that another service told of a person or a company."""

    __tablename__ = "occurrences"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    about_id: Mapped[UUID] = points_at("contacts", "companies", goes_with=True, primary_key=True)
    at: Mapped[dt.datetime]
    kind: Mapped[str]
    by: Mapped[UUID | None]
    details: Mapped[dict[str, Any]] = personal()
    subject_id: Mapped[UUID | None]


class Merge(TenantRow, Base):
    """One record that was merged into another: its row, and what the other took over from it."""

    __tablename__ = "merges"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    record: Mapped[str]
    from_id: Mapped[UUID]
    into_id: Mapped[UUID]
    held: Mapped[dict[str, Any]]
    changed: Mapped[dict[str, Any]]
    undone: Mapped[bool]


class PrivacyRequest(Record, Base):
    """A merge, its undoing, an erasure or a question of access, until every module has answered."""

    __tablename__ = "privacy_requests"

    kind: Mapped[str]
    record: Mapped[str]
    subject_id: Mapped[UUID]
    other_id: Mapped[UUID | None]
    reason: Mapped[str | None]
    state: Mapped[str]
    finished_at: Mapped[dt.datetime | None]
    asked: Mapped[dict[str, Any] | None]
    """What the modules are asked, to be asked again; nothing once they have answered."""
    certificate: Mapped[dict[str, Any] | None]
    file_id: Mapped[UUID | None]


class PrivacyReceipt(TenantRow, Base):
    """A module's part in a request."""

    __tablename__ = "privacy_receipts"

    request_id: Mapped[UUID] = mapped_column(primary_key=True)
    module: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    counts: Mapped[dict[str, Any]]
    answered_at: Mapped[dt.datetime | None]


class HeldPart(TenantRow, Base):
    """A part of what a module holds of who asks, sealed to contacts."""

    __tablename__ = "held_parts"

    request_id: Mapped[UUID] = mapped_column(primary_key=True)
    module: Mapped[str] = mapped_column(primary_key=True)
    part: Mapped[int] = mapped_column(Integer, primary_key=True)
    sealed: Mapped[str]


class HoldingModule(TenantRow, Base):
    """A module that has said that it holds data of persons."""

    __tablename__ = "holding_modules"

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    module: Mapped[str] = mapped_column(primary_key=True)
    said_at: Mapped[dt.datetime]
    retired_at: Mapped[dt.datetime | None]
    retired_by: Mapped[UUID | None]
