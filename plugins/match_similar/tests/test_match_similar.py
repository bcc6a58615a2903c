"""The plugin's claims."""

from liaison_match_similar import contacts_score_match
from liaison_sdk.hooks import PersonFacts


def person(first: str, last: str, *, email: str = "", phone: str = "") -> PersonFacts:
    return PersonFacts(
        id=None,
        first_name=first,
        last_name=last,
        emails=(email,) if email else (),
        phones=(phone,) if phone else (),
    )


def test_the_same_address_is_nearly_certain() -> None:
    match = contacts_score_match(
        person("Zoé", "Martin", email="zoe@example.com"),
        person("Z.", "M.", email="zoe@example.com"),
    )

    assert match is not None
    assert match.score > 0.95
    assert "e-mail" in match.reason


def test_accents_and_order_do_not_hide_the_same_name() -> None:
    match = contacts_score_match(person("Hélène", "Dupré"), person("DUPRE", "Helene"))

    assert match is not None
    assert match.score >= 0.7


def test_a_shared_switchboard_alone_is_less_than_certain() -> None:
    match = contacts_score_match(
        person("Ann", "Lee", phone="+33199001122"), person("Paul", "Roux", phone="+33199001122")
    )

    assert match is not None
    assert match.score < 0.9


def test_strangers_are_no_match() -> None:
    assert contacts_score_match(person("Ann", "Lee"), person("Paul", "Roux")) is None
