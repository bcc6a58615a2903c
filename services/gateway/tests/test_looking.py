"""Whoever looks at a record hears who else does; nobody who may not read it hears of anybody."""

import asyncio
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from gateway_peer import Peer
from gateway_process import (
    OTHER_TENANT,
    PEOPLE,
    TENANT,
    Frames,
    Gateway,
    eventually,
    listening,
    principal,
    rights,
)
from hypothesis import given
from hypothesis import strategies as st

from liaison_gateway import onlookers as module
from liaison_gateway.auth import Caller, Stale
from liaison_gateway.live import Live
from liaison_gateway.onlookers import Onlookers, Place, session_of
from liaison_gateway.routes import Module
from liaison_kit import testing
from liaison_kit.run.rabbitmq import RabbitMQ


def say(
    gateway: Gateway, token: str, id: str | None, screen: str = "s1", typing: bool = False
) -> httpx.Response:
    """A screen of somebody says that it shows a contact."""
    said = {"screen": screen, "record": id and "contacts", "id": id, "typing": typing}
    with gateway.as_(token) as client:
        return client.post("/api/v1/looking", json=said)


def faces(answer: httpx.Response) -> list[tuple[str, bool]]:
    assert answer.status_code == 200, answer.text
    return [(face["user"], face["typing"]) for face in answer.json()["faces"]]


def ask(gateway: Gateway, token: str, id: str) -> httpx.Response:
    with gateway.as_(token) as client:
        return client.get("/api/v1/looking", params={"record": "contacts", "id": id})


def told(frames: Frames) -> Any:
    """What the next frame says of who looks at a record."""
    frame = frames.get(timeout=20)
    assert frame["event"] == "looking"
    return [(face["user"], face["typing"]) for face in json.loads(frame["data"])["faces"]]


def user(token: str) -> str:
    return str(PEOPLE[token]["user"])


@contextmanager
def colleague(name: str) -> Iterator[str]:
    """Somebody whom no gateway has met, and their token."""
    token = f"{name}-{uuid4()}"
    with rights(token, principal("contacts:read")):
        yield token


@pytest.fixture
def zoe() -> Iterator[str]:
    with colleague("zoe") as token:
        yield token


@pytest.fixture
def ada() -> Iterator[str]:
    with colleague("ada") as token:
        yield token


def checks(contacts: Peer, id: str) -> int:
    """How often the module was asked who may read a record."""
    return sum(name == "may_read" and id in body.decode() for name, _, body in contacts.calls)


@pytest.fixture(scope="module")
def another(broker: RabbitMQ, identity: Peer, contacts: Peer, sales: Peer) -> Iterator[Gateway]:
    """A second gateway of the same installation."""
    gateway = Gateway(broker.url)
    gateway.wait("identity", "contacts", "sales")
    yield gateway
    gateway.stop()


def test_who_comes_types_and_goes_is_told_to_who_looks_at_the_same_record(
    gateway: Gateway, zoe: str, ada: str
) -> None:
    id = str(uuid4())
    with listening(gateway, zoe) as frames:
        assert faces(say(gateway, zoe, id)) == []
        assert told(frames) == []

        assert faces(say(gateway, ada, id)) == [(user(zoe), False)]
        assert told(frames) == [(user(ada), False)]
        say(gateway, ada, id, typing=True)
        assert told(frames) == [(user(ada), True)]
        say(gateway, ada, None)
        assert told(frames) == []


def test_who_looks_can_be_asked_for_and_each_person_is_one_face(
    gateway: Gateway, zoe: str, ada: str
) -> None:
    id = str(uuid4())
    say(gateway, ada, id, screen="a")
    say(gateway, ada, id, screen="b", typing=True)

    assert faces(ask(gateway, zoe, id)) == [(user(ada), True)]
    assert faces(ask(gateway, ada, id)) == []
    assert faces(ask(gateway, zoe, str(uuid4()))) == []


def test_to_say_it_again_tells_nobody_anything(gateway: Gateway, zoe: str, ada: str) -> None:
    id = str(uuid4())
    with listening(gateway, zoe) as frames:
        say(gateway, zoe, id)
        assert told(frames) == []
        for _ in range(3):
            say(gateway, ada, id)

        assert told(frames) == [(user(ada), False)]
        say(gateway, ada, None)
        assert told(frames) == []


