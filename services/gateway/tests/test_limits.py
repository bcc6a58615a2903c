"""What a request may bring, and who pays for it."""

import itertools
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from gateway_peer import Peer
from gateway_process import PEOPLE, Gateway, eventually, principal
from hypothesis import given
from hypothesis import strategies as st
from pika.spec import FRAME_MAX_SIZE
from test_bad_input import raw

from liaison_gateway.incoming import (
    ADDRESS_BYTES_ALLOWED,
    URL_BYTES_ALLOWED,
    Incoming,
    decode_segment,
    read_query,
)
from liaison_gateway.problems import OverRate, UrlTooLong
from liaison_gateway.rates import Rates, payer_at
from liaison_kit.run.rabbitmq import RabbitMQ
from liaison_sdk.errors import BadRequest

# ---- how much


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/contacts?q=" + "%01" * 21_000,
        "/api/v1/contacts?q=" + "a" * URL_BYTES_ALLOWED,
        "/api/v1/contacts/" + "a" * URL_BYTES_ALLOWED,
        "/api/v1/nothing/" + "a" * URL_BYTES_ALLOWED,
        "/docs?" + "a" * URL_BYTES_ALLOWED,
    ],
    ids=lambda path: path[:30],
)
def test_an_address_that_is_too_long_is_414_and_is_not_sent_on(
    api: httpx.Client, gateway: Gateway, contacts: Peer, path: str
):
    before = len(contacts.calls), reconnections(gateway)

    answer = api.get(path)

    assert answer.status_code == 414
    assert answer.json()["code"] == "url_too_long"
    assert (len(contacts.calls), reconnections(gateway)) == before


def reconnections(gateway: Gateway) -> str:
    """How often the gateway has lost a connection to the broker, as its figures say it."""
    figures = gateway.ops.get("/metrics").text.splitlines()
    (line,) = [line for line in figures if line.startswith("liaison_bus_reconnections_total")]
    return line


@pytest.mark.parametrize("rest", ["%01" * 5000, "%22" * 5000, "é" * 2000, "a=&" * 200])
def test_an_address_that_may_be_so_long_reaches_its_service(api: httpx.Client, rest: str):
    answer = api.get(f"/api/v1/contacts?q={rest}")

    assert answer.status_code == 200
    assert answer.json()["header"]["query"][0][0] == "q"


def test_too_many_parameters_are_400(api: httpx.Client):
    assert api.get("/api/v1/contacts?" + "a=1&" * 300).status_code == 400


@given(
    path=st.binary(max_size=URL_BYTES_ALLOWED),
    query=st.lists(st.sampled_from([b"\x7f", b"%00", b"%01", b"%C3%A9", b'"', b"&", b"="])).map(
        lambda pieces: b"".join(pieces) * 400
    ),
)
def test_whatever_is_sent_on_fits_into_a_frame_of_the_broker(path: bytes, query: bytes):
    incoming = Incoming({}, "00-" + "1" * 32 + "-" + "1" * 16 + "-00", 10)
    try:
        incoming.path = [("id", decode_segment(quote(path)[:URL_BYTES_ALLOWED], "id"))]
        incoming.query = read_query(query[:URL_BYTES_ALLOWED])
        head = incoming.head(upload={"name": "\U0001f642" * 255, "content_type": "x" * 2048})
    except (BadRequest, UrlTooLong):
        return

    assert len(head) < ADDRESS_BYTES_ALLOWED + 10_000 < FRAME_MAX_SIZE
    assert json.loads(head)["path"]["id"] is not None


