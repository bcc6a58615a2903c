"""The whole as its operator sees it: the composed API, jobs, health, and a module that is down."""

import time
from typing import Any

import httpx
import pytest
from tests.system import SERVICES, Api, System, wait_for


def test_the_api_describes_itself(running: System) -> None:
    document = httpx.get(f"{running.address}/api/v1/openapi.json", timeout=30).json()
    references = set(_references(document))
    schemas = document["components"]["schemas"]
    operations = [o for path in document["paths"].values() for o in path.values()]

    assert document["openapi"].startswith("3.1")
    assert {tag["name"] for tag in document["tags"]} == {"gateway", *SERVICES}
    assert {r.removeprefix("#/components/schemas/") for r in references} <= set(schemas)
    assert len({o["operationId"] for o in operations}) == len(operations) > 60
    assert all(o["summary"] for o in operations)
    for o in operations:
        in_path = {p["name"] for p in o["parameters"] if p["in"] == "path"}
        path = next(p for p, methods in document["paths"].items() if o in methods.values())
        assert in_path == {s[1:-1] for s in path.split("/") if s.startswith("{")}


def _references(node: Any) -> Any:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for part in node:
            yield from _references(part)


def test_every_schema_of_the_api_is_valid_json_schema(running: System) -> None:
    jsonschema_rs = pytest.importorskip("jsonschema_rs")
    document = httpx.get(f"{running.address}/api/v1/openapi.json", timeout=30).json()
    for name, schema in document["components"]["schemas"].items():
        jsonschema_rs.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        )
        assert schema, name


def test_every_process_tells_its_health_and_its_figures(running: System) -> None:
    for name, process in running.processes.items():
        ops = f"http://127.0.0.1:{process.ops_port}"
        assert httpx.get(f"{ops}/health/live", timeout=10).status_code == 200
        assert httpx.get(f"{ops}/health/ready", timeout=10).status_code == 200
        assert "liaison_" in httpx.get(f"{ops}/metrics", timeout=10).text, name


def test_jobs_menu_and_records_are_told_for_all_modules(api: Api) -> None:
    assert api.see("/jobs") == {"items": [], "next": None}
    assert {item["service"] for item in api.see("/menu")["items"]} == set(SERVICES)
    records = {item["name"] for item in api.see("/records")["items"]}
    assert {"contacts", "companies", "opportunities", "users"} <= records
    assert api.get("/jobs/0199f0a0-0000-7000-8000-000000000000").status_code == 404


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_module_that_is_down_is_named_and_the_others_go_on(
    running: System, api: Api, how: str
) -> None:
    patience = {"Liaison-Timeout": "3"}
    if how == "stopped":
        running.stop_process("sales")
    else:
        running.kill("sales")
    try:
        began = time.monotonic()
        refused = api.get("/opportunities", headers=patience)
        took = time.monotonic() - began

        assert refused.status_code == 503
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["service"] == "sales"
        # Its deadline of 3 s, and room for a busy machine.
        assert took < 6
        assert api.get("/contacts").status_code == 200
        assert api.get("/users").status_code == 200
        assert api.get("/jobs").status_code == 200
        paths = httpx.get(f"{running.address}/api/v1/openapi.json", timeout=10).json()["paths"]
        assert "/api/v1/contacts" in paths
    finally:
        running.start_service("sales")
    wait_for("sales is back", lambda: api.get("/opportunities").status_code == 200, seconds=30)
    running.wait_until_whole()


def test_an_opportunity_needs_contacts_only_for_the_person_it_names(
    running: System, api: Api
) -> None:
    person = api.make("/contacts", last_name="Buyer")
    deal = api.make("/opportunities", name="Desks")
    running.kill("contacts")
    try:
        refused = api.post("/opportunities", json={"name": "Chairs", "contact_id": person["id"]})
        api.act(f"/opportunities/{deal['id']}/move", 1, stage="engaging")

        assert refused.status_code == 503
        assert "contacts" in refused.json()["detail"]
        assert api.see("/opportunities", q="chairs")["items"] == []
    finally:
        running.start_service("contacts")
    running.wait_until_whole()
    assert api.make("/opportunities", name="Chairs", contact_id=person["id"])


def test_a_gateway_that_is_started_again_finds_everybody(running: System, api: Api) -> None:
    running.kill("gateway")
    running.start_gateway()
    running.wait_until_whole()

    assert api.get("/contacts").status_code == 200
