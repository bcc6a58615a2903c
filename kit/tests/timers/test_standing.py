"""What a service does for every tenant by a schedule, and the clocks that schedules follow."""

import datetime as dt
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.context import Context
from liaison_kit.ids import uuid7
from liaison_kit.service import Service
from liaison_kit.testing import at_work
from liaison_kit.timers import Daily, Every, Occasion, Schedule, every, on_schedule, queue
from liaison_kit.timers.running import Runs
from liaison_kit.timers.standing import arrange_all
from liaison_kit.timers.timer import TimerHandler
from liaison_sdk.contracts.identity import TenantSaved
from liaison_sdk.labels import Label

from .conftest import Ring, Shop

KIND = "schedule.renew"


def service(schedule: Schedule) -> type[Service]:
    """A release of a service that renews something by this schedule."""

    class Bells(Service):
        name = "bells"
        label = Label(en="Bells", fr="Cloches")
        renewed: list[dt.datetime] = []

        @on_schedule(schedule)
        def renew(self, session: Session, occasion: Occasion) -> None:
            self.renewed.append(occasion.due_at)
            session.execute(text("INSERT INTO things (id, said) VALUES (1, '1')"))

    return Bells


def handlers(schedule: Schedule) -> Mapping[str, TimerHandler]:
    return service(schedule).timer_handlers


def hear(shop: Shop, bells: type[Service], version: int, zone: str, **given: Any) -> None:
    """The service is told of the tenant."""
    there = {"name": "T", "time_zone": zone, "country": None, "currency": "EUR", "language": "en"}
    event = TenantSaved.model_validate(
        {"tenant_id": shop.tenant, "tenant": there | {"version": version} | given}
    )
    with shop.writing() as session:
        at_work(bells, shop.db).on_tenant_saved(session, event)


def clocks(shop: Shop, zone: str) -> list[tuple[str, str]]:
    """When each is due, by the clock there."""
    return sorted(
        (kind, f"{due.astimezone(ZoneInfo(zone)):%H:%M}") for kind, due in shop.rows("kind, run_at")
    )


def test_a_tenant_has_its_timers_when_it_is_first_heard_of(shop: Shop) -> None:
    bells = service(Daily(at="06:00"))

    hear(shop, bells, 1, "Asia/Tokyo")
    hear(shop, bells, 1, "Asia/Tokyo")

    assert clocks(shop, "Asia/Tokyo") == [(KIND, "06:00")]


def test_it_runs_for_its_tenant_and_goes_on_by_its_clock(shop: Shop) -> None:
    bells = service(Daily(at="06:00"))
    hear(shop, bells, 1, "Asia/Tokyo")
    shop.bring_forward()
    at = at_work(bells, shop.db)
    runs = Runs(
        "bells",
        bells.timer_handlers,
        shop.db,
        lambda method, session, told: getattr(at, method)(session, told),
        lambda _signed: pytest.fail("nobody's"),
        (),
    )

    claim = queue.claim(shop.db, KIND)
    assert claim is not None
    runs.run(claim)

    assert shop.ground.look("SELECT tenant_id::text FROM things") == [(str(shop.tenant),)]
    assert clocks(shop, "Asia/Tokyo") == [(KIND, "06:00")]
    assert shop.rows("run_at > now()") == [(True,)]


def test_when_a_tenant_moves_its_schedules_follow_its_clock(shop: Shop) -> None:
    bells = service(Daily(at="06:00"))
    hear(shop, bells, 1, "Asia/Tokyo")
    with shop.writing() as session:
        every(session, Daily(at="07:00"), Ring(number=1), key="follows")
        every(session, Daily(at="08:00"), Ring(number=2), key="named", zone="Asia/Tokyo")
        every(session, Every(hours=5), Ring(number=3), key="counts")
    ((counted,),) = shop.ground.look("SELECT run_at FROM timers WHERE key = 'counts'")

    hear(shop, bells, 2, "America/New_York")

    due = dict(shop.rows("key, run_at"))
    assert f"{due['follows'].astimezone(ZoneInfo('America/New_York')):%H:%M}" == "07:00"
    assert f"{due['standing'].astimezone(ZoneInfo('America/New_York')):%H:%M}" == "06:00"
    assert f"{due['named'].astimezone(ZoneInfo('Asia/Tokyo')):%H:%M}" == "08:00"
    assert due["counts"] == counted
    assert min(due.values()) > dt.datetime.now(dt.UTC)


def test_what_is_due_already_still_runs_when_its_tenant_moves(shop: Shop) -> None:
    bells = service(Daily(at="06:00"))
    hear(shop, bells, 1, "Asia/Tokyo")
    shop.bring_forward()

    hear(shop, bells, 2, "America/New_York")

    assert queue.claim(shop.db, KIND) is not None


def test_a_release_with_a_new_schedule_gives_it_to_the_tenants_that_there_are(shop: Shop) -> None:
    hear(shop, service(Daily(at="06:00")), 1, "Asia/Tokyo")
    shop.ground.look("DELETE FROM timers")

    arrange_all(shop.db, handlers(Daily(at="06:00")).values())
    once = shop.rows("id")
    arrange_all(shop.db, handlers(Daily(at="06:00")).values())
    assert shop.rows("id") == once
    assert clocks(shop, "Asia/Tokyo") == [(KIND, "06:00")]

    arrange_all(shop.db, handlers(Daily(at="09:30")).values())

    assert clocks(shop, "Asia/Tokyo") == [(KIND, "09:30")]


def test_a_tenant_that_was_never_heard_of_has_none(shop: Shop) -> None:
    arrange_all(shop.db, handlers(Daily(at="06:00")).values())

    assert shop.rows("id") == []
    with shop.db.reading(Context(tenant=uuid7())) as session:
        assert session.scalar(text("SELECT count(*) FROM timers")) == 0
