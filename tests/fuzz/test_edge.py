"""Odd values wherever a value can be put: each is refused with a named error, and never a 500."""

import itertools
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from tests.system import System, Tenant

LEFT_OUT = {
    ("post", "/api/v1/sign-out"): "it would end the session that asks",
}
ODD_TEXTS = [
    "%ED%A0%80",
    "%ED%A0%BD%ED%B8%80",
    "%F0%9F%98",
    "%C0%80",
    "%00",
    "%0A",
    "%01%7F%C2%85",
    "%E2%80%AE",
    "5",
    "null",
    "[]",
    "{}",
    "%5B" * 2000,
    "NaN",
    "-Infinity",
    "1e400",
    "-1e-400000000",
    "9" * 5000,
    "0x10",
    "1_000",
    "%D9%A3",
    "true",
    "2026-02-30",
    "9999-12-31T23:59:59.999999-23:59",
    "0001-01-01T00:00:00%2B23:59",
    "00000000-0000-0000-0000-000000000000",
    "%7Bdeadbeef%7D",
    "urn:uuid:" + str(uuid4()),
    "%25",
    "%5C",
    "'",
    "a" * 4000,
]
HOPELESS = [
    "NaN",
    "-Infinity",
    "1e400",
    "1" + "0" * 5000,
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '{"\\ud800": 1}',
    "[" * 5000 + "]" * 5000,
    '{"a":' * 5000 + "1" + "}" * 5000,
    "[" * 150 + "]" * 150,
]
ODD_JSON = [
    *HOPELESS,
    "-0",
    "0.1e-400000",
    '"\\u0000"',
    '{"\\u0000": 1}',
    "null",
    "[]",
    "{}",
    "true",
    '""',
    '"9999-12-31T23:59:59.999999-23:59"',
    '"0001-01-01T00:00:00+23:59"',
    '{"amount": "1e400", "currency": "EUR"}',
    '{"amount": NaN, "currency": "EUR"}',
]
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def odd(running: System) -> Tenant:
    """A tenant whose records nobody else needs."""
    return running.tenant("Odd")


@pytest.fixture(scope="module")
def operations(odd: Tenant) -> list[tuple[str, str, dict[str, Any]]]:
    """Every operation of the document: method, path, and what is said of it."""
    document = odd.api.see("/openapi.json")
    found = [
        (method, path.removeprefix("/api/v1"), _resolved(operation, document))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if (method, path) not in LEFT_OUT
    ]
    assert len(found) > 80
    return found


