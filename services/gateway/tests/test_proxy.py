"""Requests become calls and replies become answers, untouched."""

import httpx
import pytest
from gateway_peer import Peer
from gateway_process import PEOPLE, Gateway

from liaison_kit.testing import keyring
from liaison_kit.trust.principals import Principals

ID = "0199f0a0-0000-7000-8000-0000000000aa"


def test_a_reply_passes_byte_for_byte(api: httpx.Client):
    answer = api.get("/api/v1/raw")

    assert answer.content == b'{ "n" : 1.00,\t"z":"\xc3\xa9" }\n'
    assert answer.headers["content-type"] == "application/json"


def test_a_body_passes_byte_for_byte(api: httpx.Client, contacts: Peer):
    body = b'{"text" :  "\xc3\xa9\xf0\x9f\x99\x82", "n": 1e400}'

    answer = api.post(
        "/api/v1/contacts", content=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 200
    assert contacts.calls[-1][2] == body


def test_a_call_carries_the_path_query_principal_and_preconditions(api: httpx.Client):
    answer = api.patch(
        f"/api/v1/contacts/{ID}?amount[gte]=100&tag=a%20b&tag=%C3%A9+&empty=",
        json={},
        headers={"If-Match": '"3"', "Idempotency-Key": "k-1"},
    )

    header = answer.json()["header"]
    assert header["path"] == {"id": ID}
    assert header["query"] == [["amount[gte]", "100"], ["tag", "a b"], ["tag", "é "], ["empty", ""]]
    who = Principals(keyring("contacts")).read(header["principal"])
    assert str(who.user) == PEOPLE["everything"]["user"]
    assert header["if_match"] == 3
    assert header["idempotency_key"] == "k-1"
    assert header["deadline"] > 0


def test_the_callers_trace_goes_on(api: httpx.Client):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    answer = api.get(f"/api/v1/contacts/{ID}", headers={"traceparent": trace})

    assert answer.json()["header"]["traceparent"] == trace
    assert answer.headers["traceresponse"] == trace


def test_a_malformed_trace_is_replaced(api: httpx.Client):
    answer = api.get(f"/api/v1/contacts/{ID}", headers={"traceparent": "00-zz-zz-01"})

    assert len(answer.json()["header"]["traceparent"]) == 55


def test_a_literal_segment_wins_over_a_parameter(api: httpx.Client):
    assert api.get("/api/v1/contacts/summary").json() == {"summary": True}


def test_an_encoded_slash_stays_within_its_segment(api: httpx.Client):
    answer = api.get("/api/v1/contacts/a%2Fb%C3%A9")

    assert answer.json()["header"]["path"] == {"id": "a/bé"}


def test_head_answers_as_get_without_a_body(api: httpx.Client):
    answer = api.head("/api/v1/raw")

    assert answer.status_code == 200
    assert answer.headers["content-length"] == "25"
    assert answer.content == b""


def test_options_tells_the_methods(api: httpx.Client):
    answer = api.options(f"/api/v1/contacts/{ID}")

    assert answer.status_code == 204
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, PATCH"


def test_a_record_that_the_client_has_is_not_sent_again(api: httpx.Client):
    answer = api.get(f"/api/v1/contacts/{ID}", headers={"If-None-Match": '"7"'})

    assert answer.status_code == 304
    assert answer.content == b""


def test_answers_carry_security_headers(api: httpx.Client, gateway: Gateway):
    for answer in (api.get("/api/v1/raw"), gateway.http.get("/api/v1/raw"), api.get("/docs")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_role_without_the_permission_is_refused_at_the_door(gateway: Gateway, contacts: Peer):
    before = len(contacts.calls)

    with gateway.as_("nobody") as client:
        answer = client.get(f"/api/v1/contacts/{ID}")

    assert answer.status_code == 403
    assert "contacts:read" in answer.json()["detail"]
    assert len(contacts.calls) == before


@pytest.mark.parametrize("token", ["unknown", "a b", "é"])
def test_a_foreign_token_is_401(gateway: Gateway, token: str):
    answer = gateway.http.get("/api/v1/raw", headers={"Authorization": f"Bearer {token}".encode()})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "unauthenticated"