def test_another_gateway_knows_who_looks(
    gateway: Gateway, another: Gateway, zoe: str, ada: str
) -> None:
    id = str(uuid4())
    with listening(another, zoe) as frames:
        say(gateway, zoe, id)
        assert told(frames) == []

        say(gateway, ada, id)
        assert told(frames) == [(user(ada), False)]
        assert faces(ask(another, zoe, id)) == [(user(ada), False)]
        say(another, ada, None)
        assert told(frames) == []
        eventually(lambda: faces(ask(gateway, zoe, id)) == [])


def test_a_browser_whose_stream_ends_is_forgotten_soon(
    gateway: Gateway, another: Gateway, zoe: str, ada: str
) -> None:
    id = str(uuid4())
    with listening(gateway, ada):
        say(gateway, ada, id)
        eventually(lambda: faces(ask(another, zoe, id)) == [(user(ada), False)])

    eventually(lambda: faces(ask(another, zoe, id)) == [], seconds=25)


@pytest.mark.parametrize("token", ["stranger", "own", "nobody"])
def test_nobody_who_may_not_read_a_record_says_or_hears_anything_of_it(
    gateway: Gateway, token: str, zoe: str, ada: str
) -> None:
    id = str(uuid4())
    with listening(gateway, token) as frames:
        refused = [say(gateway, token, id), ask(gateway, token, id)]
        say(gateway, ada, id)

        status = 403 if token == "nobody" else 404
        assert [answer.status_code for answer in refused] == [status, status]
        assert ada not in refused[0].text
        assert faces(ask(gateway, zoe, id)) == [(user(ada), False)]
        assert frames.empty()


def test_who_has_a_row_rule_hears_of_their_own_record(gateway: Gateway, zoe: str) -> None:
    id = user("own")
    with listening(gateway, "own") as frames:
        assert say(gateway, "own", id).status_code == 200
        assert told(frames) == []

        say(gateway, zoe, id)
        assert told(frames) == [(user(zoe), False)]


def test_the_module_is_asked_once_as_long_as_nothing_changes(
    gateway: Gateway, contacts: Peer, zoe: str
) -> None:
    id = str(uuid4())
    with listening(gateway, zoe) as frames:
        for _ in range(3):
            say(gateway, zoe, id)
        assert checks(contacts, id) == 1
        assert told(frames) == []

        contacts.emit("contact_saved", TENANT, id)
        assert json.loads(frames.get(timeout=20)["data"])["id"] == id
        say(gateway, zoe, id)
        assert checks(contacts, id) == 2


def test_whose_rights_end_hears_nothing_more_until_they_were_looked_at(
    gateway: Gateway, identity: Peer, zoe: str, ada: str
) -> None:
    id = str(uuid4())
    with (
        rights("fickle", principal("contacts:read")),
        listening(gateway, "fickle") as frames,
    ):
        say(gateway, "fickle", id)
        assert told(frames) == []
        PEOPLE["fickle"] = {**PEOPLE["fickle"], "rows": {"contacts": "own"}}
        identity.emit("role_saved", TENANT, "k")
        # As soon as the gateway has heard of it, the next word is refused.
        eventually(lambda: ask(gateway, "fickle", id).status_code == 404)

        say(gateway, ada, id)
        assert say(gateway, "fickle", id).status_code == 404
        assert frames.empty()
        assert faces(ask(gateway, zoe, id)) == [(user(ada), False)]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "screen record id"),
        ({"screen": "", "record": "contacts", "id": "x"}, "screen id"),
        ({"screen": "a b", "record": 1, "id": None, "more": 1}, "screen record more"),
        ({"screen": "s", "record": "contacts", "id": None}, "id"),
        (
            {"screen": "s", "record": "dragons", "id": "01a22f21-9082-7735-b01b-8bcf14dedfd7"},
            "record",
        ),
        ({"screen": "s", "record": None, "id": None, "typing": "yes"}, "typing"),
    ],
    ids=str,
)
def test_what_a_screen_says_wrong_is_named(
    api: httpx.Client, body: dict[str, Any], named: str
) -> None:
    answer = api.post("/api/v1/looking", json=body)

    assert answer.status_code == 422
    assert {error["path"] for error in answer.json()["errors"]} == set(named.split())


def test_what_is_asked_wrong_is_named(gateway: Gateway, api: httpx.Client) -> None:
    answer = api.get("/api/v1/looking", params={"id": "x", "since": "1"})

    assert {error["path"] for error in answer.json()["errors"]} == {"record", "id", "since"}
    assert api.post("/api/v1/looking", content=b"{").status_code in (400, 415)
    assert gateway.http.get("/api/v1/looking").status_code == 401
    assert api.delete("/api/v1/looking").headers["allow"] == "GET, HEAD, OPTIONS, POST"


