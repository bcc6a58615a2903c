"""What a tenant has set for all modules: its time zone, country, currency and language.

Identity owns it and tells of each change; every service keeps a copy, by version. A process
remembers it for some seconds, so that asking costs nothing.
"""

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.database.statements import Statement
from liaison_kit.zones import zone
from liaison_sdk.contracts.identity import Locale, TenantSaved

REMEMBERED_S = 10.0
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """Where a tenant is; what it begins with is what identity gives a tenant that says nothing."""

    time_zone: str = "UTC"
    country: str | None = None
    currency: str = "EUR"
    language: Locale = "en"
    version: int = 0
    """0 until this service has been told."""

    @property
    def zone(self) -> ZoneInfo:
        """Its time zone."""
        return zone(self.time_zone)


def tenant_settings(session: Session) -> TenantSettings:
    """What the session's tenant has set; what is changed elsewhere is seen within seconds."""
    tenant = context(session).tenant
    remembered = _remembered(session)
    found = remembered.get(tenant)
    if found is not None and time.monotonic() - found[0] < REMEMBERED_S:
        return found[1]
    read = _kept(session)
    if len(remembered) >= REMEMBERED:
        remembered.clear()
    remembered[tenant] = (time.monotonic(), read)
    return read


def keep(session: Session, told: TenantSaved) -> bool:
    """Keep what identity tells, unless something newer is known; whether it was news."""
    news = bool(_KEEP.run(session, told.tenant.model_dump() | {"id": told.tenant_id}))
    if news:
        # What is remembered meanwhile, before this is committed, is out of date for seconds only.
        _remembered(session).pop(told.tenant_id, None)
    return news


def _kept(session: Session) -> TenantSettings:
    rows = _READ.run(session, {"tenant": context(session).tenant})
    return TenantSettings(*rows[0]) if rows else TenantSettings()


def _remembered(session: Session) -> dict[UUID, tuple[float, TenantSettings]]:
    found: Any = session.info.setdefault("tenants", {})
    return found  # type: ignore[no-any-return]


_READ = Statement("""
SELECT time_zone, country, currency, language, version FROM tenant_settings
WHERE tenant_id = %(tenant)s::uuid
""")
_KEEP = Statement("""
INSERT INTO tenant_settings AS kept (tenant_id, time_zone, country, currency, language, version)
VALUES (%(id)s::uuid, %(time_zone)s, %(country)s, %(currency)s, %(language)s, %(version)s)
ON CONFLICT (tenant_id) DO UPDATE SET time_zone = excluded.time_zone, country = excluded.country,
    currency = excluded.currency, language = excluded.language, version = excluded.version
WHERE kept.version < excluded.version RETURNING tenant_id
""")
