"""What a tenant has set is kept by version, seen by its own sessions, and cheap to ask for."""

from typing import Any

import pytest

from liaison_kit import tenants
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.tenants import TenantSettings, keep, tenant_settings
from liaison_kit.testing import statements
from liaison_sdk.contracts.identity import TenantSaved

from .conftest import Ground


def told(about: Context, version: int, **given: Any) -> TenantSaved:
    """What identity tells of the tenant."""
    there = {"name": "T", "time_zone": "Europe/Paris", "country": "FR", "currency": "EUR"}
    tenant = there | {"language": "fr", "version": version} | given
    return TenantSaved.model_validate({"tenant_id": about.tenant, "tenant": tenant})


def hear(db: Database, about: Context, version: int, **given: Any) -> bool:
    with db.writing(about) as session:
        return keep(session, told(about, version, **given))


def ask(db: Database, about: Context) -> TenantSettings:
    with db.reading(about, strictly=True) as session:
        return tenant_settings(session)


def test_who_has_been_told_nothing_takes_what_a_new_tenant_gets(
    db: Database, someone: Context
) -> None:
    found = ask(db, someone)

    assert found == TenantSettings("UTC", None, "EUR", "en", 0)
    assert found.zone.key == "UTC"


def test_what_is_told_is_kept_unless_something_newer_is_known(
    db: Database, someone: Context
) -> None:
    assert hear(db, someone, 2)
    assert not hear(db, someone, 1, time_zone="Asia/Tokyo")
    assert not hear(db, someone, 2, time_zone="Asia/Tokyo")
    assert ask(db, someone) == TenantSettings("Europe/Paris", "FR", "EUR", "fr", 2)

    assert hear(db, someone, 3, time_zone="Asia/Tokyo", country=None)

    assert ask(db, someone) == TenantSettings("Asia/Tokyo", None, "EUR", "fr", 3)


def test_it_is_read_once_and_remembered_for_seconds(
    ground: Ground, db: Database, someone: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear(db, someone, 1)
    ask(db, someone)
    ground.look("UPDATE tenant_settings SET currency = 'GBP', version = 2")

    with statements(db) as seen:
        remembered = ask(db, someone)
    monkeypatch.setattr(tenants, "REMEMBERED_S", 0)
    later = ask(db, someone)

    assert seen == []
    assert remembered.currency == "EUR"
    assert later.currency == "GBP"


def test_no_more_tenants_are_remembered_than_there_is_room_for(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenants, "REMEMBERED", 3)
    for _ in range(10):
        ask(db, Context(tenant=uuid7()))

    assert len(db.tenants) <= 3


def test_nobody_sees_anothers(db: Database, someone: Context) -> None:
    hear(db, someone, 1)

    assert ask(db, Context(tenant=uuid7())).version == 0
