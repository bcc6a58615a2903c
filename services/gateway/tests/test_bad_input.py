"""Whatever is sent, the answer is a problem that says what is wrong, and never a 500."""

import socket

import httpx
import pytest
from gateway_process import Gateway

PROBLEM = "application/problem+json"


def raw(gateway: Gateway, request: bytes) -> bytes:
    """Send bytes as they are; everything that comes back until the gateway closes."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as s:
        s.sendall(request)
        found = b""
        while part := s.recv(65536):
            found += part
    return found


@pytest.mark.parametrize(
    ("path", "status", "named"),
    [
        ("/api/v1/contacts/a%00b", 400, "id"),
        ("/api/v1/contacts/%zz", 400, "id"),
        ("/api/v1/contacts/%ff%fe", 400, "id"),
        ("/api/v1/contacts/%", 400, "id"),
        ("/api/v1/contacts?q=%00", 400, "q"),
        ("/api/v1/contacts?q=%c3%28", 400, "q"),
        ("/api/v1/contacts?q=%g1", 400, "q"),
        ("/api/v1/contacts?%00=1", 400, "\N{REPLACEMENT CHARACTER}"),
        ("/api/v1/nothing%00", 400, "path"),
        ("/api/v1/nothing", 404, None),
        ("/api/v1/", 404, None),
        ("/api/v1", 404, None),
        ("/nothing", 404, None),
        ("/api/v1/contacts//", 404, None),
        ("/api/v1/contacts/", 404, None),
        ("//api/v1/contacts", 404, None),
        ("/api/v1/contacts/a/b/c", 404, None),
    ],
)
def test_bad_addresses(gateway: Gateway, path: str, status: int, named: str | None):
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer everything\r\n"

    answer = raw(gateway, head.encode() + b"Connection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert PROBLEM.encode() in answer
    if named is not None:
        assert f'"path":"{named}"'.encode() in answer


def test_every_bad_parameter_is_named_at_once(api: httpx.Client):
    answer = api.get("/api/v1/contacts?a=%00&b=ok&c=%ff")

    assert [error["path"] for error in answer.json()["errors"]] == ["a", "c"]


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"If-Match": "abc"}, "If-Match"),
        ({"If-Match": '"-1"'}, "If-Match"),
        ({"If-Match": '"' + "9" * 40 + '"'}, "If-Match"),
        ({"Idempotency-Key": "a b"}, "Idempotency-Key"),
        ({"Idempotency-Key": "k" * 256}, "Idempotency-Key"),
        ({"Liaison-Timeout": "soon"}, "Liaison-Timeout"),
        ({"Liaison-Timeout": "nan"}, "Liaison-Timeout"),
        ({"Liaison-Timeout": "-1"}, "Liaison-Timeout"),
    ],
)
def test_bad_headers_are_named(api: httpx.Client, headers: dict[str, str], named: str):
    answer = api.post("/api/v1/contacts", json={}, headers=headers)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["path"] == named


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_415(api: httpx.Client, content_type: str):
    answer = api.post("/api/v1/contacts", content=b"{}", headers={"Content-Type": content_type})

    assert answer.status_code == 415


def test_a_wrong_method_is_405_and_names_the_right_ones(api: httpx.Client):
    answer = api.delete("/api/v1/contacts")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert answer.json()["code"] == "method_not_allowed"
    own = api.post("/api/v1/menu")
    assert own.status_code == 405
    assert own.headers["allow"] == "GET, HEAD, OPTIONS"


def test_a_body_over_the_limit_is_413_before_it_is_read(gateway: Gateway):
    head = b"POST /api/v1/contacts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer everything\r\n"
    head += b"Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"

    answer = raw(gateway, head)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer


def test_a_chunked_body_over_the_limit_is_413(api: httpx.Client):
    answer = api.post(
        "/api/v1/contacts",
        content=(b"x" * 10_000 for _ in range(11)),
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 413


def test_a_chunked_body_within_the_limit_passes(api: httpx.Client):
    answer = api.post(
        "/api/v1/contacts",
        content=iter([b'{"a":', b"1}"]),
        headers={"Content-Type": "application/json"},
    )

    assert answer.json()["body"] == '{"a":1}'


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET /api/v1/\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_is_400(gateway: Gateway, request_bytes: bytes):
    answer = raw(gateway, request_bytes)

    assert b"HTTP/1.1 400 " in answer or b"HTTP/1.1 405 " in answer
    assert b"500" not in answer.split(b"\r\n", 1)[0]


def test_an_endless_head_is_cut_off(gateway: Gateway):
    request = b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 200_000

    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as s:
        # Sent in pieces, so that the answer is there before the connection breaks.
        for _ in range(5):
            s.sendall(request[:16_000])
            request = b"a" * 16_000
        answer = s.recv(65536)

    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_body_that_never_comes_ends_quietly(gateway: Gateway, api: httpx.Client):
    head = b"POST /api/v1/contacts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer everything\r\n"
    head += b"Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{}"

    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as s:
        s.sendall(head)

    assert api.get("/api/v1/raw").status_code == 200


def test_an_unreadable_reply_is_503_with_the_services_name(api: httpx.Client):
    answer = api.get("/api/v1/broken")

    assert answer.status_code == 503
    assert answer.json()["service"] == "contacts"


def test_every_problem_has_the_same_members(api: httpx.Client):
    answer = api.get("/api/v1/nothing")

    assert answer.headers["content-type"] == PROBLEM
    assert set(answer.json()) == {
        "type", "title", "status", "detail", "code", "errors", "trace_id"
    }  # fmt: skip
    assert answer.json()["type"] == "urn:liaison:problem:not_found"
    assert answer.json()["trace_id"] in answer.headers["traceresponse"]
