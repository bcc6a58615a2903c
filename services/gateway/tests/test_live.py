"""Live events reach the screens that may know of them, and no others."""

import asyncio
import hashlib
import json
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from gateway_peer import Peer
from gateway_process import (
    OTHER_TENANT,
    PEOPLE,
    TENANT,
    Gateway,
    eventually,
    listening,
    principal,
    rights,
)

from liaison_gateway.auth import Caller
from liaison_gateway.live import Live
from liaison_gateway.onlookers import Onlookers
from liaison_gateway.routes import Module
from liaison_kit import testing


def _times_asked(identity: Peer, token: str) -> int:
    """How often identity was asked who has this token."""
    wanted = hashlib.sha256(token.encode()).hexdigest()
    return sum(
        name == "authenticate" and json.loads(body)["token_hash"] == wanted
        for name, _, body in identity.calls
    )


def _until_asked_again(identity: Peer, token: str, says: Callable[[], object]) -> None:
    """Have identity say something, and wait until it was asked who has this token after that."""
    before = _times_asked(identity, token)
    says()
    eventually(lambda: _times_asked(identity, token) > before)


def test_a_change_reaches_readers_of_its_tenant_only(gateway: Gateway, contacts: Peer):
    with (
        listening(gateway, "reader") as reader,
        listening(gateway, "nobody") as nobody,
        listening(gateway, "stranger") as stranger,
    ):
        contacts.emit("undeclared", TENANT, "r-0")
        event_id = contacts.emit("contact_saved", TENANT, "r-1", version=4, secret="x")
        contacts.emit("contact_saved", OTHER_TENANT, "r-2")

        frame = reader.get(timeout=5)
        assert frame["id"] == event_id
        assert json.loads(frame["data"]) == {
            "type": "contact_saved",
            "record": "contacts",
            "id": "r-1",
            "version": 4,
            "at": "2026-01-02T03:04:05Z",
        }
        assert json.loads(stranger.get(timeout=5)["data"])["id"] == "r-2"
        assert nobody.empty()
        assert reader.empty()


def test_a_row_rule_hides_which_record_changed(gateway: Gateway, contacts: Peer):
    with listening(gateway, "own") as own:
        contacts.emit("contact_saved", TENANT, "r-1", owner_id=str(uuid4()))
        contacts.emit("contact_saved", TENANT, "r-2", owner_id=PEOPLE["own"]["user"])

        assert json.loads(own.get(timeout=5)["data"])["id"] is None
        assert json.loads(own.get(timeout=5)["data"])["id"] == "r-2"


def test_what_is_for_its_owner_reaches_no_other_screen(gateway: Gateway, contacts: Peer):
    with listening(gateway, "everything") as everything, listening(gateway, "nobody") as mine:
        for owner in (str(uuid4()), None, PEOPLE["nobody"]["user"]):
            contacts.emit("noticed", TENANT, "n-1", owner_id=owner)
        contacts.emit("contact_saved", TENANT, "r-1")

        assert json.loads(mine.get(timeout=5)["data"])["type"] == "noticed"
        assert json.loads(everything.get(timeout=5)["data"])["id"] == "r-1"
        assert mine.empty()


def test_a_client_that_comes_back_gets_what_it_missed(gateway: Gateway, contacts: Peer):
    with listening(gateway, "reader") as reader:
        seen = contacts.emit("contact_saved", TENANT, "r-1")
        missed = contacts.emit("contact_saved", TENANT, "r-2")
        reader.get(timeout=5)
        reader.get(timeout=5)

    with listening(gateway, "reader", last=seen) as again:
        assert again.get(timeout=5)["id"] == missed
    with listening(gateway, "reader", last="0" * 36) as lost:
        assert lost.get(timeout=5)["event"] == "reset"


@pytest.mark.parametrize(
    "asked",
    [
        "Acme is bought",
        OTHER_TENANT,
        "0" * 36,
        '"secret":"',
        "x" * 36,
        " ",
        "the other tenant's event",
        "a prefix of the other tenant's event",
        "the other tenant's event and more",
        "an event that this caller may not see",
        "a part of an event that this caller was sent",
    ],
)
def test_what_is_answered_tells_nothing_of_events_that_were_not_for_the_caller(
    gateway: Gateway, contacts: Peer, asked: str
):
    with listening(gateway, "reader") as reader, listening(gateway, "stranger") as stranger:
        theirs = contacts.emit(
            "contact_saved", OTHER_TENANT, "r-9", name="Acme is bought", secret="Acme is bought"
        )
        unseen = contacts.emit("secret_saved", TENANT, "r-8", name="Acme is bought")
        mine = contacts.emit("contact_saved", TENANT, "r-1", name="Acme is bought")
        reader.get(timeout=20)
        stranger.get(timeout=20)
    last = {
        "the other tenant's event": theirs,
        "a prefix of the other tenant's event": theirs[:20],
        "the other tenant's event and more": theirs + "0",
        "an event that this caller may not see": unseen,
        "a part of an event that this caller was sent": mine[1:],
    }.get(asked, asked)

    with listening(gateway, "reader", last=last) as again:
        assert again.get(timeout=20) == {"event": "reset", "data": "{}"}


