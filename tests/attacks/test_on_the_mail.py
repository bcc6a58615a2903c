"""Whoever has no link gets in by none: links are not guessed, reused, moved, or sent elsewhere."""

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.mail_server import MailServer, link_in, text_of
from tests.system import PASSWORD, System, Tenant, wait_for

NEW = "another good long password"


@pytest.fixture
def stranger(running: System) -> Iterator[httpx.Client]:
    """Somebody elsewhere, from a place where nobody has been."""
    number = uuid4().int
    way = httpx.HTTPTransport(local_address=f"127.{number % 250 + 1}.{number // 250 % 250}.8")
    with httpx.Client(base_url=running.address, transport=way, timeout=30) as client:
        yield client


@pytest.fixture
def victim(tenant: Tenant) -> dict[str, Any]:
    """Somebody with a password."""
    email = f"vera.{uuid4().hex[:12]}@example.com"
    return tenant.api.make("/users", name="Vera", email=email, password=PASSWORD)


@pytest.fixture
def link(stranger: httpx.Client, mail: MailServer, victim: dict[str, Any]) -> str:
    """The link that the victim has been mailed."""
    stranger.post("/api/v1/password-resets", json={"email": victim["email"]})
    return link_in(mail.wait_for(victim["email"]))


def set_by(client: httpx.Client, link: str, password: str = NEW) -> int:
    """Try a link both ways; the status that both gave."""
    text = link.rpartition("/")[2].partition("?")[0]
    by_api = client.post(
        "/api/v1/password-resets/completion", json={"link": text, "password": password}
    )
    by_page = client.post(link, data={"password": password, "again": password})
    assert by_api.status_code == by_page.status_code, (by_api.text, by_page.text)
    return by_api.status_code


def still_signs_in(running: System, tenant: Tenant, victim: dict[str, Any]) -> bool:
    return bool(running.sign_in(victim["email"], tenant.slug, PASSWORD).see("/me"))


def test_a_link_is_not_made_up_nor_turned_into_another(
    running: System, tenant: Tenant, stranger: httpx.Client, victim: dict[str, Any], link: str
) -> None:
    place, _, rest = link.rpartition("/")
    text = rest.partition("?")[0]
    kid, said, signature = text.split(".")

    for forged in (
        "x",
        text[:-1],
        text + "x",
        f"{kid}.{said[:-2]}AA.{signature}",
        f"{kid}.{said}.{'A' * 86}",
        f"none.{said}.{signature}",
        "%2e%2e%2f" + text,
    ):
        assert set_by(stranger, f"{place}/{forged}") == 404, forged
    assert still_signs_in(running, tenant, victim)


def test_an_expired_link_sets_nothing(
    running: System, tenant: Tenant, stranger: httpx.Client, victim: dict[str, Any], link: str
) -> None:
    with running.database(running.roles("identity").owner) as connection:
        connection.cursor().execute(
            "UPDATE password_links SET expires_at = now() WHERE user_id = %s", (victim["id"],)
        )

    assert stranger.get(link).status_code == 404
    assert set_by(stranger, link) == 404
    assert still_signs_in(running, tenant, victim)


@pytest.mark.parametrize("what", ["their password", "their address", "their rest", "themselves"])
def test_a_link_ends_with_what_it_was_sent_for(
    running: System,
    tenant: Tenant,
    stranger: httpx.Client,
    victim: dict[str, Any],
    link: str,
    what: str,
) -> None:
    path, api = f"/users/{victim['id']}", tenant.api
    if what == "their password":
        assert api.post(f"{path}/password", json={"password": PASSWORD}).status_code == 200
    elif what == "their address":
        api.change(path, victim["version"], email=f"new.{uuid4().hex}@example.com")
    elif what == "their rest":
        api.change(path, victim["version"], active=False)
    else:
        api.delete(path, headers={"If-Match": f'"{victim["version"]}"'})

    assert set_by(stranger, link) == 404


def test_of_two_who_use_a_link_at_once_one_sets_the_password(
    stranger: httpx.Client, link: str
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def choose(number: int) -> int:
        word = f"a password of number {number}"
        return stranger.post(link, data={"password": word, "again": word}).status_code

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(choose, range(4)))

    assert sorted(statuses) == [200, 404, 404, 404]


