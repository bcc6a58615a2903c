"""A walk through people and rights: users, teams, roles, tokens, and whose rows they show."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.system import PASSWORD, Api, System, Tenant, wait_for

AddUser = Callable[..., tuple[dict[str, Any], Api]]


@pytest.fixture
def add_user(running: System, tenant: Tenant) -> AddUser:
    """Adds a user with a role of their own, and signs them in."""

    def add(
        name: str,
        *permissions: str,
        rows: dict[str, str] | None = None,
        team_id: str | None = None,
    ) -> tuple[dict[str, Any], Api]:
        mark = uuid4().hex[:8]
        role = tenant.api.make(
            "/roles", name=f"{name} {mark}", permissions=permissions, rows=rows or {}
        )
        user = tenant.api.make(
            "/users",
            name=name,
            email=f"{name.lower()}.{mark}@example.com",
            password=PASSWORD,
            role_ids=[role["id"]],
            team_id=team_id,
        )
        return user, running.sign_in(user["email"], tenant.slug)

    return add


def test_who_signs_in_gets_a_token_a_cookie_and_their_own_name(
    running: System, tenant: Tenant
) -> None:
    answer = running.api().post(
        "/sign-in", json={"email": tenant.email, "password": PASSWORD, "tenant": tenant.slug}
    )

    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite" in cookie
    me = running.api(answer.json()["token"]).see("/me")
    assert (me["user"]["email"], me["tenant"]["slug"]) == (tenant.email, tenant.slug)
    assert me["permissions"] == ["*"]


def test_a_wrong_password_and_an_unknown_address_are_told_alike(
    running: System, tenant: Tenant
) -> None:
    stranger = running.api()
    answers = [
        stranger.post("/sign-in", json={"email": email, "password": "wrong " + PASSWORD})
        for email in (tenant.email, "nobody@example.com")
    ]

    assert [answer.status_code for answer in answers] == [401, 401]
    told = [{k: v for k, v in a.json().items() if k != "trace_id"} for a in answers]
    assert told[0] == told[1]


def test_guessers_keep_nobody_out_who_is_where_they_usually_are(
    running: System, tenant: Tenant, add_user: AddUser
) -> None:
    user, _at_home = add_user("Guessed", "contacts:read")

    def sign_in(source: str, password: str = PASSWORD) -> int:
        who = {"email": user["email"], "password": password, "tenant": tenant.slug}
        way = httpx.HTTPTransport(local_address=source)
        with httpx.Client(base_url=f"{running.address}/api/v1", transport=way) as client:
            return client.post("/sign-in", json=who, timeout=30).status_code

    guesses = [sign_in(f"127.0.1.{n}", "wrong " + PASSWORD) for n in range(1, 13)]

    assert guesses == [401] * 12
    assert sign_in("127.0.0.1") == 200
    assert sign_in("127.0.2.1") == 401


def test_who_signs_out_is_out_at_once(running: System, tenant: Tenant) -> None:
    way_in = running.sign_in(tenant.email, tenant.slug)
    assert way_in.get("/me").status_code == 200

    assert way_in.post("/sign-out").status_code == 204

    assert way_in.get("/me").status_code == 401


def test_a_role_allows_what_it_says_and_nothing_else(api: Api, add_user: AddUser) -> None:
    _user, reader = add_user("Reader", "contacts:read")
    person = api.make("/contacts", last_name="Visible")

    assert reader.see(f"/contacts/{person['id']}")["last_name"] == "Visible"
    for refused in (
        reader.post("/contacts", json={"last_name": "x"}),
        reader.get("/companies"),
        reader.get("/users"),
        reader.get("/audit"),
        reader.get("/parked-events"),
    ):
        assert refused.status_code == 403, refused.request.url
        assert refused.headers["content-type"] == "application/problem+json"


def test_a_changed_role_is_felt_at_the_next_request(api: Api, add_user: AddUser) -> None:
    user, reader = add_user("Growing", "contacts:read")
    assert reader.get("/companies").status_code == 403
    role = api.see(f"/roles/{user['role_ids'][0]}")

    api.change(
        f"/roles/{role['id']}", role["version"], permissions=["contacts:read", "companies:read"]
    )

    wait_for("the new right", lambda: reader.get("/companies").status_code == 200, seconds=5)


def test_a_user_who_is_given_another_role_feels_it_soon(api: Api, add_user: AddUser) -> None:
    user, reader = add_user("Moving", "contacts:read")
    assert reader.get("/contacts").status_code == 200
    role = api.make("/roles", name=f"Nothing {uuid4().hex[:8]}", permissions=[])

    api.change(f"/users/{user['id']}", user["version"], role_ids=[role["id"]])

    # Far less than the time that a gateway may remember a caller for.
    wait_for("the lost right", lambda: reader.get("/contacts").status_code == 403, seconds=8)


def test_nobody_gives_rights_that_they_do_not_have(add_user: AddUser) -> None:
    _user, clerk = add_user("Clerk", "roles:read", "roles:write")

    refused = clerk.post("/roles", json={"name": "Mighty", "permissions": ["audit:read"]})

    assert refused.status_code == 403


def test_a_token_can_be_narrower_than_its_owner(running: System, api: Api) -> None:
    issued = api.make("/tokens", label="export", permissions=["contacts:read"])
    machine = running.api(issued["token"])

    assert machine.get("/contacts").status_code == 200
    assert machine.post("/contacts", json={"last_name": "x"}).status_code == 403
    assert machine.get("/companies").status_code == 403
    assert api.delete(f"/tokens/{issued['id']}").status_code == 204
    wait_for("the end of the token", lambda: machine.get("/contacts").status_code == 401, seconds=8)


def test_a_token_never_allows_more_than_its_owner(running: System, add_user: AddUser) -> None:
    _user, reader = add_user("Narrow", "contacts:read")

    answer = reader.post("/tokens", json={"label": "more", "permissions": ["companies:read"]})

    if answer.status_code == 201:
        assert running.api(answer.json()["token"]).get("/companies").status_code == 403
    else:
        assert answer.status_code in (403, 422)


def test_own_team_and_all_rows(api: Api, add_user: AddUser) -> None:
    may = ("opportunities:read", "opportunities:write", "contacts:read", "contacts:write")
    team = api.make("/teams", name=f"East {uuid4().hex[:8]}", region="East")

    def rule(of: str) -> dict[str, str]:
        return {"opportunities": of, "contacts": of}

    rita, as_rita = add_user("Rita", *may, rows=rule("own"), team_id=team["id"])
    max_, as_max = add_user("Max", *may, rows=rule("team"), team_id=team["id"])
    zoe, as_zoe = add_user("Zoe", *may, rows=rule("all"))
    people = {"Rita": rita, "Max": max_, "Zoe": zoe}
    deals = {
        n: api.make("/opportunities", name=f"of {n}", owner_id=u["id"]) for n, u in people.items()
    }
    for record in ("contacts",):
        for name, user in people.items():
            wait_for(
                f"{record} knows {name}",
                lambda name=name, user=user: (
                    api.post(
                        "/contacts", json={"last_name": f"of {name}", "owner_id": user["id"]}
                    ).status_code
                    == 201
                ),
            )
    mine = ("of Rita", "of Max", "of Zoe")

    def seen(way_in: Api, record: str, field: str) -> set[str]:
        return {i[field] for i in way_in.every(f"/{record}") if i[field] in mine}

    for record, field in (("opportunities", "name"), ("contacts", "last_name")):
        assert seen(as_rita, record, field) == {"of Rita"}
        assert seen(as_max, record, field) == {"of Rita", "of Max"}
        assert seen(as_zoe, record, field) == set(mine)
    foreign = f"/opportunities/{deals['Max']['id']}"
    version = {"If-Match": f'"{deals["Max"]["version"]}"'}
    assert as_rita.get(foreign).status_code == 404
    assert as_rita.patch(foreign, json={"name": "x"}, headers=version).status_code == 404
    assert as_rita.delete(foreign, headers=version).status_code == 404
    assert as_rita.post(f"{foreign}/win", json={}, headers=version).status_code == 404
    assert as_rita.get(f"{foreign}/stages").status_code == 404
    assert as_rita.see("/sales/summary")["total"]["count"] == 1
    assert as_max.see(foreign)["name"] == "of Max"


def test_row_rules_hold_for_what_hangs_on_a_record(api: Api, add_user: AddUser) -> None:
    _sam, as_sam = add_user("Sam", "contacts:read", "contacts:write", rows={"contacts": "own"})
    person = api.make("/contacts", last_name="Not Sam's")
    note = api.make(f"/contacts/{person['id']}/notes", body="confidential")
    file = api.post(
        f"/contacts/{person['id']}/attachments",
        params={"name": "secret.txt"},
        content=b"secret",
        headers={"Content-Type": "application/octet-stream"},
    ).json()
    version = {"If-Match": '"1"'}

    answers = {
        "person": as_sam.get(f"/contacts/{person['id']}"),
        "timeline": as_sam.get(f"/contacts/{person['id']}/timeline"),
        "notes": as_sam.get(f"/contacts/{person['id']}/notes"),
        "content": as_sam.get(f"/attachments/{file['id']}/content"),
        "rewrite": as_sam.patch(f"/notes/{note['id']}", json={"body": "x"}, headers=version),
        "delete note": as_sam.delete(f"/notes/{note['id']}", headers=version),
        "delete file": as_sam.delete(f"/attachments/{file['id']}"),
    }

    assert {what: answer.status_code for what, answer in answers.items()} == dict.fromkeys(
        answers, 404
    )


def test_the_audit_trail_tells_who_did_what(api: Api, tenant: Tenant) -> None:
    team = api.make("/teams", name=f"Audited {uuid4().hex[:8]}")

    entry = next(e for e in api.see("/audit")["items"] if e["record_id"] == team["id"])

    assert entry["by_name"] == "Ada Admin"
    assert entry["record"] == "teams"


def test_a_browser_needs_more_than_the_cookie_to_change_something(
    running: System, tenant: Tenant
) -> None:
    with httpx.Client(base_url=f"{running.address}/api/v1", timeout=30) as browser:
        signed_in = browser.post(
            "/sign-in", json={"email": tenant.email, "password": PASSWORD, "tenant": tenant.slug}
        )
        assert signed_in.status_code == 200
        assert browser.get("/me").status_code == 200
        bare = browser.post("/teams", json={"name": "forged"})
        csrf = {"X-CSRF-Token": browser.cookies["liaison_csrf"]}
        ours = browser.post("/teams", json={"name": f"real {uuid4().hex[:8]}"}, headers=csrf)
        other_site = browser.post(
            "/teams", json={"name": "forged"}, headers={**csrf, "Origin": "https://evil.example"}
        )

    assert (bare.status_code, ours.status_code, other_site.status_code) == (403, 201, 403)