def test_what_was_missed_is_told_by_the_rights_of_now(
    gateway: Gateway, contacts: Peer, identity: Peer
):
    with rights("fickle", principal("contacts:read")):
        with listening(gateway, "fickle") as before:
            seen = contacts.emit("contact_saved", TENANT, "r-1")
            contacts.emit("contact_saved", TENANT, "r-2", owner_id=str(uuid4()))
            before.get(timeout=20)
            before.get(timeout=20)
            PEOPLE["fickle"] = principal("contacts:read", rows={"contacts": "own"})
            _until_asked_again(identity, "fickle", lambda: identity.emit("role_saved", TENANT, "k"))

        with listening(gateway, "fickle", last=seen) as after:
            missed = json.loads(after.get(timeout=20)["data"])

    assert (missed["id"], missed["type"]) == (None, "changed")


@pytest.mark.parametrize(
    "event", ["token_revoked", "user_removed", "users_saved", "role_saved", "team_saved"]
)
def test_who_is_signed_out_hears_nothing_more(
    gateway: Gateway, contacts: Peer, identity: Peer, event: str
):
    with rights("leaver", principal("contacts:read")), listening(gateway, "leaver") as stream:
        contacts.emit("contact_saved", TENANT, "r-1")
        assert json.loads(stream.get(timeout=20)["data"])["id"] == "r-1"
        del PEOPLE["leaver"]

        data: dict[str, Any] = {}
        if event == "token_revoked":
            data = {"token_hash": hashlib.sha256(b"leaver").hexdigest()}
        identity.emit(event, TENANT, "k", **data)

        assert stream.get(timeout=20) == {"event": "signed_out", "data": "{}"}
        PEOPLE["leaver"] = principal()


def test_rights_that_are_taken_away_hold_for_the_next_event(
    gateway: Gateway, contacts: Peer, identity: Peer
):
    with (
        rights("narrowed", principal("contacts:read")),
        listening(gateway, "narrowed") as narrowed,
        listening(gateway, "reader") as reader,
    ):
        contacts.emit("contact_saved", TENANT, "r-1")
        assert json.loads(narrowed.get(timeout=20)["data"])["id"] == "r-1"
        PEOPLE["narrowed"] = principal("contacts:read", rows={"contacts": "own"})

        _until_asked_again(identity, "narrowed", lambda: identity.emit("role_saved", TENANT, "k"))
        contacts.emit("contact_saved", TENANT, "r-2", owner_id=str(uuid4()))

        assert json.loads(narrowed.get(timeout=20)["data"])["id"] is None
        assert json.loads(reader.get(timeout=20)["data"])["id"] == "r-1"


def test_another_tenants_changes_ask_nothing_of_identity(
    gateway: Gateway, contacts: Peer, identity: Peer
):
    with listening(gateway, "reader"), listening(gateway, "stranger"):
        asked = _times_asked(identity, "reader")

        identity.emit("token_revoked", TENANT, "k", token_hash="00" * 32)
        _until_asked_again(
            identity, "stranger", lambda: identity.emit("role_saved", OTHER_TENANT, "k")
        )

        assert _times_asked(identity, "reader") == asked


def test_large_events_are_kept_small():
    registry = SimpleNamespace(modules={"contacts": Module("contacts")})
    registry.modules["contacts"].manifest = {
        "events": [{"type": "people_saved", "record": "contacts", "permission": None}]
    }
    live = Live(registry, Onlookers())  # type: ignore[arg-type]
    caller = Caller(b"", testing.principal(UUID(TENANT)), float("inf"))
    body = json.dumps(
        {"id": "?", "tenant": TENANT, "key": "k", "data": {"people": ["x" * 100] * 1000}},
        separators=(",", ":"),
    ).encode()

    async def flood() -> tuple[int, int]:
        stream = live.stream(caller, None, lambda: None)
        await anext(stream)
        tracemalloc.start()
        for number in range(5000):
            live.heard("contacts", "people_saved.3", body.replace(b"?", b"%036d" % number))
        kept, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await stream.aclose()
        return kept, most

    kept, most = asyncio.run(flood())

    assert kept < 2_000_000
    assert most < 4_000_000


def test_one_tenants_flood_makes_nobody_elses_events_forgotten():
    registry = SimpleNamespace(modules={"contacts": Module("contacts")})
    registry.modules["contacts"].manifest = {"events": [{"type": "saved", "permission": None}]}
    live = Live(registry, Onlookers())  # type: ignore[arg-type]

    def event(tenant: str, number: int) -> bytes:
        return json.dumps({"id": str(number), "tenant": tenant, "key": str(number)}).encode()

    async def missed() -> list[bytes]:
        streams = []
        for tenant in (TENANT, OTHER_TENANT):
            streams.append(
                live.stream(Caller(b"", testing.principal(UUID(tenant)), 0), None, lambda: None)
            )
            await anext(streams[-1])
        for number in range(3):
            live.heard("contacts", "saved.1", event(TENANT, number))
        for number in range(50_000):
            live.heard("contacts", "saved.1", event(OTHER_TENANT, number))
        back = live.stream(Caller(b"", testing.principal(UUID(TENANT)), 0), "0", lambda: None)
        frames = [await anext(back) for _ in range(3)]
        for stream in (*streams, back):
            await stream.aclose()
        return frames

    frames = asyncio.run(missed())

    assert [frame.partition(b"\n")[0] for frame in frames[1:]] == [b"id: 1", b"id: 2"]


def test_live_needs_a_token(gateway: Gateway):
    assert gateway.http.get("/api/v1/live").status_code == 401


def test_the_streams_are_counted(gateway: Gateway):
    with listening(gateway, "reader"):
        assert "liaison_live_clients 0.0" not in gateway.ops.get("/metrics").text
