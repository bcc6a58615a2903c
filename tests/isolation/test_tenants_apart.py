"""Tenants are kept apart by the database itself, also where a query forgets to filter."""

from typing import Any
from uuid import uuid4

import psycopg2.errors
import pytest
from tests.system import SERVICES, Api, System, Tenant, installed_services, run, wait_for

EVENT_TABLES = {"outbox", "inbox", "failed_events"}
"""The kit's own: they serve every tenant, and what shows them to people filters by tenant."""


@pytest.fixture(scope="module")
def other(running: System) -> Tenant:
    """Somebody else's organisation, with a person, a company and a deal."""
    tenant = running.tenant("Other")
    company = tenant.api.make("/companies", name="Geheim AG")
    tenant.api.make("/contacts", last_name="Geheim", company_id=company["id"])
    tenant.api.make("/opportunities", name="Geheim", company_id=company["id"])
    return tenant


@pytest.fixture(scope="module", autouse=True)
def own_person(tenant: Tenant) -> dict[str, Any]:
    return tenant.api.make("/contacts", last_name="Eigen")


def test_every_installed_service_is_looked_at() -> None:
    assert installed_services() == set(SERVICES)


def test_a_forgotten_filter_shows_nothing_without_a_tenant(running: System, other: Tenant) -> None:
    with running.as_service("contacts") as connection:
        assert run(connection, "SELECT * FROM people") == []


def test_a_forgotten_filter_shows_the_tenant_its_own_rows_only(
    running: System, tenant: Tenant, other: Tenant
) -> None:
    everybody = running.rows("contacts", "SELECT DISTINCT tenant_id FROM people")
    with running.as_service("contacts") as connection:
        run(connection, "SELECT set_config('liaison.tenant', %s, false)", (str(tenant.id),))
        seen = run(connection, "SELECT tenant_id, last_name FROM people")

    assert len(everybody) >= 2
    assert {row["tenant_id"] for row in seen} == {str(tenant.id)}
    assert "Geheim" not in {row["last_name"] for row in seen}


@pytest.mark.parametrize("view", ["people_found", "companies_found"])
def test_a_search_view_shows_the_tenant_its_own_rows_only(
    running: System, tenant: Tenant, other: Tenant, view: str
) -> None:
    with running.as_service("contacts") as connection:
        assert run(connection, f"SELECT * FROM {view}") == []
        run(connection, "SELECT set_config('liaison.tenant', %s, false)", (str(tenant.id),))
        seen = run(connection, f"SELECT tenant_id FROM {view}")
    assert {row["tenant_id"] for row in seen} <= {str(tenant.id)}


def test_a_row_of_another_tenant_can_not_be_written(
    running: System, tenant: Tenant, other: Tenant
) -> None:
    note = (
        "INSERT INTO notes (id, tenant_id, about, about_id, body, version, custom, created_at,"
        " updated_at) VALUES (%s, %s, 'contacts', %s, 'x', 1, '{}', now(), now())"
    )
    with running.as_service("contacts") as connection:
        run(connection, "SELECT set_config('liaison.tenant', %s, false)", (str(tenant.id),))
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="row-level security"):
            run(connection, note, (str(uuid4()), str(other.id), str(uuid4())))


def test_a_row_of_another_tenant_can_not_be_changed_deleted_or_given_away(
    running: System, tenant: Tenant, other: Tenant
) -> None:
    before = running.count("contacts", "people", other.id)
    with running.as_service("contacts") as connection:
        run(connection, "SELECT set_config('liaison.tenant', %s, false)", (str(tenant.id),))
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE people SET last_name = 'x' WHERE tenant_id = %s", (str(other.id),)
            )
            changed = cursor.rowcount
            cursor.execute("DELETE FROM people WHERE tenant_id = %s", (str(other.id),))
            deleted = cursor.rowcount
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="row-level security"):
            run(connection, "UPDATE people SET tenant_id = %s", (str(other.id),))

    assert (changed, deleted) == (0, 0)
    assert running.count("contacts", "people", other.id) == before


