"""What a service has signed is told from what it has not."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison_kit.trust import keys
from liaison_kit.trust.keys import Keyring, UnknownKey
from liaison_kit.trust.signatures import TOGETHER, Forged, Signer, Verifier

OBJECTS = st.dictionaries(
    st.text().filter(lambda name: name != "signature"), st.text() | st.integers(), min_size=1
)
"""What is signed: `signature` is what signing adds to it."""


def ring(folder: Path, party: str) -> Keyring:
    own, trusted = folder / party / "keys.json", folder / "trusted"
    keys.create(party, own, trusted)
    return Keyring(party, own, trusted)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def sales(folder: Path) -> Keyring:
    return ring(folder, "sales")


@pytest.fixture(scope="module")
def contacts(folder: Path, sales: Keyring) -> Keyring:
    return ring(folder, "contacts")


@given(told=st.lists(OBJECTS, min_size=1, max_size=3 * TOGETHER))
def test_whatever_a_party_signs_is_verified_and_stays_the_same_json(
    sales: Keyring, contacts: Keyring, told: list[dict[str, object]]
) -> None:
    verifier = Verifier(contacts)

    signed = Signer(sales).sign("event", [json.dumps(one).encode() for one in told])

    assert len(signed) == len(told)
    for text, said in zip(signed, told, strict=True):
        verifier.verify("event", "sales", text)
        assert json.loads(text) | said == json.loads(text)


@given(data=st.data(), told=OBJECTS)
def test_no_byte_of_it_can_be_changed(
    sales: Keyring, contacts: Keyring, data: st.DataObject, told: dict[str, object]
) -> None:
    first = json.dumps(told).encode()
    text = Signer(sales).sign("event", [first, b'{"another":1}'])[0]
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != text[place]))
    changed = text[:place] + bytes([other]) + text[place + 1 :]

    with pytest.raises((Forged, UnknownKey)):
        Verifier(contacts).verify("event", "sales", changed)


def test_a_signature_is_of_one_text_one_party_and_one_purpose(
    sales: Keyring, contacts: Keyring
) -> None:
    verifier = Verifier(contacts)
    one, two = Signer(sales).sign("event", [b'{"a":1}', b'{"a":2}'])
    swapped = b'{"a":2' + one[one.index(b',"signature"') :]
    doubled = two[:-1] + one[one.index(b',"signature"') :]

    for purpose, party, text in (
        ("event", "contacts", one),
        ("announcement", "sales", one),
        ("event", "sales", swapped),
        ("event", "sales", doubled),
        ("event", "sales", b'{"a":1}'),
        ("event", "sales", b""),
        ("event", "sales", b'{"signature":"'),
        ("event", "nobody", one),
        ("event", "../secrets/sales", one),
    ):
        with pytest.raises((Forged, UnknownKey)):
            verifier.verify(purpose, party, text)  # type: ignore[arg-type]


def test_one_partys_key_signs_nothing_for_another(sales: Keyring, contacts: Keyring) -> None:
    (mine,) = Signer(contacts).sign("event", [b'{"source":"sales"}'])

    with pytest.raises(UnknownKey):
        Verifier(contacts).verify("event", "sales", mine)


def test_what_was_signed_before_a_rotation_is_still_verified(tmp_path: Path) -> None:
    sales, contacts = ring(tmp_path, "sales"), ring(tmp_path, "contacts")
    before = Signer(sales).sign("event", [b'{"a":1}'])[0]

    keys.rotate("sales", tmp_path / "sales" / "keys.json", tmp_path / "trusted")
    rotated = Keyring("sales", tmp_path / "sales" / "keys.json", tmp_path / "trusted")
    after = Signer(rotated).sign("event", [b'{"a":1}'])[0]

    assert rotated.signing()[0] != sales.signing()[0]
    fresh = Verifier(Keyring("contacts", tmp_path / "contacts" / "keys.json", tmp_path / "trusted"))
    for text in (before, after):
        fresh.verify("event", "sales", text)
    # One that has read the files before meets the new key and reads them again.
    contacts._read_at = float("-inf")
    Verifier(contacts).verify("event", "sales", after)


def test_a_key_that_begins_later_does_not_sign_yet(tmp_path: Path) -> None:
    own, trusted = tmp_path / "sales" / "keys.json", tmp_path / "trusted"
    first = ring(tmp_path, "sales").signing()[0]

    keys.rotate("sales", own, trusted, begins_in_s=3600)

    assert Keyring("sales", own, trusted).signing()[0] == first


def test_a_revoked_key_is_trusted_no_longer(tmp_path: Path) -> None:
    sales = ring(tmp_path, "sales")
    (text,) = Signer(sales).sign("event", [b'{"a":1}'])

    keys.revoke("sales", sales.signing()[0], tmp_path / "trusted")

    with pytest.raises(UnknownKey):
        Verifier(ring(tmp_path, "contacts")).verify("event", "sales", text)


def test_private_keys_are_for_nobody_else_to_read(tmp_path: Path) -> None:
    ring(tmp_path, "sales")

    assert (tmp_path / "sales" / "keys.json").stat().st_mode & 0o777 == 0o600
    assert '"d"' not in (tmp_path / "trusted" / "sales.json").read_text()
