"""The tables of identity, read by nobody else."""

import datetime as dt
from typing import Any
from uuid import UUID

from sqlalchemy import LargeBinary, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from liaison_kit.database.tables import Base, Record, TenantRow
from liaison_kit.ids import uuid7


class Tenant(Base):
    """An organisation; row-level security shows each its own row only."""

    __tablename__ = "tenants"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    name: Mapped[str]
    slug: Mapped[str]
    active: Mapped[bool]
    time_zone: Mapped[str]
    country: Mapped[str | None]
    currency: Mapped[str]
    language: Mapped[str]
    version: Mapped[int]
    created_at: Mapped[dt.datetime]
    updated_at: Mapped[dt.datetime]
    updated_by: Mapped[UUID | None]


class User(Record, Base):
    """Somebody who works here.

    `region` is what an imported file said; it decides the team, whose own region comes first.
    """

    __tablename__ = "users"

    name: Mapped[str]
    email: Mapped[str | None]
    password_hash: Mapped[str | None]
    title: Mapped[str | None]
    team_id: Mapped[UUID | None]
    manager_id: Mapped[UUID | None]
    region: Mapped[str | None]
    active: Mapped[bool]
    locale: Mapped[str]
    role_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    last_signed_in_at: Mapped[dt.datetime | None]
    search: Mapped[str]


class Team(Record, Base):
    """People who work together, in a region."""

    __tablename__ = "teams"

    name: Mapped[str]
    region: Mapped[str | None]
    manager_id: Mapped[UUID | None]


class Role(Record, Base):
    """Permissions and row rules that users share."""

    __tablename__ = "roles"

    name: Mapped[str]
    permissions: Mapped[list[str]] = mapped_column(ARRAY(Text))
    rows: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Token(TenantRow, Base):
    """A session or an API token: its hash, never itself."""

    __tablename__ = "tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[UUID]
    kind: Mapped[str]
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    label: Mapped[str | None]
    permissions: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    created_at: Mapped[dt.datetime]
    expires_at: Mapped[dt.datetime | None]
    last_used_at: Mapped[dt.datetime | None]
    revoked_at: Mapped[dt.datetime | None]


class PasswordLink(TenantRow, Base):
    """A link by which somebody sets their password, once: its hash, never itself.

    It is good for as long as the user's e-mail is the one that it was mailed to.
    """

    __tablename__ = "password_links"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[UUID]
    email: Mapped[str]
    kind: Mapped[str]
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[dt.datetime]
    expires_at: Mapped[dt.datetime]
    used_at: Mapped[dt.datetime | None]
    failed: Mapped[str | None]


class Audit(TenantRow, Base):
    """Who did what, when; written once, never changed."""

    __tablename__ = "audit"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    at: Mapped[dt.datetime]
    by: Mapped[UUID | None]
    action: Mapped[str]
    record: Mapped[str]
    record_id: Mapped[UUID | None]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)
