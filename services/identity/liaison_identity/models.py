"""The tables of identity, read by nobody else."""

import datetime as dt
from typing import Any
from uuid import UUID

from sqlalchemy import LargeBinary, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from liaison_kit.database.tables import Base, Record, Searched, TenantRow
from liaison_kit.ids import uuid7
from liaison_kit.privacy.marks import personal, points_at


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


class User(Searched, Base):
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


class Notification(TenantRow, Base):
    """Something that a user was told; `heap` names what is told once for as long as it is unread.

    `owner_id` is whose the record is, as of its version `owner_version`. What is `gone` is about a
    record that was deleted. `channel` is how the user wanted to hear of it; `digested_at`, when it
    was in a mail of the day.
    """

    __tablename__ = "notifications"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[UUID]
    heap: Mapped[UUID]
    module: Mapped[str]
    kind: Mapped[str]
    channel: Mapped[str]
    record: Mapped[str | None]
    record_id: Mapped[UUID | None] = points_at("contacts", "companies", goes_with=True)
    owner_id: Mapped[UUID | None]
    owner_version: Mapped[int]
    gone: Mapped[bool]
    subject: Mapped[str] = personal()
    text: Mapped[str] = personal()
    times: Mapped[int]
    read_at: Mapped[dt.datetime | None]
    digested_at: Mapped[dt.datetime | None]
    created_at: Mapped[dt.datetime]
    updated_at: Mapped[dt.datetime]


class NotificationChoice(TenantRow, Base):
    """How a user hears of what; `digest_due_at` is when their next mail of the day goes, if any."""

    __tablename__ = "notification_choices"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    digest_at: Mapped[dt.time]
    channels: Mapped[dict[str, Any]] = mapped_column(JSONB)
    digest_due_at: Mapped[dt.datetime | None]


class Draft(TenantRow, Base):
    """What a user has written and not sent yet."""

    __tablename__ = "drafts"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    record: Mapped[str] = mapped_column(primary_key=True)
    record_id: Mapped[UUID] = points_at("contacts", "companies", goes_with=True, primary_key=True)
    field: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[str] = personal()
    version: Mapped[int]
    updated_at: Mapped[dt.datetime]


class SavedView(TenantRow, Base):
    """A question that is kept; without an owner it is its team's, or everybody's."""

    __tablename__ = "saved_views"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    owner_id: Mapped[UUID | None]
    share: Mapped[str]
    team_id: Mapped[UUID | None]
    record: Mapped[str]
    name: Mapped[str]
    kind: Mapped[str]
    query: Mapped[str]
    condition: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    sort: Mapped[str | None]
    by: Mapped[str | None]
    columns: Mapped[list[str]] = mapped_column(ARRAY(Text))
    version: Mapped[int]
    created_at: Mapped[dt.datetime]
    updated_at: Mapped[dt.datetime]


class ViewChoice(TenantRow, Base):
    """Where a user has a view among those of its kind of record, and whether they begin with it."""

    __tablename__ = "view_choices"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    view_id: Mapped[UUID] = mapped_column(primary_key=True)
    record: Mapped[str]
    position: Mapped[int | None]
    is_default: Mapped[bool]