def _resolved(operation: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """The operation with the properties of its body, if it has one."""
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    while schema is not None and "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    properties = None if schema is None else list(schema.get("properties", {}))
    return {**operation, "properties": properties, "upload": "multipart/form-data" in content}


def _demand_named(answer: httpx.Response, asked: str) -> None:
    assert answer.status_code < 500, f"{asked}: {answer.status_code} {answer.text[:500]}"
    if answer.status_code >= 400:
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json", asked
        assert problem["code"], asked
        assert problem["title"], asked
        # It can be read by whoever reads UTF-8.
        answer.content.decode()


def _some_path(path: str, value: str) -> str:
    """A path with an odd value for the first of its names, and unknown ids for the others."""
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + value + rest.partition("}")[2]
        value = str(uuid4())
    return path


def _requests(
    operations: list[tuple[str, str, dict[str, Any]]],
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    turns = itertools.count()
    for method, path, operation in operations:
        body = {"content": b"{}", "headers": JSON} if operation["properties"] is not None else {}
        for value in ODD_TEXTS:
            if "{" in path:
                yield method, _some_path(path, value), body
        names = [p["name"] for p in operation["parameters"] if p["in"] == "query"]
        if method == "get":
            for name in names:
                # Each value comes to each operation, if not to each of its parameters.
                for value in ODD_TEXTS[next(turns) % 4 :: 4]:
                    yield method, f"{_some_path(path, str(uuid4()))}?{quote(name)}={value}", {}


def test_odd_values_in_addresses(
    odd: Tenant, operations: list[tuple[str, str, dict[str, Any]]]
) -> None:
    version = {"If-Match": '"1"'}
    for method, path, about in _requests(operations):
        headers = {**about.get("headers", {}), **({} if method == "get" else version)}
        answer = odd.api.request(method, path, **{**about, "headers": headers})
        _demand_named(answer, f"{method} {path[:200]}")


def test_odd_values_in_bodies(
    odd: Tenant, operations: list[tuple[str, str, dict[str, Any]]]
) -> None:
    headers = {**JSON, "If-Match": '"1"'}
    for method, path, operation in operations:
        if operation["properties"] is None:
            continue
        path = _some_path(path, str(uuid4()))
        query = "?record=contacts" if "record" in str(operation["parameters"]) else ""
        for value in ODD_JSON:
            bodies = [value, f'{{"\\ud800": {value}}}']
            bodies += [f'{{"{name}": {value}}}' for name in operation["properties"]]
            for body in bodies:
                answer = odd.api.request(
                    method, f"{path}{query}", content=body.encode(), headers=headers
                )
                _demand_named(answer, f"{method} {path} {body[:200]}")
                assert answer.status_code >= 400 or value not in HOPELESS, body[:200]


HEADERS = [
    "If-Match",
    "Idempotency-Key",
    "Liaison-Timeout",
    "traceparent",
    "If-None-Match",
    "Accept-Encoding",
    "Origin",
    "Host",
    "Cookie",
    "Authorization",
    "X-CSRF-Token",
    "Last-Event-ID",
    "Accept",
    "Content-Encoding",
    "Sec-Fetch-Site",
    "X-Forwarded-For",
]
ODD_BYTES = [
    b"\xed\xa0\x80",
    b"\xff",
    b"9" * 5000,
    b"NaN",
    b"[",
    b"http://[",
    b"null",
    b'"',
    b"liaison_session=\xff; liaison_csrf=\xff",
    b"Bearer \xff",
    b",,",
]


@pytest.mark.parametrize("name", HEADERS)
def test_odd_values_in_headers(odd: Tenant, name: str) -> None:
    for value in ODD_BYTES:
        for method, path in (
            ("GET", "/contacts"),
            ("GET", "/nothing"),
            ("GET", "/openapi.json"),
            ("POST", "/contacts"),
            ("POST", "/sign-in"),
        ):
            body = b"{}" if method == "POST" else b""
            headers = {**JSON, name: value}
            answer = odd.api.request(method, path, content=body, headers=headers)
            _demand_named(answer, f"{method} {path} {name}: {value[:100]!r}")


def test_odd_values_in_custom_fields(odd: Tenant) -> None:
    api = odd.api
    for kind in ("text", "number", "date", "boolean", "choice"):
        choices = {"choices": ["a"]} if kind == "choice" else {}
        label = {"en": kind, "fr": kind}
        new = {"name": f"odd_{kind}", "kind": kind, "label": label, **choices}
        api.post("/custom-fields", params={"record": "companies"}, json=new)
    full = {"odd_text": "x", "odd_number": 1.5, "odd_date": "2026-01-02", "odd_boolean": True,
            "odd_choice": "a"}  # fmt: skip
    api.make("/companies", name="Full", custom=full)
    for field in full:
        for operator in ("eq", "ne", "gt", "gte", "lt", "lte", "in", "null"):
            for value in [*ODD_TEXTS, "2026-01-01", "1.5", "a"]:
                query = f"custom.{field}[{operator}]={value}"
                _demand_named(api.get(f"/companies?{query}"), query[:200])
        for value in ODD_JSON:
            body = f'{{"name": "Odd", "custom": {{"{field}": {value}}}}}'
            answer = api.post("/companies", content=body.encode(), headers=JSON)
            _demand_named(answer, body[:200])
        body = b'{"name": "Odd", "custom": {"\\ud800": 1}}'
        assert api.post("/companies", content=body, headers=JSON).status_code in (400, 422)


def test_odd_names_and_kinds_of_files(odd: Tenant) -> None:
    api = odd.api
    contact = api.make("/contacts", last_name="Files")
    path = f"/contacts/{contact['id']}/attachments"
    names = [b"a\nb", b"a\x01b", b"\xed\xa0\x80", b"\xff", b'"', b"..", b"/", b"", b"a" * 3000]
    kinds = [b"text/plain", b"text/plain\n: x", b"\xff", b"x", b"", b"a/b; c=\x01", b"a/" * 2000]
    for name in names:
        for kind in kinds:
            form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n' % name
            body = form + b"Content-Type: %b\r\n\r\nabc\r\n--x--\r\n" % kind
            headers = {"Content-Type": "multipart/form-data; boundary=x"}
            answer = api.post(path, content=body, headers=headers)
            _demand_named(answer, f"{name[:50]!r} {kind[:50]!r}")
            if answer.status_code == 201:
                again = api.get(f"/attachments/{answer.json()['id']}/content")
                assert again.content == b"abc"


def test_a_lists_cursor_is_of_no_use_to_another_list(odd: Tenant) -> None:
    api = odd.api
    for name in ("A", "B", "C"):
        api.make("/companies", name=name)
        api.make("/contacts", last_name=name)
    cursor = api.see("/companies", sort="name", limit=1)["next"]

    for path, query in (
        ("/contacts", {}),
        ("/companies", {}),
        ("/companies", {"sort": "-name"}),
        ("/companies", {"sort": "name", "q": "a"}),
        ("/companies", {"sort": "name", "name": "A"}),
        ("/companies", {"sort": "name", "owner_id[null]": "true"}),
        ("/opportunities", {}),
    ):
        answer = api.get(path, params={**query, "cursor": cursor})
        assert answer.status_code == 422, f"{path} {query}: {answer.text}"
        assert [error["path"] for error in answer.json()["errors"]] == ["cursor"]
    for query in ({"limit": "2"}, {"count": "true"}):
        assert api.see("/companies", sort="name", cursor=cursor, **query)["items"]
