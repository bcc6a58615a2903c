"""Signed links: believed only as their service made them, for their purpose, in their time."""

import datetime as dt
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison_kit.testing import keyring
from liaison_kit.trust.links import Link, LinkNotValid, hash_of, read_link, signed_link


def link(seconds: float = 1000) -> Link:
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    return Link(uuid4(), uuid4(), moment.replace(microsecond=0))


@given(tenant=st.uuids(), about=st.uuids(), seconds=st.integers(1, 10**9))
def test_a_link_says_what_it_was_made_of(tenant: UUID, about: UUID, seconds: int) -> None:
    made = Link(tenant, about, link(seconds + 60).expires_at)

    text = signed_link(keyring("identity"), "password", made)

    assert read_link(keyring("identity"), "password", text) == made
    assert len(text) < 200
    assert not set(text) & set("/?#&+=% ")


@given(at=st.integers(0, 150), to=st.sampled_from("Aa0-_.=~ "))
def test_a_changed_link_is_not_believed(at: int, to: str) -> None:
    text = signed_link(keyring("identity"), "password", link())
    changed = text[:at] + to + text[at + 1 :]

    if changed != text:
        with pytest.raises(LinkNotValid):
            read_link(keyring("identity"), "password", changed)


def test_a_link_is_written_in_one_way_only() -> None:
    kid, said, signature = signed_link(keyring("identity"), "password", link()).split(".")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # Of the last letter four bits are of no meaning.
    alike = letters[letters.index(said[-1]) ^ 1]

    with pytest.raises(LinkNotValid):
        read_link(keyring("identity"), "password", f"{kid}.{said[:-1]}{alike}.{signature}")


def test_a_link_is_good_for_one_service_one_purpose_and_its_time() -> None:
    good = signed_link(keyring("identity"), "password", link())
    kid, said, signature = good.split(".")
    other = signed_link(keyring("identity"), "password", link()).split(".")

    for party, purpose, text in (
        ("identity", "email", good),
        ("contacts", "password", good),
        ("identity", "password", signed_link(keyring("contacts"), "password", link())),
        ("identity", "password", signed_link(keyring("identity"), "password", link(-1))),
        ("identity", "password", f"{kid}.{other[1]}.{signature}"),
        ("identity", "password", f"nokey.{said}.{signature}"),
        ("identity", "password", good + "." + signature),
        ("identity", "password", ""),
        ("identity", "password", "x" * 10_000),
        ("identity", "password", "é.é.é"),
    ):
        with pytest.raises(LinkNotValid):
            read_link(keyring(party), purpose, text)


def test_what_is_kept_of_a_link_is_not_the_link() -> None:
    text = signed_link(keyring("identity"), "password", link())

    assert text.encode() not in hash_of(text)
    assert hash_of(text) != hash_of(text[:-1])
