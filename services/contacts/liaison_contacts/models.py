"""The tables of contacts; nobody else reads them."""

import datetime as dt
from typing import Any
from uuid import UUID

from sqlalchemy import Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from liaison_kit.copies import KeptRow
from liaison_kit.database.tables import Base, MoneyAmount, Record, TenantRow


class Party(Record):
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
    search: Mapped[str]
    keys: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """What is compared whole: e-mail addresses, the digits of phone numbers, the folded name."""


class Person(Party, Base):
    """A person."""

    __tablename__ = "people"

    first_name: Mapped[str]
    last_name: Mapped[str]
    title: Mapped[str | None]
    company_id: Mapped[UUID | None]


class Company(Party, Base):
    """A company."""

    __tablename__ = "companies"

    name: Mapped[str]
    parent_id: Mapped[UUID | None]
    industry: Mapped[str | None]
    website: Mapped[str | None]
    year_founded: Mapped[int | None]
    employees: Mapped[int | None]
    annual_revenue_amount: Mapped[Any | None] = mapped_column(MoneyAmount)
    annual_revenue_currency: Mapped[str | None]


class Note(Record, Base):
    """A note about a person or a company."""

    __tablename__ = "notes"

    about: Mapped[str]
    about_id: Mapped[UUID]
    body: Mapped[str]


class Attachment(TenantRow, Base):
    """A file that belongs to a person or a company."""

    __tablename__ = "attachments"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    about: Mapped[str]
    about_id: Mapped[UUID]
    name: Mapped[str]
    content_type: Mapped[str]
    size: Mapped[int]
    created_at: Mapped[dt.datetime]
    created_by: Mapped[UUID | None]


class Owner(KeptRow, Base):
    """A user whom people and companies may belong to, as identity tells of them."""

    __tablename__ = "owners"

    email: Mapped[str | None]
