"""Work that goes on asks identity for its person's rights, and not more often than need be."""

import json
import time

import pytest

from liaison_kit.context import NOBODY, Context
from liaison_kit.testing import keyring, principal, signed
from liaison_kit.trust.principals import Principals
from liaison_kit.trust.renewing import NoLongerAllowed, Rights


class Identity:
    """Answers as identity would, with what somebody may do by now."""

    def __init__(self) -> None:
        self.now: str | None = signed(principal(None, "things:read"))
        self.asked: list[str] = []

    def __call__(self, service: str, operation: str, body: bytes, about: Context) -> bytes:
        assert (service, operation, about.tenant) == ("identity", "renew_principal", NOBODY)
        self.asked.append(json.loads(body)["principal"])
        return json.dumps({"principal": self.now}).encode()


@pytest.fixture
def identity() -> Identity:
    return Identity()


@pytest.fixture
def rights(identity: Identity) -> Rights:
    return Rights(Principals(keyring("contacts")), identity)


def test_identity_is_asked_once_for_as_long_as_its_answer_is_good(
    identity: Identity, rights: Rights, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [rights("then"), rights("then")]
    later = time.time() + 400
    monkeypatch.setattr(time, "time", lambda: later)
    identity.now = signed(principal(None, "things:write"))

    second = rights("then")

    assert identity.asked == ["then", "then"]
    assert [one.permissions for one in first] == [{"things:read"}] * 2
    assert second.permissions == {"things:write"}


def test_each_person_is_asked_about(identity: Identity, rights: Rights) -> None:
    rights("one")
    rights("another")

    assert identity.asked == ["one", "another"]


def test_who_has_no_rights_left_is_refused_each_time(identity: Identity, rights: Rights) -> None:
    identity.now = None

    for _ in range(2):
        with pytest.raises(NoLongerAllowed):
            rights("then")

    assert len(identity.asked) == 2
