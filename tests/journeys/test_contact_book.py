"""A walk through contacts: people and companies, what hangs on them, and how they are found."""

import hashlib
import os
import threading
from typing import Any
from uuid import uuid4

import pytest
from tests.system import Api, System, Tenant

from liaison_kit.records.search import fold


def test_a_person_is_added_read_changed_and_deleted(api: Api) -> None:
    company = api.make("/companies", name="Électricité du Rhône", website="https://edr.example")
    person = api.make(
        "/contacts",
        first_name="Zoé",
        last_name="Lefèvre",
        company_id=company["id"],
        emails=[
            {"address": "zoe@edr.example"},
            {"address": "zoe.lefevre@home.example", "kind": "home"},
        ],
        phones=[{"number": "+33 1 42 68 53 00"}, {"number": "06 12 34 56 78", "kind": "mobile"}],
        addresses=[
            {"street": "1 rue de Rivoli", "city": "Paris", "country": "FR"},
            {"city": "Lyon", "kind": "home"},
        ],
        tags=["vip", "fr"],
    )

    read = api.see(f"/contacts/{person['id']}")
    assert {k: v for k, v in person.items() if k != "possible_duplicates"} == read
    assert read["company_name"] == "Électricité du Rhône"
    assert [e["address"] for e in read["emails"]] == ["zoe@edr.example", "zoe.lefevre@home.example"]
    assert read["phones"][0]["number"].replace(" ", "") == "+33142685300"
    assert [a["city"] for a in read["addresses"]] == ["Paris", "Lyon"]

    changed = api.change(f"/contacts/{person['id']}", read["version"], title="Directrice")
    assert changed["version"] == read["version"] + 1
    assert {k: v for k, v in changed.items() if k not in ("version", "title", "updated_at")} == {
        k: v for k, v in read.items() if k not in ("version", "title", "updated_at")
    }

    stale = api.delete(f"/contacts/{person['id']}", headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    gone = api.delete(f"/contacts/{person['id']}", headers={"If-Match": f'"{changed["version"]}"'})
    assert gone.status_code == 204
    assert api.get(f"/contacts/{person['id']}").status_code == 404


def test_a_company_has_a_parent_and_never_belongs_to_itself(api: Api) -> None:
    parent = api.make("/companies", name="Holding")
    child = api.make(
        "/companies",
        name="Filiale",
        parent_id=parent["id"],
        annual_revenue={"amount": "1234567.89", "currency": "EUR"},
        employees=12,
        industry="software",
    )

    assert child["parent_name"] == "Holding"
    assert child["annual_revenue"] == {"amount": "1234567.89", "currency": "EUR"}
    # A company can't come to belong to itself by a detour.
    circle = api.patch(
        f"/companies/{parent['id']}",
        json={"parent_id": child["id"]},
        headers={"If-Match": f'"{parent["version"]}"'},
    )
    assert circle.status_code in (409, 422)


@pytest.mark.parametrize(
    "asked", ["lefevre", "LEFÈVRE", "efèv", "zoe lef", "searched@x.example", "5300111", "3300 11"]
)
def test_people_are_found_by_part_of_name_mail_or_phone_accents_or_not(
    api: Api, asked: str
) -> None:
    if not api.see("/contacts", q="searched@x.example")["items"]:
        api.make(
            "/contacts",
            first_name="Zoé",
            last_name="Lefèvre",
            emails=[{"address": "searched@x.example"}],
            phones=[{"number": "+33142530011"}, {"number": "+33145300111"}],
        )
        api.make("/contacts", last_name="Somebody else")

    found = api.see("/contacts", q=asked, count="true")

    if asked == "3300 11":
        assert found["count"] in (0, 1)
    else:
        assert found["count"] == 1
        assert found["items"][0]["last_name"] == "Lefèvre"


def test_notes_are_written_rewritten_and_seen_on_the_timeline(api: Api) -> None:
    person = api.make("/contacts", last_name="Noted")
    note = api.make(f"/contacts/{person['id']}/notes", body="Called, wants a quote. Ça ira 😀")

    again = api.change(f"/notes/{note['id']}", note["version"], body="Wants two quotes.")

    listed = api.see(f"/contacts/{person['id']}/notes")["items"]
    assert [n["body"] for n in listed] == ["Wants two quotes."]
    timeline = api.see(f"/contacts/{person['id']}/timeline")["items"]
    assert [entry["kind"] for entry in timeline] == ["note", "created"]
    header = {"If-Match": f'"{again["version"]}"'}
    assert api.delete(f"/notes/{note['id']}", headers=header).status_code == 204
    assert api.see(f"/contacts/{person['id']}/notes")["items"] == []


@pytest.mark.parametrize("size", [0, 1, 512 * 1024, 2_000_003])
def test_an_attachment_comes_back_byte_for_byte(api: Api, size: int) -> None:
    person = api.make("/contacts", last_name="Holder")
    content = os.urandom(size)
    name = f"Angebot für Zoé {size}.bin"

    up = api.post(
        f"/contacts/{person['id']}/attachments",
        files={"file": (name, content, "application/x-secret")},
    )
    assert up.status_code == 201, up.text
    kept = up.json()
    down = api.get(f"/attachments/{kept['id']}/content")

    assert (kept["name"], kept["size"]) == (name, size)
    assert hashlib.sha256(down.content).digest() == hashlib.sha256(content).digest()
    assert down.headers["content-type"] == "application/x-secret"
    assert down.headers["content-disposition"].startswith("attachment")
    assert api.delete(f"/attachments/{kept['id']}").status_code == 204
    assert api.get(f"/attachments/{kept['id']}/content").status_code == 404


def test_custom_fields_are_checked_kept_and_filtered_by(api: Api) -> None:
    fields: list[dict[str, Any]] = [
        {"name": "shoe_size", "kind": "number"},
        {"name": "segment", "kind": "choice", "choices": ["A", "B"]},
        {"name": "since", "kind": "date"},
        {"name": "newsletter", "kind": "boolean"},
        {"name": "motto", "kind": "text"},
    ]
    for field in fields:
        made = api.post(
            "/custom-fields",
            params={"record": "contacts"},
            json={**field, "label": {"en": field["name"], "fr": field["name"]}},
        )
        assert made.status_code == 201, made.text
    custom = {"shoe_size": 42.5, "segment": "A", "since": "2024-02-29", "newsletter": True}
    api.make("/contacts", last_name="Custom", custom={**custom, "motto": "Ça va"})
    api.make("/contacts", last_name="Customless", custom={"shoe_size": 39, "segment": "B"})

    def found(**query: str) -> list[str]:
        return [item["last_name"] for item in api.every("/contacts", sort="last_name", **query)]

    assert found(**{"custom.segment": "A"}) == ["Custom"]
    assert found(**{"custom.shoe_size[gte]": "40"}) == ["Custom"]
    assert found(**{"custom.shoe_size[lt]": "40"}) == ["Customless"]
    assert found(**{"custom.newsletter": "true"}) == ["Custom"]
    assert found(**{"custom.since": "2024-02-29"}) == ["Custom"]
    bad = {"shoe_size": "big", "segment": "C", "since": "2023-02-29", "unheard_of": 1}
    refused = api.post("/contacts", json={"last_name": "x", "custom": bad})
    assert refused.status_code == 422
    assert {error["path"] for error in refused.json()["errors"]} == {f"custom.{n}" for n in bad}


def test_a_custom_field_is_called_otherwise_and_goes_with_its_values(api: Api) -> None:
    new = {"name": "pet", "kind": "choice", "choices": ["cat", "dog"]}
    here = {"params": {"record": "contacts"}}
    label = {"en": "Pet", "fr": "Animal"}
    made = api.post("/custom-fields", json=new | {"label": label}, **here).json()
    ada = api.make("/contacts", last_name="Petted", custom={"pet": "cat"})
    one = f"/custom-fields/{made['id']}"

    changed = api.change(one, 1, label={"en": "Companion", "fr": "Compagnon"})
    asked = api.patch(one, json={"choices": ["dog"]}, headers={"If-Match": '"2"'})
    blind = api.patch(one, json={"required": True})
    renamed = api.patch(one, json={"name": "beast"}, headers={"If-Match": '"2"'})

    assert (changed["label"]["en"], changed["version"]) == ("Companion", 2)
    assert (asked.status_code, asked.json()["code"]) == (409, "choice_in_use")
    assert (blind.status_code, renamed.status_code) == (428, 422)
    assert api.delete(one).status_code == 204
    assert api.see(f"/contacts/{ada['id']}")["custom"] == {}
    again = {"name": "pet", "kind": "number", "label": label}
    made = api.post("/custom-fields", json=again, **here).json()
    assert api.see(f"/contacts/{ada['id']}")["custom"] == {}
    assert [each["action"] for each in api.see(f"{one}/history")["items"]] == [
        "removed",
        "changed",
        "created",
    ]
    api.delete(f"/custom-fields/{made['id']}")


def test_a_stale_version_gets_412_and_the_record_as_it_is(api: Api) -> None:
    person = api.make("/contacts", last_name="Contended")
    api.change(f"/contacts/{person['id']}", 1, title="First")

    late = api.patch(
        f"/contacts/{person['id']}", json={"title": "Second"}, headers={"If-Match": '"1"'}
    )
    blind = api.patch(f"/contacts/{person['id']}", json={"title": "Third"})

    assert late.status_code == 412
    assert late.json()["current"] == api.see(f"/contacts/{person['id']}")
    assert late.json()["current"]["title"] == "First"
    assert blind.status_code == 428


def test_the_same_idempotency_key_gets_the_first_answer(api: Api) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    first = api.post("/contacts", json={"last_name": "Once"}, headers=key)
    again = api.post("/contacts", json={"last_name": "Once"}, headers=key)
    other = api.post("/contacts", json={"last_name": "Twice"}, headers=key)

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert first.headers["etag"] == again.headers["etag"]
    assert other.status_code == 422
    assert other.json()["errors"][0]["path"] == "Idempotency-Key"


def test_twin_calls_with_one_key_make_one_record(running: System, tenant: Tenant, api: Api) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    name = f"Twin {uuid4()}"
    answers: list[Any] = []
    gate = threading.Barrier(6)

    def call() -> None:
        gate.wait()
        answers.append(api.post("/companies", json={"name": name}, headers=key))

    callers = [threading.Thread(target=call) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert api.see("/companies", q=name.split()[1], count="true")["count"] == 1


def test_a_failed_call_does_not_use_its_key_up(api: Api) -> None:
    key = {"Idempotency-Key": str(uuid4())}

    refused = api.post("/contacts", json={}, headers=key)
    made = api.post("/contacts", json={"last_name": "Better"}, headers=key)

    assert (refused.status_code, made.status_code) == (422, 201)


@pytest.mark.parametrize(
    ("record", "sort"),
    [
        ("companies", "name"),
        ("companies", "-name"),
        ("companies", "-updated_at"),
        ("companies", "created_at"),
        ("contacts", "last_name"),
        ("opportunities", "expected_close"),
        ("opportunities", "-expected_close"),
    ],
)
@pytest.mark.parametrize("limit", [1, 3, 7])
def test_pages_make_the_whole_sorted_list_without_gap_or_repeat(
    pages: Tenant, record: str, sort: str, limit: int
) -> None:
    whole = pages.api.see(f"/{record}", sort=sort, limit=200, count="true")
    field, descending = sort.lstrip("-"), sort.startswith("-")

    paged = pages.api.every(f"/{record}", sort=sort, limit=limit)

    assert whole["next"] is None
    assert [item["id"] for item in paged] == [item["id"] for item in whole["items"]]
    assert len({item["id"] for item in paged}) == len(paged) == whole["count"] >= 15
    known = [item[field] for item in paged if item[field] is not None]
    in_order = [fold(value) if "name" in field else value for value in known]
    assert in_order == sorted(in_order, reverse=descending)
    # What has no value comes last, whichever way round.
    assert all(item[field] is None for item in paged[len(known) :])


@pytest.fixture(scope="module")
def pages(running: System) -> Tenant:
    """A tenant with records that share values and have none."""
    tenant = running.tenant("Pages")
    for number in range(16):
        name = ("Alpha", "alpha", "Éclair", "Zoo")[number % 4]
        tenant.api.make("/companies", name=name)
        tenant.api.make("/contacts", last_name=name if number % 5 else "", first_name="A")
        close = [None, "2025-01-31", "2025-02-28"][number % 3]
        tenant.api.make("/opportunities", name=name, expected_close=close)
    return tenant


def test_who_may_exist_already_is_told_with_the_reason(api: Api) -> None:
    first = api.make(
        "/contacts",
        first_name="Jean",
        last_name="Dupontel",
        emails=[{"address": "jean.dupontel@example.com"}],
    )

    second = api.make(
        "/contacts",
        first_name="Jean",
        last_name="Dupontel",
        emails=[{"address": "jean.dupontel@example.com"}],
    )

    assert first["possible_duplicates"] == []
    warning = second["possible_duplicates"][0]
    assert warning["id"] == first["id"]
    assert warning["reason"]
    assert warning["score"] > 0.5


def test_history_tells_who_changed_what(api: Api) -> None:
    me = api.see("/me")["user"]["id"]
    person = api.make("/contacts", last_name="Before")
    api.change(f"/contacts/{person['id']}", person["version"], last_name="After")

    entry = api.see("/history", record="contacts", id=person["id"])["items"][0]

    assert entry["by"] == me
    assert entry["changes"]["last_name"] == {"before": "Before", "after": "After"} or (
        entry["changes"]["last_name"] == ["Before", "After"]
    )
