"""Tokens, cookies, forged requests and rates."""

import time
from collections.abc import Iterator

import httpx
import pytest
from gateway_peer import Peer
from gateway_process import TENANT, Gateway, eventually

from liaison_gateway.door import SIGN_IN_FAILS_AFTER_S
from liaison_kit.run.rabbitmq import RabbitMQ

SIGN_IN = {"email": "a@b.fr", "password": "x"}


@pytest.fixture
def browser(gateway: Gateway) -> Iterator[httpx.Client]:
    """A browser that has signed in."""
    with httpx.Client(base_url=gateway.http.base_url) as client:
        assert client.post("/api/v1/sign-in", json=SIGN_IN).status_code == 200
        yield client


def test_signing_in_sets_the_cookies(gateway: Gateway):
    answer = httpx.post(f"{gateway.http.base_url}/api/v1/sign-in", json=SIGN_IN)

    session, csrf = answer.headers.get_list("set-cookie")
    assert answer.json()["token"] == "everything"
    assert session.startswith("liaison_session=everything; HttpOnly; Path=/; Max-Age=")
    assert "SameSite=Lax" in session
    assert "HttpOnly" not in csrf


def test_a_cookie_reads_and_the_csrf_token_is_needed_to_change(browser: httpx.Client):
    assert browser.get("/api/v1/raw").status_code == 200
    assert browser.post("/api/v1/contacts", json={}).status_code == 403
    wrong = browser.post("/api/v1/contacts", json={}, headers={"X-CSRF-Token": "0" * 64})
    assert wrong.status_code == 403

    token = browser.cookies["liaison_csrf"]
    right = browser.post("/api/v1/contacts", json={}, headers={"X-CSRF-Token": token})

    assert right.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_another_sites_page_is_refused_even_with_the_token(
    browser: httpx.Client, headers: dict[str, str]
):
    headers = {"X-CSRF-Token": browser.cookies["liaison_csrf"], **headers}

    assert browser.post("/api/v1/contacts", json={}, headers=headers).status_code == 403
    assert browser.post("/api/v1/sign-in", json=SIGN_IN, headers=headers).status_code == 403


def test_signing_out_takes_the_cookies_away(browser: httpx.Client):
    token = browser.cookies["liaison_csrf"]

    answer = browser.post("/api/v1/sign-out", headers={"X-CSRF-Token": token})

    assert answer.status_code == 204
    assert "liaison_session" not in browser.cookies
    assert browser.get("/api/v1/raw").status_code == 401


def test_identity_is_asked_once_and_again_after_its_events(api: httpx.Client, identity: Peer):
    def asked() -> int:
        return sum(name == "authenticate" for name, _, _ in identity.calls)

    api.get("/api/v1/raw")
    before = asked()
    api.get("/api/v1/raw")
    assert asked() == before

    identity.emit("role_saved", TENANT, "some-role")

    def asked_again() -> bool:
        api.get("/api/v1/raw")
        return asked() > before

    eventually(asked_again)


def test_all_tokens_of_a_user_have_one_rate_together(
    broker: RabbitMQ, identity: Peer, contacts: Peer
):
    gateway = Gateway(broker.url, rate_limit_per_minute="100").wait("identity", "contacts")
    with gateway.as_("everything") as here, gateway.as_("everything, elsewhere") as elsewhere:
        first = [here.get("/api/v1/raw").status_code for _ in range(60)]
        second = [elsewhere.get("/api/v1/raw").status_code for _ in range(60)]

    assert first == [200] * 60
    assert second[:40] == [200] * 40
    assert 429 in second[40:]
    gateway.stop()


def test_identity_hears_whence_a_write_comes_and_what_modules_allow(
    gateway: Gateway, identity: Peer, contacts: Peer
):
    httpx.post(f"{gateway.http.base_url}/api/v1/sign-in", json=SIGN_IN)

    header = next(head for name, head, _ in reversed(identity.calls) if name == "sign_in")
    assert header["source"] == "127.0.0.1"
    assert "contacts:read" in header["permissions"]
    with gateway.as_("everything") as api:
        api.get("/api/v1/raw")
    header = next(head for name, head, _ in reversed(contacts.calls) if name == "raw")
    assert "source" not in header


def test_a_sign_in_that_fails_takes_its_time_whatever_the_reason(gateway: Gateway):
    started = time.monotonic()
    wrong = {**SIGN_IN, "password": "wrong"}
    answer = httpx.post(f"{gateway.http.base_url}/api/v1/sign-in", json=wrong)

    assert answer.status_code == 401
    assert time.monotonic() - started >= SIGN_IN_FAILS_AFTER_S


def test_rates_are_limited_by_user_and_by_address(broker: RabbitMQ, identity: Peer, contacts: Peer):
    gateway = Gateway(broker.url, rate_limit_per_minute="100").wait("identity", "contacts")
    with gateway.as_("everything") as client, gateway.as_("stranger") as other:
        statuses = [client.get("/api/v1/raw").status_code for _ in range(110)]
        refused = client.get("/api/v1/raw")

        assert statuses[:100] == [200] * 100
        assert statuses[-5:] == [429] * 5
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["ratelimit-policy"] == '"token";q=100;w=60'
        assert other.get("/api/v1/raw").status_code == 200

    signed_in = [gateway.http.post("/api/v1/sign-in", json=SIGN_IN).status_code for _ in range(12)]
    assert signed_in[:10] == [200] * 10
    assert signed_in[-1] == 429
    gateway.http.cookies.clear()
    guessed = [
        gateway.http.get("/api/v1/raw", headers={"Authorization": f"Bearer x{n}"}).status_code
        for n in range(65)
    ]
    assert guessed[:60] == [401] * 60
    assert guessed[-1] == 429
    gateway.stop()
