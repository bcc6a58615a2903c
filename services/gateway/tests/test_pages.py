"""Pages: HTML of a module, for whoever has the link; what they send is for that module only."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gateway_peer import Peer, problem_answer
from gateway_process import Gateway, eventually, heard_of

from liaison_kit.run.rabbitmq import RabbitMQ
from liaison_kit.testing import keyring
from liaison_kit.trust.sealing import unseal

SECRET = "the-secret-of-the-link"


def page(name: str, method: str, path: str, service: str = "desk") -> dict[str, Any]:
    """A page as a manifest declares it."""
    told = {"name": name, "method": method, "path": f"/p/{service}{path}"}
    return {**told, "public": True, "sealed": True, "guessable": False}


def shown(html: str, status: int = 200) -> Any:
    """A page as a module answers it."""
    content_type = "text/html; charset=utf-8"
    headers = {"Set-Cookie": "evil=1", "Content-Security-Policy": "default-src *"}
    return {"status": status, "headers": headers, "content_type": content_type}, html.encode()


@pytest.fixture(scope="module")
def desk(broker: RabbitMQ, gateway: Gateway) -> Iterator[Peer]:
    """A module with pages."""

    def says(name: str) -> Any:
        def answer(_header: dict[str, Any], body: bytes) -> Any:
            said = json.loads(unseal(keyring("desk"), name, body))
            if said["path"].get("link") == "broken":
                return problem_answer(500, "internal_error")
            if said["path"].get("link") == "unknown":
                return problem_answer(404, "not_found")
            return shown(f"<p>{name} {json.dumps(said)}</p>")

        return answer

    pages = [page("look", "GET", "/sheet/{link}"), page("fill_in", "POST", "/sheet/{link}")]
    handlers = {name: says(name) for name in ("look", "fill_in")}
    peer = Peer(broker.url, "desk", [], handlers, pages=pages).start()
    heard_of(gateway, peer)
    yield peer
    peer.die()


def said(answer: httpx.Response) -> dict[str, Any]:
    """What the module was told."""
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = json.loads(answer.text.partition(" ")[2].removesuffix("</p>"))
    return found


def test_a_page_is_shown_with_headers_that_nothing_gets_past(gateway: Gateway, desk: Peer) -> None:
    answer = gateway.http.get(f"/p/desk/sheet/{SECRET}")

    assert said(answer)["path"] == {"link": SECRET}
    headers = answer.headers
    assert headers["content-type"] == "text/html; charset=utf-8"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self'" in policy
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in headers


def test_what_a_visitor_sends_is_read_by_nobody_else_on_the_bus(
    gateway: Gateway, desk: Peer
) -> None:
    address = f"/p/desk/sheet/{SECRET}?q={SECRET}"

    gateway.http.get(address)
    gateway.http.post(address, data={"password": SECRET})

    for _name, header, body in desk.calls[-2:]:
        assert SECRET not in json.dumps(header)
        assert SECRET.encode() not in body
        assert header["principal"] is None
        assert header["source"] == "127.0.0.1"


def test_a_form_comes_as_its_fields(gateway: Gateway, desk: Peer) -> None:
    fields = {"name": "Zoé & Ada", "empty": ""}

    answer = gateway.http.post("/p/desk/sheet/x", data=fields)

    assert said(answer)["form"] == [["name", "Zoé & Ada"], ["empty", ""]]


@pytest.mark.parametrize(
    ("accepted", "query", "language"),
    [
        ("fr-CH, fr;q=0.9, en;q=0.8", "", "fr"),
        ("de, en;q=0.5, fr;q=0.7", "", "fr"),
        ("fr;q=0, en;q=0.1", "", "en"),
        ("fr", "?lang=en", "en"),
        ("", "?lang=fr", "fr"),
        ("fr", "?lang=de", "fr"),
        ("*;q=x,;;,", "", "en"),
        ("", "", "en"),
    ],
)
def test_a_page_is_in_the_language_of_its_link_or_its_reader(
    gateway: Gateway, desk: Peer, accepted: str, query: str, language: str
) -> None:
    answer = gateway.http.get(f"/p/desk/sheet/x{query}", headers={"Accept-Language": accepted})

    assert said(answer)["language"] == language


def test_a_visitor_is_nobody_whoever_they_have_signed_in_as(gateway: Gateway, desk: Peer) -> None:
    cookies = {"liaison_session": "everything"}
    headers = {"Authorization": "Bearer everything", "Cookie": "liaison_session=everything"}

    for given in ({"headers": headers}, {"cookies": cookies}):
        with httpx.Client(base_url=gateway.http.base_url, **given) as client:
            said(client.post("/p/desk/sheet/x", data={"a": "b"}))

    assert all(header["principal"] is None for _, header, _ in desk.calls[-2:])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "null"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 200),
        ({"Origin": "null"}, 200),
        ({}, 200),
    ],
)
def test_another_sites_form_is_refused(
    gateway: Gateway, desk: Peer, headers: dict[str, str], status: int
) -> None:
    answer = gateway.http.post("/p/desk/sheet/x", data={"a": "b"}, headers=headers)

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("status", "method", "path", "content", "kind"),
    [
        (404, "GET", "/p/desk/nowhere", b"", ""),
        (404, "GET", "/p/nobody/sheet/x", b"", ""),
        (404, "GET", "/p/desk/sheet/unknown", b"", ""),
        (500, "GET", "/p/desk/sheet/broken", b"", ""),
        (400, "GET", "/p/desk/sheet/%zz", b"", ""),
        (405, "DELETE", "/p/desk/sheet/x", b"", ""),
        (415, "POST", "/p/desk/sheet/x", b"{}", "application/json"),
        (413, "POST", "/p/desk/sheet/x", b"a=" + b"x" * 20_000, "form"),
        (400, "POST", "/p/desk/sheet/x", b"&".join([b"a=b"] * 60), "form"),
        (400, "POST", "/p/desk/sheet/x", b"a=\xff", "form"),
        (400, "POST", "/p/desk/sheet/x", b"a=%ff", "form"),
        (400, "POST", "/p/desk/sheet/x", b"a=%00", "form"),
    ],
)
def test_what_goes_wrong_is_shown_as_a_page(
    gateway: Gateway, desk: Peer, status: int, method: str, path: str, content: bytes, kind: str
) -> None:
    form = "application/x-www-form-urlencoded"
    headers = {"Accept-Language": "fr"}
    if kind:
        headers["Content-Type"] = form if kind == "form" else kind

    answer = gateway.http.request(method, path, content=content, headers=headers)

    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert '<html lang="fr">' in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_pages_share_one_stylesheet(gateway: Gateway) -> None:
    answer = gateway.http.get("/p/page.css")

    assert answer.headers["content-type"].startswith("text/css")
    assert "max-age" in answer.headers["cache-control"]


def test_pages_are_no_operations(gateway: Gateway, api: httpx.Client, desk: Peer) -> None:
    paths = api.get("/api/v1/openapi.json").json()["paths"]

    assert not [path for path in paths if "sheet" in path]
    assert api.get("/api/v1/p/desk/sheet/x").status_code == 404


def test_a_module_has_pages_below_its_own_address_only(
    broker: RabbitMQ, gateway: Gateway, desk: Peer
) -> None:
    own = page("look", "GET", "/own/{link}", service="thief")
    later = page("look", "GET", "/later/{link}", service="thief")
    stolen = page("look", "GET", "/stolen/{link}", service="desk")
    thief = Peer(broker.url, "thief", [], {"look": lambda _h, _b: shown("")}, pages=[own])
    thief.start()
    try:
        heard_of(gateway, thief)

        for generation, pages in (("1", [own, stolen]), ("2", [own, later])):
            thief.manifest |= {"generation": generation, "pages": pages}
            thief.announce()

        # What is told after it is read after it; nobody serves it, but it is known.
        eventually(lambda: gateway.http.get("/p/thief/later/x").status_code == 503)
        assert gateway.http.get("/p/desk/stolen/x").status_code == 404
    finally:
        thief.die()