# --- without a broker ----------------------------------------------------------------------------


def caller(token: str, tenant: str = TENANT) -> Caller:
    who = testing.principal(UUID(tenant), user=UUID(int=hash(token) % 2**64))
    return Caller(token.encode(), who, 0.0)


def test_a_screen_that_says_nothing_more_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], time=lambda: now[0])
    monkeypatch.setattr(module, "time", clock)
    there, place = Onlookers(), Place(TENANT, "contacts", "x")
    there.say(caller("a"), "s", place, False)
    there.say(caller("b"), "s", place, False)

    now[0] += module.KEPT_S - 1
    there.say(caller("b"), "s", place, False)
    now[0] += 2
    there.look()

    assert [f["user"] for f in there.faces(caller("c"), place)] == [caller("b").user]


def test_one_tenants_flood_pushes_out_its_own_screens_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there, place = Onlookers(), Place(TENANT, "contacts", "x")
    there.say(caller("a"), "s", place, False)
    tracemalloc.start()
    monkeypatch.setattr(module, "SCREENS", 1000)
    for number in range(2 * module.SCREENS):
        flooding = Place(OTHER_TENANT, "contacts", str(number))
        there.say(caller(f"flood {number}", OTHER_TENANT), "s", flooding, False)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(there) == module.SCREENS
    assert there.faces(caller("b"), place)
    assert kept < 3_000_000


def test_one_browser_has_so_many_screens() -> None:
    there = Onlookers()
    for number in range(100):
        there.say(caller("a"), f"s{number}", Place(TENANT, "contacts", str(number)), False)

    assert len(there) == module.SCREENS_OF_SESSION
    assert Place(TENANT, "contacts", "99") in there.places(session_of(caller("a")))


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from(["s", "t"]),
            st.sampled_from([None, "x", "y"]),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_two_gateways_see_the_same_and_who_was_told_last_knows(
    said: list[tuple[str, str, str | None, bool]],
) -> None:
    first, second = Onlookers(), Onlookers()
    first.publish = lambda message: second.heard(json.loads(json.dumps(message)))
    second.publish = lambda message: first.heard(json.loads(json.dumps(message)))
    expected: dict[tuple[str, str], tuple[str, bool]] = {}
    for number, (token, screen, id, typing) in enumerate(said):
        gateway = (first, second)[number % 2]
        if id is None:
            gateway.leave(caller(token), screen)
            expected.pop((token, screen), None)
        else:
            gateway.say(caller(token), screen, Place(TENANT, "contacts", id), typing)
            expected[token, screen] = (id, typing)

    for id in ("x", "y"):
        place = Place(TENANT, "contacts", id)
        seen = first.faces(caller("z"), place)
        assert seen == second.faces(caller("z"), place)
        there = {
            caller(token).user: any(
                t for (o, _), (i, t) in expected.items() if (o, i) == (token, id)
            )
            for (token, _), (at, _) in expected.items()
            if at == id
        }
        assert {face["user"]: face["typing"] for face in seen} == there


def test_what_was_known_before_rights_changed_holds_no_more() -> None:
    there, place = Onlookers(), Place(TENANT, "contacts", "x")
    for token in ("a", "b"):
        there.checked(caller(token), place, module.time.time())
        there.say(caller(token), "s", place, False)
    assert there.hears(caller("a"), place)

    there.look_again(Stale(TENANT, caller("a").id))

    assert (there.hears(caller("a"), place), there.may(caller("a"), place)) == (False, False)
    assert (there.hears(caller("b"), place), there.may(caller("b"), place)) == (True, True)
    there.look_again(Stale(TENANT))
    assert not there.hears(caller("b"), place)


def test_who_comes_back_is_told_who_is_there() -> None:
    registry = SimpleNamespace(
        modules={"contacts": Module("contacts")}, owner_of=lambda _record: ("contacts", None)
    )
    there, place = Onlookers(), Place(TENANT, "contacts", "x")
    live = Live(registry, there)  # type: ignore[arg-type]
    for token in ("a", "b"):
        there.checked(caller(token), place, module.time.time())
        there.say(caller(token), "s", place, False)

    async def first() -> bytes:
        stream = live.stream(caller("a"), None, lambda: None)
        frames = [await anext(stream) for _ in range(2)]
        await stream.aclose()
        return frames[1]

    assert caller("b").user.encode() in asyncio.run(first())