def test_a_head_that_is_too_large_is_431_however_it_comes(gateway: Gateway):
    lines = b"".join(b"X-%d: %b\r\n" % (n, b"a" * 1000) for n in range(80))

    head = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    answer = raw(gateway, head + lines + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"code":"head_too_large"' in answer


# ---- how often


@pytest.fixture(scope="module")
def strict(broker: RabbitMQ, identity: Peer, contacts: Peer) -> Iterator[Gateway]:
    """A gateway that lets in sixty requests a minute of an address, and a hundred of a token."""
    gateway = Gateway(broker.url, behind_proxy=True, rate_limit_per_minute="100")
    yield gateway.wait("identity", "contacts")
    gateway.stop()


class Visitor(httpx.Client):
    """Somebody at an address, with a token or without."""

    _numbers = itertools.count(1)

    def __init__(self, gateway: Gateway, address: str, token: str | None = None) -> None:
        headers = {"X-Forwarded-For": address}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        super().__init__(base_url=gateway.http.base_url, timeout=20, headers=headers)

    @classmethod
    def address(cls) -> str:
        """An address that nobody has had yet."""
        return f"192.0.2.{next(cls._numbers)}"

    @classmethod
    def token(cls) -> str:
        """A token of somebody who was never here."""
        token = f"visitor{next(cls._numbers)}"
        PEOPLE[token] = principal("*")
        return token


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/api/v1/public", {}),
        ("GET", "/api/v1/public", {"Authorization": "Bearer made up"}),
        ("GET", "/api/v1/raw", {}),
        ("GET", "/api/v1/raw", {"Authorization": "Basic x"}),
        ("GET", "/api/v1/raw", {"Liaison-Timeout": "never"}),
        ("GET", "/api/v1/raw?%ff", {}),
        ("GET", "/api/v1/menu", {}),
        ("POST", "/api/v1/menu", {}),
        ("GET", "/api/v1/openapi.json", {}),
        ("GET", "/api/v1/nothing", {}),
        ("DELETE", "/api/v1/raw", {}),
        ("OPTIONS", "/api/v1/raw", {}),
        ("GET", "/docs?" + "a" * URL_BYTES_ALLOWED, {}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_whoever_is_not_known_pays_with_their_address(
    strict: Gateway, method: str, path: str, headers: dict[str, str]
):
    with Visitor(strict, Visitor.address()) as stranger:
        statuses = [stranger.request(method, path, headers=headers).status_code for _ in range(75)]

    assert 429 not in statuses[:60]
    assert statuses[-1] == 429


@pytest.mark.parametrize(
    "path", ["/api/v1/raw", "/api/v1/public", "/api/v1/nothing", "/api/v1/menu", "/docs"]
)
def test_whoever_is_known_pays_with_their_token(strict: Gateway, path: str):
    with Visitor(strict, Visitor.address(), Visitor.token()) as client:
        client.get("/api/v1/raw")
        statuses = [client.get(path).status_code for _ in range(115)]

    assert 429 not in statuses[:99]
    assert statuses[-1] == 429


def test_strangers_at_an_address_slow_nobody_there_who_is_known(strict: Gateway):
    address = Visitor.address()
    with Visitor(strict, address) as stranger:
        eventually(lambda: stranger.get("/api/v1/nothing").status_code == 429)
        eventually(lambda: _guess(stranger, "wrong") == 429)
        assert stranger.get("/health/live").status_code == 200

    for path in ("/api/v1/raw", "/api/v1/menu"):
        with Visitor(strict, address, Visitor.token()) as newcomer:
            assert newcomer.get(path).status_code == 200


def test_made_up_tokens_are_not_looked_up_without_end(strict: Gateway, identity: Peer):
    address = Visitor.address()
    before = len(identity.calls)
    with Visitor(strict, address) as stranger:
        statuses = [_guess(stranger, f"end{number}") for number in range(200)]

    assert statuses[-1] == 429
    assert sum(name == "authenticate" for name, *_ in identity.calls[before:]) < 120
    # Whoever is not made up has to come twice at most, however many of them there were.
    with Visitor(strict, address, Visitor.token()) as newcomer:
        assert 200 in {newcomer.get("/api/v1/raw").status_code for _ in range(2)}


def test_a_sign_in_names_the_address_that_it_comes_from(gateway: Gateway, identity: Peer):
    address = f"{gateway.http.base_url}/api/v1/sign-in"
    httpx.post(address, json={"email": "a@b.fr", "password": "x"})

    header = next(h for name, h, _ in reversed(identity.calls) if name == "sign_in")
    assert header["source"] == "127.0.0.1"


def _guess(stranger: httpx.Client, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return stranger.get("/api/v1/raw", headers=headers).status_code


@given(guesses=st.integers(0, 500), address=st.ip_addresses())
def test_who_is_turned_away_once_is_looked_at_when_they_come_back(guesses: int, address: Any):
    rates = Rates(1000)
    payer = payer_at(str(address))
    for number in range(guesses):
        try:
            second_look = rates.charge_guess(payer, b"guess %d" % number)
            rates.guessed_wrong(second_look=second_look)
        except OverRate:
            continue

    try:
        second_look = rates.charge_guess(payer, b"newcomer")
    except OverRate:
        second_look = rates.charge_guess(payer, b"newcomer")
    rates.guessed_right(payer, b"newcomer", "their user", second_look=second_look)

    assert rates.has_met(b"newcomer")


def test_an_ipv6_site_is_one_address():
    assert payer_at("2001:db8::1") == payer_at("2001:db8::ffff:2")
    assert payer_at("2001:db8:0:1::1") != payer_at("2001:db8::1")
    assert payer_at("::ffff:192.0.2.7") == payer_at("192.0.2.7") == "192.0.2.7"
    assert payer_at("fe80::1%eth0") == "fe80::"
