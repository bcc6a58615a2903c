"""One request searches all modules: each is asked once, and none keeps the others waiting."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from gateway_peer import Handler, Peer, json_answer, problem_answer
from gateway_process import Gateway, eventually, heard_of

from liaison_kit.run.rabbitmq import RabbitMQ
from liaison_kit.testing import keyring
from liaison_kit.trust.principals import Principals

WITHIN_S = 2


def record(name: str, **facts: Any) -> dict[str, Any]:
    return {
        "name": name,
        "label": {"en": name, "fr": name},
        "permission": f"{name}:read",
        "searchable": True,
        "fields": [],
        **facts,
    }


def hit(title: str, how: str = "begins") -> dict[str, Any]:
    return {"id": title, "title": title, "subtitle": "", "how": how, "because": None}


def groups(**found: list[dict[str, Any]]) -> Any:
    told = [{"record": name, "items": items, "more": False} for name, items in found.items()]
    return json_answer({"groups": told})


@pytest.fixture(scope="module")
def library(broker: RabbitMQ) -> Iterator[Peer]:
    """A module with two kinds of record that are searched, and one that is not."""
    kinds = [record("books"), record("authors"), record("shelves", searchable=False)]
    peer = Peer(
        broker.url, "library", [], {"search_records": lambda _h, _b: groups()}, records=kinds
    ).start()
    yield peer
    peer.die()


@pytest.fixture(scope="module")
def searched(
    broker: RabbitMQ, identity: Peer, contacts: Peer, sales: Peer, library: Peer
) -> Iterator[Gateway]:
    gateway = Gateway(broker.url, search_within_s=str(WITHIN_S))
    gateway.wait("identity", "contacts", "sales")
    heard_of(gateway, library)
    yield gateway
    gateway.stop()


@contextmanager
def answering(peer: Peer, handler: Handler) -> Iterator[None]:
    before = peer.handlers["search_records"]
    peer.handlers["search_records"] = handler
    try:
        yield
    finally:
        peer.handlers["search_records"] = before


def search(gateway: Gateway, token: str = "everything", **query: Any) -> Any:
    with gateway.as_(token) as client:
        answer = client.get("/api/v1/search", params=query)
    return answer.json() if answer.status_code == 200 else answer


def asked(peer: Peer) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The searches that a peer was asked for: header and body."""
    return [(h, json.loads(b)) for name, h, b in peer.calls if name == "search_records"]


def test_each_module_is_asked_once_for_all_its_kinds_and_answers_come_best_first(
    searched: Gateway, contacts: Peer, library: Peer
) -> None:
    before = len(asked(contacts)), len(asked(library))
    with (
        answering(contacts, lambda _h, _b: groups(contacts=[hit("Dupont, A", "part")])),
        answering(
            library,
            lambda _h, _b: groups(
                authors=[hit("Dupont", "exact")], books=[hit("Dupont & Dupond", "word")]
            ),
        ),
    ):
        found = search(searched, q=" dupont ", limit=3)

    assert [(g["service"], g["record"]) for g in found["groups"]] == [
        ("library", "authors"),
        ("library", "books"),
        ("contacts", "contacts"),
    ]
    assert found["groups"][0]["items"] == [hit("Dupont", "exact")]
    assert found["groups"][2]["label"] == {"en": "People", "fr": "Personnes"}
    assert found["missing"] == []
    assert (len(asked(contacts)), len(asked(library))) == (before[0] + 1, before[1] + 1)
    _, body = asked(library)[-1]
    assert body == {"q": "dupont", "records": ["books", "authors"], "limit": 3}


def test_only_what_the_caller_may_read_is_asked_for_and_as_the_caller(
    searched: Gateway, contacts: Peer, library: Peer
) -> None:
    before = len(asked(library))

    found = search(searched, "own", q="dupont")

    assert found == {"groups": [], "missing": []}
    header, body = asked(contacts)[-1]
    assert body["records"] == ["contacts"]
    assert Principals(keyring("contacts")).read(header["principal"]).rows == {"contacts": "own"}
    assert len(asked(library)) == before
    assert search(searched, "nobody", q="dupont") == {"groups": [], "missing": []}


def test_a_slow_module_is_named_and_the_others_are_shown(
    searched: Gateway, contacts: Peer, library: Peer
) -> None:
    with (
        answering(contacts, lambda _h, _b: groups(contacts=[hit("Dupont")])),
        answering(library, lambda _h, _b: None),
    ):
        found = search(searched, q="dupont")

    assert [group["record"] for group in found["groups"]] == ["contacts"]
    assert found["missing"] == [
        {"service": "library", "records": ["books", "authors"], "reason": "slow"}
    ]


def test_a_module_that_fails_is_named(searched: Gateway, library: Peer) -> None:
    with answering(library, lambda _h, _b: problem_answer(500, "internal_error")):
        found = search(searched, q="dupont")

    assert [(m["service"], m["reason"]) for m in found["missing"]] == [("library", "failed")]


def test_a_module_that_is_down_is_named_and_is_not_asked(searched: Gateway, library: Peer) -> None:
    library.stop()
    eventually(lambda: "library" not in searched.answering())
    try:
        found = search(searched, q="dupont")
    finally:
        library.start()
        heard_of(searched, library)

    assert [(m["service"], m["reason"]) for m in found["missing"]] == [("library", "down")]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({}, [("q", "missing")]),
        ({"q": "  "}, [("q", "missing")]),
        ({"q": " a "}, [("q", "too_short")]),
        ({"q": "x" * 201}, [("q", "too_long")]),
        ({"q": "dupont", "limit": "0"}, [("limit", "limit")]),
        ({"q": "dupont", "limit": "21"}, [("limit", "limit")]),
        ({"q": "a", "limit": "many", "records": "x"}, None),
    ],
    ids=str,
)
def test_bad_input_is_named_and_nobody_is_asked(
    searched: Gateway, contacts: Peer, query: dict[str, str], named: list[tuple[str, str]] | None
) -> None:
    before = len(asked(contacts))

    answer = search(searched, **query)

    assert answer.status_code == 422
    told = [(error["path"], error["code"]) for error in answer.json()["errors"]]
    assert told == (
        named or [("records", "unknown_parameter"), ("q", "too_short"), ("limit", "limit")]
    )
    assert len(asked(contacts)) == before


def test_who_is_not_signed_in_finds_nothing(searched: Gateway) -> None:
    assert searched.http.get("/api/v1/search", params={"q": "dupont"}).status_code == 401