def test_a_link_acts_in_its_own_organisation_only(
    running: System, tenant: Tenant, stranger: httpx.Client, mail: MailServer
) -> None:
    email, other = f"both.{uuid4().hex[:12]}@example.com", running.tenant("Elsewhere")
    for place in (tenant, other):
        place.api.make("/users", name="Both", email=email, password=PASSWORD)
    stranger.post("/api/v1/password-resets", json={"email": email, "tenant": other.slug})
    theirs = link_in(mail.wait_for(email))

    assert set_by_page(stranger, theirs) == 200

    assert running.sign_in(email, other.slug, NEW)
    assert running.sign_in(email, tenant.slug, PASSWORD)
    assert len(mail.to(email)) == 1


def set_by_page(client: httpx.Client, link: str) -> int:
    return client.post(link, data={"password": NEW, "again": NEW}).status_code


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
        {"Forwarded": "host=evil.example"},
        {"Origin": "https://evil.example"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_a_link_leads_home_wherever_the_request_says_that_it_came_to(
    running: System,
    stranger: httpx.Client,
    mail: MailServer,
    victim: dict[str, Any],
    headers: dict[str, str],
) -> None:
    answer = stranger.post(
        "/p/identity/forgotten", data={"email": victim["email"]}, headers=headers
    )

    if "Origin" in headers:
        assert answer.status_code == 403
        return
    letter = mail.wait_for(victim["email"])
    assert link_in(letter).startswith(running.address + "/")
    assert "evil" not in letter.as_string()


def test_asking_tells_nothing_of_who_is_known(
    stranger: httpx.Client, victim: dict[str, Any]
) -> None:
    answers = {}
    for email in (victim["email"], f"nobody.{uuid4().hex}@example.com", "no address", ""):
        for way, sent in (
            ("/api/v1/password-resets", {"json": {"email": email}}),
            ("/p/identity/forgotten", {"data": {"email": email}}),
        ):
            began = time.monotonic()
            answer = stranger.post(way, **sent)
            # The door's half second covers what a mail costs: nobody is answered before it.
            assert time.monotonic() - began >= 0.5
            kept = {n: v for n, v in answer.headers.items() if n not in ("date", "traceresponse")}
            answers[way, email] = (answer.status_code, answer.text, kept)

    for way in ("/api/v1/password-resets", "/p/identity/forgotten"):
        assert len({json.dumps(a) for (w, _), a in answers.items() if w == way}) == 1, way


def test_a_name_writes_nothing_of_its_own_into_a_letter(tenant: Tenant, mail: MailServer) -> None:
    email = f"eve.{uuid4().hex[:12]}@example.com"
    name = "Eve\r\nBcc: all@example.com\r\n\r\nhttp://evil.example <b>"

    tenant.api.make("/users", name=name, email=email)
    letter = mail.wait_for(email)

    assert letter["Bcc"] is None
    assert mail.to("all@example.com") == []
    assert len([line for line in text_of(letter).splitlines() if line.startswith("http")]) == 1
    html = letter.get_body(("html",))
    assert html is not None
    assert "<b>" not in html.get_content()


def test_no_link_is_in_clear_in_any_table_or_log(
    running: System, victim: dict[str, Any], link: str, mail: MailServer
) -> None:
    text = link.rpartition("/")[2].partition("?")[0]
    wait_for(
        "the letter has been sent",
        lambda: running.rows(
            "connect",
            "SELECT 1 FROM messages WHERE to_address = %s AND state = 'sent'",
            (victim["email"],),
        ),
    )

    for service in ("identity", "connect"):
        tables = running.rows(
            service,
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace",
        )
        for table in tables:
            found = running.rows(
                service,
                f"SELECT 1 FROM {table['relname']} t WHERE to_jsonb(t)::text LIKE %s",
                (f"%{text}%",),
            )
            assert found == [], table["relname"]
    logs = [file for file in running.ground.logs.iterdir() if file.is_file()]
    assert logs
    for file in logs:
        assert text not in file.read_text(errors="replace"), file.name
