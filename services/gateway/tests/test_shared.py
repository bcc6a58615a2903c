"""Addresses that several services answer together."""

import httpx
from gateway_peer import Peer
from gateway_process import Gateway

CONTACTS_IMPORT = "0199f0a0-0000-7000-8000-00000000000c"
SALES_IMPORT = "0199f0a0-0000-7000-8000-00000000000d"


def test_whoever_has_the_record_answers(api: httpx.Client):
    assert api.get(f"/api/v1/imports/{CONTACTS_IMPORT}").json()["service"] == "contacts"
    assert api.get(f"/api/v1/imports/{SALES_IMPORT}").json()["service"] == "sales"


def test_the_owner_is_remembered(api: httpx.Client, contacts: Peer):
    api.get(f"/api/v1/imports/{SALES_IMPORT}")
    before = len(contacts.calls)

    api.get(f"/api/v1/imports/{SALES_IMPORT}")

    assert len(contacts.calls) == before


def test_a_file_comes_from_the_service_that_has_the_record(api: httpx.Client):
    first = api.get(f"/api/v1/imports/{SALES_IMPORT}/rest")
    remembered = api.get(f"/api/v1/imports/{SALES_IMPORT}/rest")

    assert (first.status_code, first.text) == (200, "sales' own")
    assert (remembered.status_code, remembered.text) == (200, "sales' own")
    assert api.get(f"/api/v1/imports/{CONTACTS_IMPORT}/rest").status_code == 200


def test_a_record_that_nobody_has_is_404(api: httpx.Client):
    assert api.get("/api/v1/imports/0199f0a0-0000-7000-8000-0000000000ff").status_code == 404


def test_the_record_parameter_chooses_the_service(api: httpx.Client):
    answer = api.post("/api/v1/imports?record=opportunities&name=deals.csv", content=b"a,b")

    assert answer.status_code == 202
    assert answer.json()["service"] == "sales"
    assert answer.json()["file"]["name"] == "deals.csv"


def test_an_unknown_record_is_422_and_names_the_known(api: httpx.Client):
    for query in ("", "?record=cats"):
        answer = api.post(f"/api/v1/imports{query}", content=b"a,b")

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["path"] == "record"
        assert "companies, contacts, opportunities" in answer.json()["detail"]


def test_lists_are_merged_newest_first_and_paged(api: httpx.Client):
    seen: list[tuple[str, str]] = []
    cursor = ""
    while True:
        page = api.get(f"/api/v1/imports?limit=2{cursor}").json()
        seen += [(item["id"][-1], item["service"]) for item in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"

    assert seen == [
        ("5", "contacts"),
        ("4", "sales"),
        ("3", "contacts"),
        ("2", "sales"),
        ("1", "contacts"),
    ]


def test_a_missing_permission_is_403(gateway: Gateway):
    with gateway.as_("nobody") as client:
        assert client.post("/api/v1/imports?record=contacts", content=b"a").status_code == 403
