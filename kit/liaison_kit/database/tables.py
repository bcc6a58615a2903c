"""What tables are declared with: rows that have a tenant, records that have versions."""

import datetime as dt
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    DateTime,
    Numeric,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from liaison_kit.ids import uuid7

ORDER = "_order"
"""How the column is called, behind its field's name, by which lists are sorted by a text: the
database keeps it (`record_tables.sorted_texts`)."""


class Base(DeclarativeBase):
    """Where a service's tables are declared; each service process has its own one service."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        int: BigInteger,
        dt.datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
    }


class TenantRow:
    """A row that belongs to one tenant and is shown to no other."""

    tenant_id: Mapped[UUID] = mapped_column(index=False)


class Record(TenantRow):
    """A record of the CRM: versioned, dated, signed, with the tenant's own fields."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    external_id: Mapped[str | None]
    version: Mapped[int] = mapped_column(default=1)
    custom: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    created_at: Mapped[dt.datetime]
    created_by: Mapped[UUID | None]
    updated_at: Mapped[dt.datetime]
    updated_by: Mapped[UUID | None]


class Owned(Record):
    """A record that belongs to somebody, whose role may show them only their own."""

    owner_id: Mapped[UUID | None]


class Searched(Record):
    """A record that is found by its searchable fields: the database keeps one text of them."""

    search: Mapped[str]


MoneyAmount = Numeric()
"""It has the decimals of its currency, which the contract sees to."""