@pytest.mark.parametrize("service", SERVICES)
def test_the_role_of_a_service_can_not_get_round_the_rule(running: System, service: str) -> None:
    role = f"liaison_{service}"
    with running.as_service(service) as connection:
        who = run(
            connection,
            "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole FROM pg_roles"
            " WHERE rolname = current_user",
        )
        owned = run(
            connection,
            "SELECT relname FROM pg_class WHERE pg_get_userbyid(relowner) = current_user",
        )
        member_of = run(
            connection,
            "SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid"
            " WHERE m.member = (SELECT oid FROM pg_roles WHERE rolname = current_user)",
        )
        table = run(connection, "SELECT relname FROM pg_class WHERE relrowsecurity LIMIT 1")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(connection, f"ALTER TABLE {table[0]['relname']} DISABLE ROW LEVEL SECURITY")
        # Asked to do without the rule, the database refuses rather than to show everything.
        run(connection, "SET row_security = off")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(connection, f"SELECT * FROM {table[0]['relname']}")

    assert who == [
        {"rolname": role, "rolsuper": False, "rolbypassrls": False, "rolcreaterole": False}
    ]
    assert owned == []
    assert member_of == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_table_with_a_tenant_is_under_the_rule(running: System, service: str) -> None:
    tables = running.rows(
        service,
        "SELECT c.relname, c.relrowsecurity,"
        " (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid"
        "  AND p.polqual IS NOT NULL AND p.polwithcheck IS NOT NULL) AS policies"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
        " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace",
    )

    assert len(tables) > 5
    open_ones = {t["relname"] for t in tables if not (t["relrowsecurity"] and t["policies"] == 1)}
    assert open_ones <= EVENT_TABLES


@pytest.mark.parametrize("service", SERVICES)
def test_every_view_is_under_the_rule_or_hides_whose_rows_they_are(
    running: System, tenant: Tenant, other: Tenant, service: str
) -> None:
    views = running.rows(
        service,
        "SELECT relname FROM pg_class WHERE relkind = 'v'"
        " AND relnamespace = 'public'::regnamespace"
        " AND relname NOT IN ('job_queue', 'timer_queue', 'known_tenants', 'message_queue')",
    )
    with running.as_service(service) as connection:
        shown = {
            view["relname"]: run(connection, f"SELECT count(*) AS n FROM {view['relname']}")[0]["n"]
            for view in views
        }
    assert set(shown.values()) <= {0}, shown


def test_the_queue_of_jobs_tells_workers_nothing_that_a_tenant_wrote(running: System) -> None:
    columns = running.rows(
        "contacts",
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'job_queue'",
    )
    assert {column["column_name"] for column in columns} == {
        "id",
        "tenant_id",
        "status",
        "worker",
        "leased_until",
        "attempts",
        "started_at",
    }


def test_the_queue_of_messages_tells_senders_nothing_that_a_tenant_wrote(running: System) -> None:
    columns = running.rows(
        "connect",
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'message_queue'",
    )
    assert {column["column_name"] for column in columns} == {
        "id",
        "tenant_id",
        "urgent",
        "state",
        "attempts",
        "expires_at",
        "wake_at",
        "worker",
        "handed_at",
    }


# --- over HTTP -----------------------------------------------------------------------------------


def _ids_of(other: Tenant) -> dict[str, str]:
    return {
        record: other.api.see(f"/{record}", limit=1)["items"][0]["id"]
        for record in (
            "contacts",
            "companies",
            "opportunities",
            "pipelines",
            "users",
            "roles",
        )
    }


