"""From a mail to a password: invitations and forgotten passwords, as somebody without scripts."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.mail_server import MailServer, link_in, text_of
from tests.system import PASSWORD, System, Tenant, wait_for

NEW = "another good long password"


@pytest.fixture
def browser(running: System) -> Iterator[httpx.Client]:
    """Somebody with a browser and nothing else; from a place where nobody has been."""
    number = uuid4().int
    way = httpx.HTTPTransport(local_address=f"127.{number % 250 + 1}.{number // 250 % 250}.7")
    with httpx.Client(base_url=running.address, transport=way, timeout=30) as client:
        yield client


def address() -> str:
    return f"zoe.{uuid4().hex[:12]}@example.com"


def invite(tenant: Tenant, email: str, **more: Any) -> dict[str, Any]:
    return tenant.api.make("/users", name="Zoé Martin", email=email, **more)


def choose(
    browser: httpx.Client, link: str, password: str = NEW, again: str = ""
) -> httpx.Response:
    return browser.post(link, data={"password": password, "again": again or password})


def settled(running: System, email: str) -> str:
    """What has become of the mails to somebody, once none waits."""

    def look() -> list[dict[str, Any]] | None:
        statement = "SELECT state FROM messages WHERE to_address = %s"
        rows = running.rows("connect", statement, (email,))
        ended = rows and not {row["state"] for row in rows} & {"queued", "claimed"}
        return rows if ended else None

    return " ".join(row["state"] for row in wait_for("mails have been sent", look))


def test_who_is_invited_chooses_a_password_and_signs_in(
    running: System, tenant: Tenant, mail: MailServer, browser: httpx.Client
) -> None:
    email = address()
    user = invite(tenant, email, locale="fr")
    letter = mail.wait_for(email)

    assert settled(running, email) == "sent"
    assert len(mail.to(email)) == 1
    assert "Bonjour Zoé Martin" in text_of(letter)
    assert not user["can_sign_in"]
    link = link_in(letter)
    assert link.startswith(f"{running.address}/p/identity/password/")
    sheet = browser.get(link)
    assert sheet.status_code == 200
    assert '<html lang="fr">' in sheet.text
    assert email in sheet.text
    assert "<script" not in sheet.text
    too_short = choose(browser, link, "short")
    different = choose(browser, link, NEW, NEW + "x")
    done = choose(browser, link)

    assert [too_short.status_code, different.status_code, done.status_code] == [422, 422, 200]
    assert 'role="alert"' in too_short.text
    assert running.sign_in(email, tenant.slug, NEW).see("/me")["user"]["id"] == user["id"]
    assert choose(browser, link).status_code == 404


def test_an_invitation_can_be_sent_again_and_the_first_one_ends(
    running: System, tenant: Tenant, mail: MailServer, browser: httpx.Client
) -> None:
    email = address()
    user = invite(tenant, email)
    first = link_in(mail.wait_for(email))

    again = tenant.api.post(f"/users/{user['id']}/invitation")
    second = link_in(mail.wait_for(email, 2))

    assert again.status_code == 200
    assert again.json()["expires_at"]
    assert choose(browser, first).status_code == 404
    assert choose(browser, second).status_code == 200
    assert tenant.api.post(f"/users/{user['id']}/invitation").json()["code"] == "has_password"


def test_nobody_is_invited_who_has_a_password_or_no_address_or_is_not_to_be(
    running: System, tenant: Tenant, mail: MailServer
) -> None:
    quiet = {"with": address(), "not yet": address(), "inactive": address()}

    invite(tenant, quiet["with"], password=PASSWORD)
    invite(tenant, quiet["not yet"], invite=False)
    invite(tenant, quiet["inactive"], active=False)
    tenant.api.make("/users", name="Nobody")
    last = address()
    invite(tenant, last)
    mail.wait_for(last)

    assert [mail.to(email) for email in quiet.values()] == [[], [], []]
    where = "to_address = ANY(%s)"
    found = running.rows(
        "connect", f"SELECT 1 FROM messages WHERE {where}", (list(quiet.values()),)
    )
    assert found == []


def test_a_forgotten_password_is_replaced_and_everything_signed_in_ends(
    running: System, tenant: Tenant, mail: MailServer, browser: httpx.Client
) -> None:
    email = address()
    invite(tenant, email, password=PASSWORD)
    before = running.sign_in(email, tenant.slug)
    token = running.api(before.make("/tokens", label="script")["token"])

    form = browser.get("/p/identity/forgotten")
    asked = browser.post("/p/identity/forgotten", data={"email": email, "organisation": ""})
    link = link_in(mail.wait_for(email))
    looked = [browser.get(link).status_code for _ in range(3)]
    done = choose(browser, link)

    assert form.status_code == asked.status_code == done.status_code == 200
    assert looked == [200, 200, 200]
    assert re.findall(r"<h1>(.+)</h1>", done.text) == ["Your password is set"]
    wait_for("old sessions have ended", lambda: before.get("/me").status_code == 401)
    wait_for("old tokens have ended", lambda: token.get("/me").status_code == 401)
    old = {"email": email, "password": PASSWORD, "tenant": tenant.slug}
    assert running.api().post("/sign-in", json=old).status_code == 401
    assert running.sign_in(email, tenant.slug, NEW).see("/me")["user"]["email"] == email


def test_a_program_resets_a_password_by_the_api(
    running: System, tenant: Tenant, mail: MailServer, browser: httpx.Client
) -> None:
    email = address()
    invite(tenant, email, password=PASSWORD)

    asked = browser.post("/api/v1/password-resets", json={"email": email, "tenant": tenant.slug})
    link = link_in(mail.wait_for(email)).rpartition("/")[2].partition("?")[0]
    body = {"link": link, "password": NEW}
    done = browser.post("/api/v1/password-resets/completion", json=body)
    again = browser.post("/api/v1/password-resets/completion", json=body)

    assert (asked.status_code, done.status_code) == (204, 204)
    assert (again.status_code, again.json()["code"]) == (404, "link_not_valid")
    assert running.sign_in(email, tenant.slug, NEW)


def test_who_works_for_two_organisations_gets_a_link_for_each(
    running: System, tenant: Tenant, mail: MailServer, browser: httpx.Client
) -> None:
    email, other = address(), running.tenant("Second")
    for place in (tenant, other):
        invite(place, email, password=PASSWORD)

    browser.post("/api/v1/password-resets", json={"email": email})
    letters = [mail.wait_for(email), mail.wait_for(email, 2)]

    places = {
        place.slug
        for place in (tenant, other)
        for letter in letters
        if place.slug in text_of(letter)
    }
    assert places == {tenant.slug, other.slug}
    mine = next(letter for letter in letters if other.slug in text_of(letter))
    assert choose(browser, link_in(mine)).status_code == 200
    assert running.sign_in(email, other.slug, NEW)
    assert running.sign_in(email, tenant.slug, PASSWORD)


def test_an_administrator_sees_that_an_invitation_was_refused(
    running: System, mail: MailServer
) -> None:
    api = running.tenant("Refused").api
    address = f"nobody.{uuid4().hex[:12]}@example.com"
    mail.plan(address, "RCPT", "550 nobody of that name")

    user = api.make("/users", name="Nobody", email=address)

    wait_for("it shows", lambda: api.see(f"/users/{user['id']}")["unreached"] == "refused")
    trail = [entry for entry in api.every("/audit") if entry["action"] == "letter_failed"]
    assert [entry["record_id"] for entry in trail] == [user["id"]]
