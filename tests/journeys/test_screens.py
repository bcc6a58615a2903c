"""A morning at the screens: whom one means is found, who else looks is seen, and what is mine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.system import PASSWORD, Api, System, Tenant, wait_for

SIREN = "732829320"


@pytest.fixture(scope="module")
def colleague(running: System, tenant: Tenant) -> tuple[str, Api]:
    """Somebody who sees everything that there is to sell to."""
    names = ("contacts", "companies", "opportunities")
    permissions = [f"{name}:{act}" for name in names for act in ("read", "write")]
    role = tenant.api.make("/roles", name="Rep", permissions=permissions)
    email = f"ada@{tenant.slug}.example"
    user = tenant.api.make(
        "/users", name="Ada", email=email, password=PASSWORD, role_ids=[role["id"]]
    )
    return user["id"], running.sign_in(email, tenant.slug)


@contextmanager
def live(api: Api) -> Iterator[Iterator[tuple[str, Any]]]:
    """What a screen hears: kinds of event and what they say."""

    def heard(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
        kind = "message"
        for line in lines:
            if line.startswith("event:"):
                kind = line.removeprefix("event:").strip()
            elif line.startswith("data:"):
                yield kind, json.loads(line.removeprefix("data:"))
                kind = "message"

    with api.stream("GET", "/live", timeout=30) as answer:
        yield heard(answer.iter_lines())


def found(api: Api, q: str) -> dict[str, list[dict[str, Any]]]:
    """What a search finds by kind of record, once every module has answered in time."""
    answer = wait_for(
        "every module answers",
        lambda: next((f for f in [api.see("/search", q=q)] if not f["missing"]), None),
    )
    return {group["record"]: group["items"] for group in answer["groups"]}


def test_one_finds_a_company_looks_at_it_with_a_colleague_and_enters_its_number(
    api: Api, colleague: tuple[str, Api]
) -> None:
    ada, hers = colleague
    company = api.make("/companies", name="Électricité du Rhône")
    deal = api.make("/opportunities", name="Rhône, ten robots", company_id=company["id"])
    wait_for("sales knows the company", lambda: _named(api, deal["id"]))

    # Some letters find the company and, for what is sold to it, the deal.
    shown = found(api, "rhone")
    assert [item["id"] for item in shown["companies"]] == [company["id"]]
    assert shown["opportunities"][0]["subtitle"].startswith("Électricité du Rhône")
    assert (shown["companies"][0]["how"], shown["opportunities"][0]["how"]) == ("word", "begins")

    # Both open the company, and each sees the other's face; then one goes.
    look = {"screen": "main", "record": "companies", "id": company["id"]}
    assert api.make("/looking", **look)["faces"] == []
    with live(api) as events:
        assert _faces(events, company["id"]) == []
        (me,) = hers.make("/looking", **look, typing=True)["faces"]
        assert me["user"] != ada
        assert _faces(events, company["id"]) == [{"user": ada, "name": "Ada", "typing": True}]
        hers.make("/looking", screen="main", record=None, id=None)
        assert _faces(events, company["id"]) == []

    # A plugin's action keeps the number, its panel shows it, lists find the company by it.
    (record,) = [r for r in api.see("/records")["items"] if r["name"] == "companies"]
    (action,), (panel,) = record["actions"], record["panels"]
    version = wait_for("contacts hears of the deal", lambda: _prospect(api, company["id"]))
    at = {"id": company["id"]}
    refused = api.post(
        action["endpoint"].format(**at),
        json={"form": {"number": "732829321"}},
        headers={"If-Match": f'"{version}"'},
    )
    assert [error["path"] for error in refused.json()["errors"]] == ["form.number"]
    changed = api.act(action["endpoint"].format(**at), version, form={"number": f"{SIREN}00074"})
    assert changed["custom"] == {"siren_number": SIREN}
    rows = api.see(panel["endpoint"].format(**at))["rows"]
    assert [row["value"] for row in rows] == ["732 829 320", f"FR44{SIREN}"]
    listed = api.see("/companies", **{"custom.siren_number": SIREN})["items"]
    assert [item["id"] for item in listed] == [company["id"]]


def test_home_shows_what_is_ones_own(api: Api, colleague: tuple[str, Api]) -> None:
    ada, hers = colleague
    mine = hers.make("/opportunities", name="Ada's own", owner_id=ada)
    api.make("/opportunities", name="Somebody's")

    lists = hers.see("/menu")["mine"]

    assert {each["name"] for each in lists} >= {"contacts", "companies", "open_opportunities"}
    shown = {each["name"]: hers.see(each["path"], **each["query"])["items"] for each in lists}
    assert [item["id"] for item in shown["open_opportunities"]] == [mine["id"]]


def _named(api: Api, deal: str) -> bool:
    return bool(api.see(f"/opportunities/{deal}")["company_name"])


def _prospect(api: Api, company: str) -> int | None:
    """The company's version once it is known that something is being sold to it."""
    read = api.see(f"/companies/{company}")
    return int(read["version"]) if read["stage"] == "opportunity" else None


def _faces(events: Iterator[tuple[str, Any]], id: str) -> list[dict[str, Any]]:
    """Who else looks at the record, as the next event that tells of it says."""
    return next(said["faces"] for kind, said in events if kind == "looking" and said["id"] == id)