def test_a_record_of_another_tenant_is_answered_like_one_that_never_was(
    api: Api, other: Tenant
) -> None:
    for record, id in _ids_of(other).items():
        never = str(uuid4())
        for method, headers, body in (
            ("GET", {}, None),
            ("PATCH", {"If-Match": '"1"'}, {"name": "x"}),
            ("DELETE", {"If-Match": '"1"'}, None),
        ):
            if record == "contacts" and body:
                body = {"last_name": "x"}
            answers = [
                api.request(method, f"/{record}/{one}", headers=headers, json=body)
                for one in (id, never)
            ]
            told = [_without_ids(answer.json()) for answer in answers]

            assert [a.status_code for a in answers] == [404, 404], (record, method)
            assert told[0] == told[1], (record, method)


def _without_ids(problem: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in problem.items() if name != "trace_id"}


@pytest.mark.parametrize("path", ["timeline", "notes", "attachments"])
def test_what_hangs_on_a_record_of_another_tenant_is_not_found(
    api: Api, other: Tenant, path: str
) -> None:
    ids = _ids_of(other)
    for record in ("contacts", "companies"):
        assert api.get(f"/{record}/{ids[record]}/{path}").status_code == 404
    assert api.get(f"/opportunities/{ids['opportunities']}/stages").status_code == 404


@pytest.mark.parametrize(
    ("make", "field", "of"),
    [
        ("/contacts", "company_id", "companies"),
        ("/contacts", "owner_id", "users"),
        ("/companies", "parent_id", "companies"),
        ("/companies", "owner_id", "users"),
        ("/opportunities", "company_id", "companies"),
        ("/opportunities", "contact_id", "contacts"),
        ("/opportunities", "owner_id", "users"),
        ("/opportunities", "pipeline_id", "pipelines"),
        ("/users", "role_ids", "roles"),
        ("/users", "manager_id", "users"),
        ("/teams", "manager_id", "users"),
    ],
)
def test_a_reference_to_another_tenants_record_is_refused_like_one_to_nothing(
    api: Api, other: Tenant, make: str, field: str, of: str
) -> None:
    foreign = _ids_of(other)[of]
    told = []
    for id in (foreign, str(uuid4())):
        body: dict[str, Any] = {field: [id] if field.endswith("s") else id}
        body["last_name" if make == "/contacts" else "name"] = "x"
        answer = api.post(make, json=body)
        assert answer.status_code == 422, answer.text
        assert any(error["path"].startswith(field) for error in answer.json()["errors"])
        told.append(answer.text.replace(id, "").replace(answer.json()["trace_id"], ""))
    assert told[0] == told[1]


def test_a_search_over_all_modules_finds_nothing_of_another_tenant(api: Api, other: Tenant) -> None:
    wait_for("all modules answer", lambda: other.api.see("/search", q="geheim")["missing"] == [])

    found = {group["record"] for group in other.api.see("/search", q="geheim")["groups"]}
    assert {"contacts", "companies", "opportunities"} <= found
    assert api.see("/search", q="geheim")["groups"] == []


def test_who_looks_at_a_record_of_another_tenant_is_told_like_of_one_that_never_was(
    api: Api, other: Tenant
) -> None:
    for record, id in _ids_of(other).items():
        told = []
        for one in (id, str(uuid4())):
            look = {"screen": "s", "record": record, "id": one}
            for answer in (
                api.post("/looking", json=look),
                api.get("/looking", params={"record": record, "id": one}),
            ):
                assert answer.status_code == 404, answer.text
                told.append(_without_ids(answer.json()))
        assert told[0] == told[1] == told[2] == told[3]
        look = {"screen": "s", "record": record, "id": id}
        assert other.api.post("/looking", json=look).status_code == 200


def test_lists_and_searches_never_show_another_tenants_rows(api: Api, other: Tenant) -> None:
    for record in ("contacts", "companies", "opportunities"):
        assert api.see(f"/{record}", q="geheim", count="true")["count"] == 0
        shown = {item["id"] for item in api.every(f"/{record}")}
        assert not shown & {item["id"] for item in other.api.every(f"/{record}")}
