"""What a module has lost it hears again from those who hold it, whatever happens meanwhile."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.system import PASSWORD, Api, System, Tenant, wait_for

COMPANIES = 1_200
MANY = 60_000

_FILL = """
INSERT INTO companies (id, tenant_id, name, external_id, emails, phones, addresses, tags, stage,
                       search, keys, version, created_at, updated_at)
SELECT gen_random_uuid(), %(tenant)s, 'Company ' || n, 'C-' || n, '[]', '[]', '[]', '{}', 'lead',
       'company ' || n || ' ', '{}', 1, now(), now()
FROM generate_series(1, %(number)s) AS n RETURNING id
"""
_HELD = """
SELECT id, name, external_id, owner_id, version FROM companies WHERE tenant_id = %s ORDER BY id
"""
_KEPT = """
SELECT id, name, external_id, owner_id, version FROM accounts
WHERE tenant_id = %s AND NOT removed ORDER BY id
"""
_USERS = "SELECT id, name, email, version FROM users WHERE tenant_id = %s ORDER BY id"
_OWNERS = "SELECT id, name, email, version FROM owners WHERE tenant_id = %s ORDER BY id"
_REPS = "SELECT id, name, email, version FROM reps WHERE tenant_id = %s AND active ORDER BY id"


def fill(running: System, tenant: Tenant, number: int) -> None:
    """Companies that no other module has heard of."""
    running.rows("contacts", _FILL, {"tenant": str(tenant.id), "number": number})


def of(running: System, tenant: Tenant, service: str, rows: str) -> list[dict[str, Any]]:
    return running.rows(service, rows, (str(tenant.id),))


def same(running: System, tenant: Tenant, held: tuple[str, str], kept: tuple[str, str]) -> bool:
    """Whether one module keeps exactly what the other holds."""
    return of(running, tenant, *held) == of(running, tenant, *kept)


def lose(running: System, tenant: Tenant, service: str, *tables: str) -> None:
    for table in tables:
        of(running, tenant, service, f"DELETE FROM {table} WHERE tenant_id = %s RETURNING id")


def resend(api: Api, module: str) -> Callable[[], dict[str, Any]]:
    """Start it; what is returned looks how far it is."""
    started = api.post(f"/modules/{module}/resend")
    assert started.status_code == 202, started.text
    path = started.headers["location"].removeprefix("/api/v1")
    return lambda: api.see(path)


def ended(job: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = job()
        return found if found["status"] in ("done", "failed", "cancelled") else None

    return wait_for("the resend ends", look, seconds=60)


@contextmanager
def people_at_work(api: Api) -> Iterator[None]:
    """Somebody adds, renames and deletes companies without pause."""
    started, stopping = threading.Event(), threading.Event()
    failed: list[Exception] = []

    def work() -> None:
        number = 0
        try:
            while not stopping.is_set():
                number += 1
                company = api.make("/companies", name=f"Meanwhile {number}")
                path = f"/companies/{company['id']}"
                company = api.change(path, company["version"], name=f"Renamed {number}")
                if number % 3 == 0:
                    headers = {"If-Match": f'"{company["version"]}"'}
                    api.delete(path, headers=headers).raise_for_status()
                    started.set()
        except Exception as error:
            failed.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        assert started.wait(30)
        yield
    finally:
        stopping.set()
        worker.join(30)
    assert not failed, failed


@pytest.mark.timeout(120)
def test_a_module_that_lost_what_it_kept_is_whole_again_while_people_go_on_writing(
    running: System, new_tenant: Callable[[], Tenant]
) -> None:
    tenant, other = new_tenant(), new_tenant()
    api = tenant.api
    fill(running, tenant, COMPANIES)
    theirs = other.api.make("/companies", name="Somebody else's")
    owner = api.make("/users", name="Anna Owner", email="anna@example.com")
    company = api.make("/companies", name="With a deal")
    deal = api.make("/opportunities", name="Big", company_id=company["id"])
    api.act(f"/opportunities/{deal['id']}/win", deal["version"])
    timeline = f"/companies/{company['id']}/timeline"
    wait_for("the deal is told", lambda: "deal_won" in str(api.see(timeline)))
    wait_for(
        "the other's company is known",
        lambda: same(running, other, ("contacts", _HELD), ("sales", _KEPT)),
    )
    gone = api.make("/companies", name="Gone meanwhile")
    lived = api.see(timeline)
    for one in (tenant, other):
        lose(running, one, "sales", "accounts", "reps")
        lose(running, one, "contacts", "owners")
    _remember_as_a_backup_does(running, tenant, api, gone)

    with people_at_work(api):
        jobs = [resend(api, module) for module in ("contacts", "identity", "sales")]
        told = [ended(job) for job in jobs]

    assert [job["status"] for job in told] == ["done"] * 3
    assert told[0]["done"] >= COMPANIES
    for what, held, kept in (
        ("accounts", ("contacts", _HELD), ("sales", _KEPT)),
        ("owners", ("identity", _USERS), ("contacts", _OWNERS)),
        ("reps", ("identity", _USERS), ("sales", _REPS)),
    ):
        wait_for(
            f"the {what} are whole again",
            lambda held=held, kept=kept: same(running, tenant, held, kept),  # type: ignore[misc]
        )
    assert owner["id"] in {row["id"] for row in of(running, tenant, "contacts", _OWNERS)}
    assert api.see(timeline) == lived
    assert api.see(f"/opportunities/{deal['id']}")["company_name"] == "With a deal"
    # Nobody has told anything of the other tenant, whose module still knows nothing.
    assert of(running, other, "sales", _KEPT) == of(running, other, "contacts", _OWNERS) == []
    assert ended(resend(other.api, "contacts"))["done"] == 1
    wait_for(
        "the other's own resend is heard",
        lambda: [row["id"] for row in of(running, other, "sales", _KEPT)] == [theirs["id"]],
    )


def _remember_as_a_backup_does(
    running: System, tenant: Tenant, api: Api, company: dict[str, Any]
) -> None:
    """Sales knows a company that was deleted after its backup was made."""
    api.delete(f"/companies/{company['id']}", headers={"If-Match": '"1"'}).raise_for_status()
    wait_for(
        "the deletion is told",
        lambda: running.rows("sales", "SELECT id FROM accounts WHERE id = %s", (company["id"],)),
    )
    running.rows(
        "sales",
        "UPDATE accounts SET removed = false, version = 1, name = 'Gone meanwhile'"
        " WHERE id = %s RETURNING id",
        (company["id"],),
    )
    assert company["id"] in {row["id"] for row in of(running, tenant, "sales", _KEPT)}


@pytest.mark.timeout(200)
def test_a_resend_can_be_cancelled_midway_and_started_again(
    running: System, new_tenant: Callable[[], Tenant]
) -> None:
    tenant = new_tenant()
    fill(running, tenant, MANY)
    job = resend(tenant.api, "contacts")
    wait_for("it is under way", lambda: job()["done"] > 0, every=0.01)

    id = job()["id"]
    tenant.api.post(f"/jobs/{id}/cancel").raise_for_status()
    stopped = ended(job)

    assert stopped["status"] == "cancelled"
    assert 0 < stopped["done"] < MANY
    wait_for(
        "what was told is heard",
        lambda: running.count("sales", "accounts", tenant.id) == stopped["done"],
        seconds=60,
    )
    assert ended(resend(tenant.api, "contacts"))["status"] == "done"
    wait_for(
        "all is heard",
        lambda: same(running, tenant, ("contacts", _HELD), ("sales", _KEPT)),
        seconds=60,
    )


@pytest.mark.timeout(200)
def test_a_resend_whose_process_is_killed_goes_on_where_it_was(
    running: System, new_tenant: Callable[[], Tenant]
) -> None:
    tenant = new_tenant()
    fill(running, tenant, MANY)
    job = resend(tenant.api, "contacts")
    wait_for("it is under way", lambda: job()["done"] > 0, every=0.01)

    running.kill("contacts")
    kept = of(running, tenant, "contacts", "SELECT done, status FROM jobs WHERE tenant_id = %s")[0]
    running.start_service("contacts")
    running.wait_until_whole()
    finished = ended(job)

    assert kept["status"] == "running", "it was over before it could be killed"
    assert 0 < kept["done"] < MANY
    assert (finished["status"], finished["done"]) == ("done", MANY)
    wait_for(
        "all is heard",
        lambda: same(running, tenant, ("contacts", _HELD), ("sales", _KEPT)),
        seconds=60,
    )


def test_only_a_module_that_is_there_tells_again_and_only_for_its_operator(
    running: System, new_tenant: Callable[[], Tenant]
) -> None:
    tenant = new_tenant()
    roles = tenant.api.see("/roles", external_id="sales_manager")["items"]
    email = f"rita@{tenant.slug}.example"
    tenant.api.make(
        "/users", name="Rita", email=email, password=PASSWORD, role_ids=[roles[0]["id"]]
    )

    refused = running.sign_in(email, tenant.slug).post("/modules/contacts/resend")
    nobody = tenant.api.post("/modules/marketing/resend")

    assert refused.status_code == 403
    assert nobody.status_code == 404
