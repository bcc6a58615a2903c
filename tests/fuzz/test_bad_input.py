"""Bad input: each gets a 4xx that names every bad field at once, and nothing is written."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.system import Api, System, Tenant

TABLES = {
    "contacts": ("people", "companies", "notes", "attachments", "history", "custom_fields"),
    "sales": ("opportunities", "products", "pipelines", "history"),
    "identity": ("users", "teams", "roles", "tokens", "password_links"),
    "connect": ("messages", "templates"),
}
LONG = "x" * 201


@pytest.fixture(scope="module", autouse=True)
def kept(tenant: Tenant) -> dict[str, Any]:
    """Records that bad input is aimed at."""
    api = tenant.api
    # The default pipeline is there from the first look on.
    api.see("/pipelines")
    return {
        "contact": api.make("/contacts", last_name="Kept"),
        "company": api.make("/companies", name="Kept"),
        "deal": api.make("/opportunities", name="Kept"),
    }


@pytest.fixture
def nothing_written(running: System, tenant: Tenant) -> Iterator[None]:
    """Fails a test after which any table has more or fewer rows of the tenant."""

    def rows() -> dict[str, int]:
        return {
            f"{service}.{table}": running.count(service, table, tenant.id)
            for service, tables in TABLES.items()
            for table in tables
        }

    before = rows()
    yield
    assert rows() == before


def _problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document, which every refusal is."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text}"
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "code", "trace_id"} <= set(problem)
    assert problem["status"] == status
    return problem


BAD_BODIES: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "wrong types": (
        "/contacts",
        {"first_name": 1, "last_name": ["x"], "emails": "none", "tags": {"a": 1}},
        {"first_name", "last_name", "emails", "tags"},
    ),
    "unknown fields": (
        "/contacts",
        {"last_name": "x", "frist_name": "y", "id": str(uuid4()), "tenant_id": str(uuid4())},
        {"frist_name", "id", "tenant_id"},
    ),
    "too-long strings": (
        "/companies",
        {"name": LONG, "website": LONG, "external_id": LONG, "tags": [LONG]},
        {"name", "website", "external_id", "tags.0"},
    ),
    "an empty name": ("/companies", {"name": "   "}, {"name"}),
    "NUL bytes": (
        "/contacts",
        {"first_name": "a\0b", "last_name": "\0", "tags": ["\0"], "external_id": "x\0"},
        {"first_name", "last_name", "tags.0", "external_id"},
    ),
    "a NUL in a custom value": (
        "/contacts",
        {"last_name": "x", "custom": {"unknown": "\0"}},
        {"custom.unknown"},
    ),
    "lone surrogates": ("/companies", {"name": "\ud800"}, {"*"}),
    "negative money": (
        "/opportunities",
        {"name": "x", "amount": {"amount": "-1.00", "currency": "EUR"}},
        {"amount.amount"},
    ),
    "an unknown currency and too many decimals": (
        "/opportunities",
        {"name": "x", "amount": {"amount": "1.00001", "currency": "ZZZ"}},
        {"amount.amount", "amount.currency"},
    ),
    "money without a currency": (
        "/products",
        {"name": "x", "list_price": {"amount": "1.00"}},
        {"list_price.currency"},
    ),
    "money out of range": (
        "/products",
        {"name": "x", "list_price": {"amount": "1" + "0" * 40, "currency": "EUR"}},
        {"list_price.amount"},
    ),
    "money that is no number": (
        "/products",
        {"name": "x", "list_price": {"amount": "NaN", "currency": "EUR"}},
        {"list_price.amount"},
    ),
    "bad dates": (
        "/opportunities",
        {"name": "x", "engaged_on": "2026-02-30", "expected_close": "yesterday", "closed_on": 7.5},
        {"engaged_on", "expected_close", "closed_on"},
    ),
    "a bad e-mail address": (
        "/contacts",
        {"last_name": "x", "emails": [{"address": "a@b.example"}, {"address": "nobody"}]},
        {"emails.1.address"},
    ),
    "a broken id": ("/contacts", {"last_name": "x", "company_id": "17"}, {"company_id"}),
    "an id of nothing": (
        "/opportunities",
        {"name": "x", "product_id": str(uuid4()), "company_id": str(uuid4())},
        {"product_id", "company_id"},
    ),
    "a number out of range": (
        "/companies",
        {"name": "x", "employees": 10**30, "year_founded": -1},
        {"employees", "year_founded"},
    ),
    "a word that is none of the choices": (
        "/companies",
        {"name": "x", "industry": "magic", "stage": "wizard"},
        {"industry", "stage"},
    ),
    "too many values": (
        "/contacts",
        {"last_name": "x", "tags": ["t"] * 51},
        {"tags"},
    ),
    "a stage by two names": (
        "/opportunities",
        {"name": "x", "stage": "won", "stage_id": str(uuid4())},
        {"*"},
    ),
    "a stage that is none": ("/opportunities", {"name": "x", "stage": "nowhere"}, {"stage"}),
    "a weak password and a bad address": (
        "/users",
        {"name": "x", "email": "nobody", "password": "short"},
        {"email", "password"},
    ),
    "a permission that is none": (
        "/roles",
        {"name": "x", "permissions": ["everything!"], "rows": {"contacts": "mine"}},
        {"permissions.0", "rows.contacts"},
    ),
}


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize("what", BAD_BODIES)
def test_a_bad_body_is_refused_with_every_bad_field_named(api: Api, what: str) -> None:
    path, body, bad = BAD_BODIES[what]

    # By hand, since a lone surrogate has no bytes but its escape.
    answer = api.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})

    problem = _problem(answer, answer.status_code)
    assert answer.status_code in ((400, 422) if bad == {"*"} else (422,)), answer.text
    if bad != {"*"}:
        assert {error["path"] for error in problem["errors"]} == bad
        assert all(error["code"] and error["message"] for error in problem["errors"])


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b'{"last_name": "x",}',
        b'{"last_name": "\xff"}',
        b"null",
        b"[]",
        b'"x"',
        b"[" * 20_000,
        b'{"last_name": NaN}',
        b'{"last_name": 1e999999}',
        b"\xef\xbb\xbf{}",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_malformed_json_is_refused(api: Api, body: bytes) -> None:
    answer = api.post("/contacts", content=body, headers={"Content-Type": "application/json"})

    _problem(answer, answer.status_code)
    assert answer.status_code in (400, 422)


@pytest.mark.usefixtures("nothing_written")
def test_what_is_no_json_at_all_is_told_so(api: Api) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
        answer = api.post("/contacts", content=b"last_name=x", headers={"Content-Type": kind})
        _problem(answer, 415)


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("query", "bad"),
    [
        ({"cursor": "broken"}, {"cursor"}),
        ({"cursor": "eyJicm9rZW4iOiB0cnVlfQ=="}, {"cursor"}),
        ({"limit": "1000000"}, {"limit"}),
        ({"limit": "0"}, {"limit"}),
        ({"limit": "many"}, {"limit"}),
        ({"sort": "password"}, {"sort"}),
        ({"colour": "red", "stage": "wizard", "limit": "-1"}, {"colour", "stage", "limit"}),
        ({"created_at[gte]": "yesterday", "owner_id": "you"}, {"created_at[gte]", "owner_id"}),
        ({"custom.unheard_of": "1"}, {"custom.unheard_of"}),
        ({"count": "perhaps"}, {"count"}),
        ({"tags[like]": "x"}, {"tags[like]"}),
        ({"id": "1; DROP TABLE people"}, {"id"}),
    ],
)
def test_bad_list_parameters_are_all_named(api: Api, query: dict[str, str], bad: set[str]) -> None:
    problem = _problem(api.get("/contacts", params=query), 422)

    assert {error["path"] for error in problem["errors"]} == bad


def test_a_cursor_of_another_order_is_refused(api: Api) -> None:
    for name in ("A", "B"):
        api.make("/companies", name=name)
    cursor = api.see("/companies", sort="name", limit=1)["next"]

    answer = api.get("/companies", params={"sort": "-created_at", "cursor": cursor})

    assert [error["path"] for error in _problem(answer, 422)["errors"]] == ["cursor"]


@pytest.mark.parametrize("query", ["q=%00", "q=%ff", "stage=%zz", "%00=1", "q=%"])
def test_a_query_that_can_not_be_decoded_is_refused(api: Api, query: str) -> None:
    _problem(api.get(f"/contacts?{query}"), 400)


@pytest.mark.usefixtures("nothing_written")
def test_a_body_over_the_limit_is_too_large(api: Api) -> None:
    body = b'{"last_name": "' + b"x" * (1 << 20) + b'"}'
    kinds = {"Content-Type": "application/json"}

    _problem(api.post("/contacts", content=body, headers=kinds), 413)
    # Its length untold, it is too large all the same.
    _problem(api.post("/contacts", content=iter([body]), headers=kinds), 413)


@pytest.mark.usefixtures("nothing_written")
def test_a_file_over_the_limit_is_too_large(api: Api, kept: dict[str, Any]) -> None:
    path = f"/contacts/{kept['contact']['id']}/attachments"
    headers = {"Content-Type": "application/octet-stream"}
    part = bytes(1 << 20)

    # Its length told, it is refused at once; untold, as soon as the limit is passed.
    told = {**headers, "Content-Length": str(65 << 20)}
    _problem(api.post(path, content=(part for _ in range(65)), headers=told), 413)
    _problem(api.post(path, content=(part for _ in range(65)), headers=headers), 413)


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize("version", ['"x"', "W/3", "-1", '"99999999999999999999"', "*"])
def test_a_broken_version_is_refused(api: Api, kept: dict[str, Any], version: str) -> None:
    path = f"/contacts/{kept['contact']['id']}"

    answer = api.patch(path, json={"title": "x"}, headers={"If-Match": version})

    assert _problem(answer, 400)["errors"][0]["path"] == "If-Match"


@pytest.mark.usefixtures("nothing_written")
def test_a_broken_idempotency_key_is_refused(api: Api) -> None:
    for key in ("a b", "x" * 256, ""):
        answer = api.post("/contacts", json={"last_name": "x"}, headers={"Idempotency-Key": key})
        assert _problem(answer, 400)["errors"][0]["path"] == "Idempotency-Key"


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer x", "Basic YTpi", "Bearer " + "x" * 5000]
)
def test_a_missing_or_broken_token_is_not_let_in(
    running: System, kept: dict[str, Any], authorization: str | None
) -> None:
    stranger = running.api()
    headers = {} if authorization is None else {"Authorization": authorization}
    for method, path in (
        ("GET", "/contacts"),
        ("GET", f"/contacts/{kept['contact']['id']}"),
        ("POST", "/contacts"),
        ("GET", "/live"),
        ("GET", "/menu"),
        ("GET", "/parked-events"),
    ):
        _problem(stranger.request(method, path, headers=headers), 401)


@pytest.mark.usefixtures("nothing_written")
def test_a_token_of_another_tenant_sees_and_changes_nothing(
    new_tenant: Any, kept: dict[str, Any]
) -> None:
    stranger = new_tenant("Stranger").api
    version = {"If-Match": '"1"'}
    for record, path in (
        ("contact", "/contacts"),
        ("company", "/companies"),
        ("deal", "/opportunities"),
    ):
        one = f"{path}/{kept[record]['id']}"
        _problem(stranger.get(one), 404)
        _problem(stranger.patch(one, json={}, headers=version), 404)
        _problem(stranger.delete(one, headers=version), 404)
    _problem(stranger.post(f"/contacts/{kept['contact']['id']}/notes", json={"body": "x"}), 404)


def test_what_is_not_there_is_a_problem_document_too(api: Api) -> None:
    _problem(api.get("/nowhere"), 404)
    _problem(api.get("/contacts/not-an-id"), 404)
    _problem(api.put("/contacts", json={}), 405)


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("blank.csv", b"\n\n\n"),
        ("header.csv", b"name\n"),
        ("picture.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20),
        ("utf16.csv", "name\nÉtoile\n".encode("utf-16")[2:]),
        ("broken.xlsx", b"PK\x03\x04 not a workbook"),
    ],
)
def test_a_file_that_can_not_be_imported_is_refused_with_the_reason(
    api: Api, name: str, content: bytes
) -> None:
    answer = api.post(
        "/imports", params={"record": "companies"}, files={"file": (name, content, "text/csv")}
    )

    if answer.status_code == 201:
        # What can be read as text at least tells, before anything is written, that nothing fits.
        preview = api.post(f"/imports/{answer.json()['id']}/preview")
        assert preview.status_code in (200, 422)
    else:
        assert _problem(answer, 422)["detail"]
