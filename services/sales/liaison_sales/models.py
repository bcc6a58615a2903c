"""The tables of sales, read by nobody else."""

import datetime as dt
from decimal import Decimal
from uuid import UUID

from sqlalchemy import CHAR, Integer, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from liaison_kit.copies import KeptRow
from liaison_kit.database.tables import Base, MoneyAmount, Record, Searched, TenantRow
from liaison_kit.privacy.marks import points_at


class Product(Searched, Base):
    """Something to sell."""

    __tablename__ = "products"

    name: Mapped[str]
    code: Mapped[str | None]
    family: Mapped[str | None]
    list_price_amount: Mapped[Decimal | None] = mapped_column(MoneyAmount)
    currency: Mapped[str | None] = mapped_column(CHAR(3))
    active: Mapped[bool]


class Pipeline(Record, Base):
    """A way of selling; one per tenant is the default."""

    __tablename__ = "pipelines"

    name: Mapped[str]
    currency: Mapped[str] = mapped_column(CHAR(3))
    is_default: Mapped[bool]


class Stage(TenantRow, Base):
    """A stage of a pipeline."""

    __tablename__ = "stages"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    pipeline_id: Mapped[UUID]
    code: Mapped[str]
    name: Mapped[str]
    position: Mapped[int] = mapped_column(Integer)
    probability: Mapped[int] = mapped_column(SmallInteger)
    kind: Mapped[str]


class Opportunity(Searched, Base):
    """A deal; `status` repeats the kind of its stage, so that lists and sums need no join."""

    __tablename__ = "opportunities"

    name: Mapped[str]
    pipeline_id: Mapped[UUID]
    stage_id: Mapped[UUID]
    stage_since: Mapped[dt.datetime]
    status: Mapped[str]
    product_id: Mapped[UUID | None]
    company_id: Mapped[UUID | None] = points_at("companies")
    contact_id: Mapped[UUID | None] = points_at("contacts")
    owner_id: Mapped[UUID | None]
    owner_reason: Mapped[str | None]
    region: Mapped[str | None]
    amount_amount: Mapped[Decimal | None] = mapped_column(MoneyAmount)
    currency: Mapped[str | None] = mapped_column(CHAR(3))
    probability: Mapped[int | None] = mapped_column(SmallInteger)
    engaged_on: Mapped[dt.date | None]
    expected_close: Mapped[dt.date | None]
    closed_on: Mapped[dt.date | None]
    win_reason: Mapped[str | None]
    lost_reason: Mapped[str | None]


class OpportunitySum(TenantRow, Base):
    """What opportunities that are alike add up to; the database keeps it as they change.

    Any number of rows are about the same ones: a change adds rows, and a few may be negative.
    """

    __tablename__ = "opportunity_sums"
    # It has no key; the mapper wants one.
    __mapper_args__ = {"primary_key": ["stage_id", "owner_id"]}

    pipeline_id: Mapped[UUID]
    stage_id: Mapped[UUID]
    status: Mapped[str]
    owner_id: Mapped[UUID | None]
    product_id: Mapped[UUID | None]
    region: Mapped[str | None]
    currency: Mapped[str | None] = mapped_column(CHAR(3))
    probability: Mapped[int | None] = mapped_column(SmallInteger)
    count: Mapped[int]
    amount: Mapped[Decimal]
    days: Mapped[int]
    dated: Mapped[int]


class RemovedStage(TenantRow, Base):
    """What a stage that is gone was called: opportunities have been in it."""

    __tablename__ = "removed_stages"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]


class StageChange(TenantRow, Base):
    """One move of an opportunity from stage to stage; the first one comes from none."""

    __tablename__ = "stage_changes"

    id: Mapped[int] = mapped_column(primary_key=True)
    opportunity_id: Mapped[UUID]
    from_stage_id: Mapped[UUID | None]
    to_stage_id: Mapped[UUID]
    at: Mapped[dt.datetime]
    by: Mapped[UUID | None]
    seconds: Mapped[int | None]


class Rep(KeptRow, Base):
    """A user of Liaison as identity last told: who they are and where they sell."""

    __tablename__ = "reps"

    email: Mapped[str | None]
    team: Mapped[str | None]
    region: Mapped[str | None]
    manager_id: Mapped[UUID | None]
    manager: Mapped[str | None]
    active: Mapped[bool]


class Account(KeptRow, Base):
    """A company as contacts last told."""

    __tablename__ = "accounts"

    external_id: Mapped[str | None]
    owner_id: Mapped[UUID | None]
