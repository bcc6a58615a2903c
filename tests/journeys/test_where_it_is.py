"""An organisation says where it is, and every module knows it, also one that missed it."""

from collections.abc import Callable

from tests.system import SERVICES, Api, System, Tenant, wait_for


def kept(running: System, service: str, tenant: Tenant) -> tuple[str, str | None] | None:
    """What a module keeps of the organisation."""
    statement = "SELECT time_zone, country FROM tenant_settings WHERE tenant_id = %s"
    rows = running.rows(service, statement, (str(tenant.id),))
    return (rows[0]["time_zone"], rows[0]["country"]) if rows else None


def everybody_knows(running: System, tenant: Tenant, zone: str, country: str | None) -> bool:
    return all(kept(running, service, tenant) == (zone, country) for service in SERVICES)


def test_every_module_hears_where_an_organisation_is(
    running: System, tenant: Tenant, api: Api
) -> None:
    wait_for("UTC is known", lambda: everybody_knows(running, tenant, "UTC", None))

    api.change("/tenant", 1, time_zone="Europe/Paris", country="FR")

    wait_for("Paris is known", lambda: everybody_knows(running, tenant, "Europe/Paris", "FR"))
    assert api.see("/me")["tenant"]["time_zone"] == "Europe/Paris"


def test_a_module_that_has_lost_it_is_told_again(
    running: System, new_tenant: Callable[[str], Tenant]
) -> None:
    tenant = new_tenant("Moved")
    wait_for("UTC is known", lambda: everybody_knows(running, tenant, "UTC", None))
    running.rows("sales", "DELETE FROM tenant_settings WHERE tenant_id = %s", (str(tenant.id),))

    tenant.api.post("/modules/identity/resend").raise_for_status()

    wait_for("sales knows it again", lambda: kept(running, "sales", tenant) == ("UTC", None))
