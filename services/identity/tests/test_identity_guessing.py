"""How often somebody may guess, over any sequence of what owners and guessers do."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identity_company import Company, Guesses, new_source

from liaison_identity import guessing
from liaison_identity.guessing import Try
from liaison_kit.ids import uuid7

Users = Callable[..., dict[str, Any]]

MINUTE = 60.0


@dataclass(frozen=True)
class Bound:
    """So many at once, then one per so many seconds."""

    at_once: int
    every: float

    def holds(self, guesses: list["Guess"]) -> bool:
        """Whether no stretch of time has more of them."""
        return all(
            end - start + 1
            <= self.at_once + (guesses[end].until - guesses[start].since) / self.every
            for start in range(len(guesses))
            for end in range(start, len(guesses))
        )


@dataclass(frozen=True)
class Guess:
    """A guess that was let through, some time between two moments."""

    since: float
    until: float
    email: str
    source: str
    usually: bool


OF_STRANGERS = Bound(10, 3 * MINUTE)
OF_ONE_STRANGER = Bound(5, 5 * MINUTE)
OF_A_USUAL_SOURCE = Bound(10, MINUTE)
OF_ONE_SOURCE = Bound(100, 30.0)


class Clock:
    """Time as the database's guesses see it: what passes by itself, and what is let pass."""

    def __init__(self, guesses: Guesses) -> None:
        self._guesses = guesses
        self._ahead = 0.0

    def now(self) -> float:
        """Seconds."""
        return time.monotonic() + self._ahead

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self._guesses.let_pass(seconds)
        self._ahead += seconds


@dataclass(frozen=True)
class Account:
    """Somebody's account, and where they usually are."""

    email: str
    user: UUID
    home: str


@pytest.fixture
def accounts(company: Company, add_user: Users) -> list[Account]:
    """Three people; the first two work at one place."""
    users = [add_user(name) for name in ("Ann", "Bea", "Cleo")]
    office = new_source()
    homes = [office, office, new_source()]
    return [
        Account(user["email"], UUID(user["id"]), home)
        for user, home in zip(users, homes, strict=True)
    ]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("guess"), st.integers(0, 2), st.integers(0, 6), st.integers(1, 12)),
        st.tuples(st.just("crowd"), st.integers(0, 2), st.integers(1, 4)),
        st.tuples(st.just("insider"), st.integers(0, 2), st.integers(1, 14)),
        st.tuples(st.just("spray"), st.integers(0, 6), st.integers(1, 120)),
        st.tuples(st.just("owner"), st.integers(0, 2)),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 20.0, 70.0, 400.0, 4000.0])),
    ),
    max_size=30,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_guesses_are_bounded_and_owners_get_in(
    company: Company, accounts: list[Account], guesses: Guesses, steps: list[Any]
) -> None:
    clock = Clock(guesses)
    # What the last sequence left is forgotten by now.
    clock.pass_by(1_000_000)
    places = [new_source() for _ in range(7)]
    looked: list[Guess] = []

    def guess(email: str, source: str, *, usually: bool = False) -> list[Try]:
        since = clock.now()
        found = guessing.tries(company.db, source, email, company.slug)
        looked.extend(Guess(since, clock.now(), email, source, usually) for _ in found)
        return found

    def come_home(who: Account) -> None:
        """The owner says the right password."""
        found = guessing.tries(company.db, who.home, who.email, company.slug)
        if not found:
            # Somebody guesses beside them: then they have to wait for a minute.
            clock.pass_by(OF_A_USUAL_SOURCE.every)
            found = guessing.tries(company.db, who.home, who.email, company.slug)
        assert [known.user for known in found] == [who.user]
        guessing.right(company.db, who.home, found)
        with company.db.writing(company.about()) as session:
            guessing.remember(session, who.user, who.home)

    for who in accounts:
        come_home(who)
    for step in steps:
        match step:
            case ("guess", account, place, times):
                for _ in range(times):
                    guess(accounts[account].email, places[place])
            case ("crowd", account, times):
                for place in places:
                    for _ in range(times):
                        guess(accounts[account].email, place)
            case ("insider", account, times):
                for _ in range(times):
                    guess(accounts[account].email, accounts[account].home, usually=True)
            case ("spray", place, times):
                for _ in range(times):
                    guess(f"{uuid7()}@example.com", places[place])
            case ("owner", account):
                come_home(accounts[account])
            case ("wait", seconds):
                clock.pass_by(seconds)

    for who in accounts:
        come_home(who)
        about = [g for g in looked if g.email == who.email]
        assert OF_STRANGERS.holds([g for g in about if not g.usually])
        assert OF_A_USUAL_SOURCE.holds([g for g in about if g.usually])
        for place in places:
            assert OF_ONE_STRANGER.holds([g for g in about if g.source == place])
    for place in [*places, *{who.home for who in accounts}]:
        assert OF_ONE_SOURCE.holds([g for g in looked if g.source == place])


def test_one_source_sprays_no_more_than_a_hundred_and_then_one_in_half_a_minute(
    company: Company, guesses: Guesses
) -> None:
    source = new_source()

    def spray(times: int) -> int:
        return sum(
            len(guessing.tries(company.db, source, f"{uuid7()}@example.com", None))
            for _ in range(times)
        )

    at_once = spray(130)
    guesses.let_pass(301)

    assert at_once == 100
    assert spray(30) == 10


def test_whoever_works_where_somebody_sprays_gets_in_once_a_minute(
    company: Company, accounts: list[Account], guesses: Guesses
) -> None:
    ann, bea, _ = accounts
    for who in (ann, bea):
        with company.db.writing(company.about()) as session:
            guessing.remember(session, who.user, who.home)
    for _ in range(120):
        guessing.tries(company.db, ann.home, f"{uuid7()}@example.com", None)

    for _ in range(3):
        assert [t.usual for t in guessing.tries(company.db, ann.home, ann.email, None)] == [True]
        assert guessing.tries(company.db, ann.home, ann.email, None) == []
        assert len(guessing.tries(company.db, bea.home, bea.email, None)) == 1
        guesses.let_pass(61)


def test_of_a_users_sources_the_five_that_were_used_last_are_usual(
    company: Company, accounts: list[Account]
) -> None:
    who = accounts[0]
    places = [new_source() for _ in range(7)]
    for place in places:
        with company.db.writing(company.about()) as session:
            guessing.remember(session, who.user, place)

    usual = [
        found.usual
        for place in places
        for found in guessing.tries(company.db, place, who.email, company.slug)
    ]

    assert usual == [False, False, True, True, True, True, True]


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("not an address", "not an address"),
    ],
)
def test_a_source_is_an_address_or_the_network_of_one_customer(address: str, source: str) -> None:
    assert guessing.network(address) == source
