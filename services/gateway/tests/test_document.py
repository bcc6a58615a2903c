"""The document, the pages, the menu and the figures are composed from the manifests."""

import gzip
import json
from typing import Any
from uuid import uuid4

import httpx
import jsonschema_rs
import pytest
from gateway_process import Gateway, eventually


@pytest.fixture
def document(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = gateway.http.get("/api/v1/openapi.json").json()
    return found


def test_the_document_has_every_operation_with_its_service(document: dict[str, Any]):
    assert document["openapi"] == "3.1.0"
    assert document["paths"]["/api/v1/contacts/{id}"]["get"]["tags"] == ["contacts"]
    assert document["paths"]["/api/v1/imports"]["get"]["tags"] == ["contacts", "sales"]
    assert document["paths"]["/api/v1/sign-in"]["post"]["security"] == []


def test_every_reference_leads_somewhere_and_every_schema_is_one(document: dict[str, Any]):
    def references(part: Any) -> Any:
        if isinstance(part, dict):
            for key, value in part.items():
                if key == "$ref":
                    yield value
                else:
                    yield from references(value)
        elif isinstance(part, list):
            for value in part:
                yield from references(value)

    schemas = document["components"]["schemas"]
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in schemas
    for schema in schemas.values():
        jsonschema_rs.meta.validate(schema)


def test_the_document_tells_what_the_gateway_itself_answers(
    document: dict[str, Any], api: httpx.Client
):
    schemas = document["components"]["schemas"]
    for path, query, answer in (
        ("/api/v1/search", {"q": "dupont"}, "SearchFound"),
        ("/api/v1/looking", {"record": "contacts", "id": str(uuid4())}, "Onlookers"),
    ):
        told = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        assert told["schema"]["$ref"].endswith(f"/{answer}")
        schema = {**told["schema"], "components": {"schemas": schemas}}
        found = api.get(path, params=query)
        # Its own properties and no others: what is said is what is answered.
        assert set(found.json()) == set(schemas[answer]["properties"])
        jsonschema_rs.validate(schema, found.json())


def test_two_services_may_name_different_things_alike(document: dict[str, Any]):
    schemas = document["components"]["schemas"]
    sales = document["paths"]["/api/v1/notes"]["post"]["requestBody"]["content"]
    contacts = document["paths"]["/api/v1/contacts"]["post"]["requestBody"]["content"]

    assert sales["application/json"]["schema"]["$ref"].endswith("/SalesNote")
    assert contacts["application/json"]["schema"]["$ref"].endswith("/Note")
    assert "amount" in schemas["SalesNote"]["properties"]


def test_an_operation_tells_its_headers_and_problems(document: dict[str, Any]):
    update = document["paths"]["/api/v1/contacts/{id}"]["patch"]

    named = {(p["in"], p["name"]): p["required"] for p in update["parameters"]}
    assert named["header", "If-Match"] is True
    assert named["path", "id"] is True
    assert {"200", "400", "401", "403", "404", "412", "413", "422", "428", "429", "503"} <= set(
        update["responses"]
    )


def test_the_document_is_compressed_and_cached(gateway: Gateway):
    url = f"{gateway.http.base_url}/api/v1/openapi.json"
    with httpx.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())
    plain = httpx.get(url, headers={"Accept-Encoding": "identity"})

    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == plain.content
    again = httpx.get(url, headers={"If-None-Match": plain.headers["etag"]})
    assert again.status_code == 304


def test_the_docs_page_needs_nothing_from_elsewhere(gateway: Gateway):
    page = gateway.http.get("/docs")

    policy = page.headers["content-security-policy"]
    assert page.status_code == 200
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "://" not in page.text
    for part in ("/docs/docs.css", "/docs/docs.js"):
        assert part in page.text
        assert gateway.http.get(part).status_code == 200


def test_the_menu_shows_what_the_role_may_read(gateway: Gateway, api: httpx.Client):
    with gateway.as_("nobody") as client:
        assert client.get("/api/v1/menu").json() == {"items": [], "mine": []}
    assert gateway.http.get("/api/v1/menu").status_code == 401
    (entry,) = api.get("/api/v1/menu").json()["items"]
    assert entry["path"] == "/contacts"
    assert entry["label"]["fr"] == "Personnes"
    (mine,) = api.get("/api/v1/menu").json()["mine"]
    assert (mine["query"], mine["service"]) == ({"owner_id": "me"}, "contacts")


def test_the_records_are_listed_with_their_service(api: httpx.Client):
    listed = api.get("/api/v1/records").json()["items"]

    # Other tests' modules may be there, too.
    assert [each["name"] for each in listed if each["service"] == "contacts"] == ["contacts"]
    assert all(each["service"] for each in listed)


def test_what_modules_tell_people_is_listed_under_whole_names(gateway: Gateway, api: httpx.Client):
    (kind,) = api.get("/api/v1/notification-kinds").json()["items"]

    assert (kind["name"], kind["service"]) == ("contacts.given", "contacts")
    assert gateway.http.get("/api/v1/notification-kinds").status_code == 401


def test_figures_name_the_route_not_the_address(gateway: Gateway, api: httpx.Client):
    api.get("/api/v1/contacts/12345")

    figures = gateway.ops.get("/metrics").text

    assert 'liaison_http_request_seconds_count{method="GET",route="/contacts/{id}"' in figures
    assert "12345" not in figures
    assert "liaison_bus_up 1.0" in figures
    # A gateway that has just come up listens for a while first.
    eventually(lambda: json.loads(gateway.ops.get("/health/ready").text)["ready"])
