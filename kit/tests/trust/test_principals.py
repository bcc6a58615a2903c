"""Who is asking: what identity has signed is believed, for as long as it is fresh."""

import base64
import json
import time
from typing import Any
from uuid import UUID

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from liaison_kit.context import Principal
from liaison_kit.ids import uuid7
from liaison_kit.testing import keyring, principal, signed
from liaison_kit.trust import principals as module
from liaison_kit.trust.principals import SKEW_S, VALID_S, NotVouchedFor, Principals


@pytest.fixture
def reader() -> Principals:
    """A service that is asked."""
    return Principals(keyring("contacts"))


def claims(**more: Any) -> dict[str, Any]:
    return {
        "iss": "identity",
        "exp": int(time.time()) + 100,
        "sub": str(uuid7()),
        "tenant": str(uuid7()),
        "name": "Mallory",
        "permissions": ["*"],
        "rows": {},
        "peers": [],
        "locale": "en",
        "token_id": str(uuid7()),
        "kind": "session",
        **more,
    }


def forged(key: Any, alg: str, kid: str, **more: Any) -> str:
    return jwt.encode({"alg": alg, "kid": kid}, claims(**more), key, algorithms=[alg])


def test_what_identity_signs_is_read_as_it_was(reader: Principals) -> None:
    who = principal(None, "contacts:read", rows={"contacts": "team"}, peers=(uuid7(), uuid7()))

    text = signed(who)
    found = reader.read(text)

    for name in ("tenant", "user", "name", "permissions", "rows", "peers", "locale"):
        assert getattr(found, name) == getattr(who, name)
    assert found.signed == text
    assert found.expires == pytest.approx(time.time() + VALID_S, abs=30)


def test_a_second_reading_verifies_nothing(
    reader: Principals, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = signed(principal())
    first = reader.read(text)
    monkeypatch.setattr(jwt, "decode", None)

    assert reader.read(text) is first


def test_nobody_else_can_say_who_somebody_is(reader: Principals) -> None:
    """Another service's key, a key of one's own, identity's public key as a secret, no key."""
    kid, _ = keyring("identity").signing()
    mine = OKPKey.generate_key("Ed25519", {"kid": kid})
    contacts = keyring("contacts").signing_jwk()
    public = keyring("contacts").verifying_jwk("identity", kid).as_dict(private=False)
    shared = OctKey.import_key(json.dumps(public).encode())
    head = base64.urlsafe_b64encode(b'{"alg":"none","kid":"%b"}' % kid.encode()).decode()
    body = base64.urlsafe_b64encode(json.dumps(claims()).encode()).decode()
    parts = signed(principal()).split(".")

    for text in (
        forged(mine, "Ed25519", kid),
        forged(contacts, "Ed25519", str(contacts.kid)),
        forged(contacts, "Ed25519", kid),
        forged(shared, "HS256", kid),
        f"{head.rstrip('=')}.{body.rstrip('=')}.",
        f"{parts[0]}.{body.rstrip('=')}.{parts[2]}",
        ".".join(parts[:2]) + ".",
        "",
        "..",
        "{}",
    ):
        with pytest.raises(NotVouchedFor):
            reader.read(text)


@pytest.mark.parametrize("given", [None, {}, {"tenant": str(UUID(int=1))}, [], 1, True, b"x"])
def test_what_is_no_text_is_no_principal(reader: Principals, given: Any) -> None:
    """As the unsigned ones of earlier versions, which named any tenant and any permission."""
    with pytest.raises(NotVouchedFor) as refused:
        reader.read(given)

    assert refused.value.reason == "unsigned"


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "sales"},
        {"sub": "nobody"},
        {"permissions": None},
        {"peers": [1]},
        {"exp": "tomorrow"},
        {"tenant": 5},
    ],
)
def test_identitys_own_key_does_not_make_nonsense_a_principal(
    reader: Principals, wrong: dict[str, Any]
) -> None:
    key = keyring("identity").signing_jwk()

    with pytest.raises(NotVouchedFor):
        reader.read(forged(key, "Ed25519", str(key.kid), **wrong))


def test_identitys_word_ends_and_work_that_goes_on_can_say_whose_it_was(
    reader: Principals, monkeypatch: pytest.MonkeyPatch
) -> None:
    who: Principal = principal()
    text = signed(who)
    assert reader.read(text).user == who.user
    later = time.time() + VALID_S + SKEW_S + 1
    monkeypatch.setattr(module.time, "time", lambda: later)

    with pytest.raises(NotVouchedFor) as refused:
        reader.read(text)

    assert refused.value.reason == "expired"
    assert reader.read_expired(text).user == who.user
