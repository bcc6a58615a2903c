"""Signing in: who gets in, who does not, and that neither is told why."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from identity_company import PASSWORD, Answer, Company, Guesses, authenticate, call, new_source
from sqlalchemy import text

from liaison_identity import passwords
from liaison_kit.testing import statements

Users = Callable[..., dict[str, Any]]
Who = dict[str, Any]
WRONG = "not the password"


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The kept passwords that somebody's word was compared with."""
    hashes: list[str | None] = []
    real = passwords.right

    def noted(kept: str | None, *given: Any) -> bool:
        hashes.append(kept)
        return real(kept, *given)

    monkeypatch.setattr(passwords, "right", noted)
    return hashes


def test_the_right_password_gives_a_token_and_says_who(company: Company) -> None:
    answer = company.sign_in(company.email.upper())

    assert answer.status == 200
    assert answer.body["user"]["name"] == "Ada"
    assert "password" not in str(answer.body["user"])
    assert company.principal(answer.body["token"])["permissions"] == ["*"]


def test_signing_out_ends_the_session(company: Company) -> None:
    token = company.token()
    who = company.principal(token)

    assert call("sign_out", who).status == 204

    assert authenticate(token).status == 401


def test_me_says_who_where_and_what(company: Company, admin: Who) -> None:
    me = call("get_me", admin).body

    assert me["user"]["email"] == company.email
    assert me["tenant"]["slug"] == company.slug
    assert me["kind"] == "session"


@pytest.mark.parametrize("email", ["nobody@example.com", "no address", "a\u0301@é.example"])
def test_who_does_not_exist_is_not_told_from_a_wrong_password(company: Company, email: str) -> None:
    wrong = company.sign_in(password=WRONG)
    unknown = company.sign_in(email, password=WRONG)

    assert (wrong.status, unknown.status) == (401, 401)
    assert _words(wrong) == _words(unknown)


def test_an_unknown_e_mail_costs_the_same_hash_and_as_many_statements(
    company: Company, looked_at: list[str | None]
) -> None:
    with statements(company.db) as known:
        company.sign_in(password=WRONG)
    with statements(company.db) as unknown:
        company.sign_in(f"stranger@{company.slug}.example.com", password=WRONG)

    assert looked_at[0] is not None
    assert looked_at[1:] == [None]
    assert len(known) == len(unknown) == 2


def test_known_and_unknown_e_mails_are_slowed_down_alike(
    company: Company, looked_at: list[str | None]
) -> None:
    def tries(email: str, organisation: str | None) -> list[int]:
        """How many passwords were looked at after each try."""
        before, more = len(looked_at), {} if organisation is None else {"tenant": organisation}
        seen = []
        for n in range(14):
            # Two tries of each source, so that the account has enough before its sources do.
            source = f"{company.source}:{email}:{n // 2}"
            said = company.sign_in(email, WRONG, source, **more)
            assert said.status == 401
            seen.append(len(looked_at) - before)
        return seen

    stranger = f"who@{company.slug}.example.com"
    known, unknown = tries(company.email, None), tries(stranger, None)

    assert known == unknown == [*range(1, 11), 10, 10, 10, 10]
    assert tries(stranger, company.slug) == tries(stranger, "nowhere") == known


def test_a_try_that_is_refused_says_what_a_wrong_one_says_and_costs_no_hash(
    company: Company, looked_at: list[str | None]
) -> None:
    source = new_source()
    wrong = [company.sign_in(password=WRONG, source=source) for _ in range(5)]

    refused = company.sign_in(source=source)

    assert _words(refused) == _words(wrong[0])
    assert len(looked_at) == 5


def test_thirty_guesses_at_once_are_no_more_than_one_after_the_other(
    company: Company, looked_at: list[str | None]
) -> None:
    source = new_source()

    def guess(_n: int) -> int:
        return company.sign_in(password=WRONG, source=source).status

    with ThreadPoolExecutor(30) as threads:
        statuses = list(threads.map(guess, range(30)))

    # A crowd may be told to come back; nobody was let in, and few were looked at.
    assert set(statuses) <= {401, 503}
    assert len(looked_at) <= 5
    assert company.sign_in(source=source).status == 401


def test_the_owner_gets_in_from_where_they_usually_are_while_others_guess(
    company: Company,
) -> None:
    company.token()
    for _ in range(20):
        for _ in range(5):
            company.sign_in(password=WRONG, source=new_source())
        assert company.sign_in().status == 200

    assert company.sign_in(source=new_source()).status == 401


def test_addresses_of_one_ipv6_network_are_one_source(
    company: Company, looked_at: list[str | None]
) -> None:
    net = f"2001:db8:0:{int(company.source.rsplit('.')[-1]):x}"
    for n in range(8):
        company.sign_in(password=WRONG, source=f"{net}::{n + 1:x}")
    of_one = len(looked_at)
    company.sign_in(password=WRONG, source=f"::ffff:{new_source()}")

    assert (of_one, len(looked_at)) == (5, 6)


def test_a_success_forgives_nobodys_guesses(company: Company, looked_at: list[str | None]) -> None:
    company.token()
    source = new_source()
    for _ in range(4):
        company.sign_in(password=WRONG, source=source)

    company.token()
    company.sign_in(password=WRONG, source=source)
    del looked_at[:]
    company.sign_in(password=WRONG, source=source)

    assert looked_at == []


def test_one_e_mail_in_two_companies_is_told_apart_by_the_tenant(
    make_company: Callable[..., Company],
) -> None:
    email = "both@shared-address.example.com"
    first, second = make_company(email), make_company(email)

    by_slug = first.sign_in(tenant=first.slug).body["token"]
    by_name = second.sign_in(tenant=second.slug.replace("-", " ").upper()).body["token"]
    both = first.sign_in()

    assert first.principal(by_slug)["tenant"] == str(first.id)
    assert first.principal(by_name)["tenant"] == str(second.id)
    assert (both.status, both.body["code"]) == (401, "several_organisations")
    assert first.sign_in(tenant="nowhere").status == 401


def test_the_password_alone_tells_the_company_when_it_is_right_in_one(
    make_company: Callable[..., Company],
) -> None:
    email = "each@shared-address.example.com"
    first, second = make_company(email), make_company(email)
    who = second.principal(second.sign_in(tenant=second.slug).body["token"])
    new = {"password": "another password", "current_password": PASSWORD}
    assert call("set_password", who, path={"id": who["user"]}, body=new).status == 200

    into_first, into_second = first.sign_in(), first.sign_in(password="another password")

    assert first.principal(into_first.body["token"])["tenant"] == str(first.id)
    assert first.principal(into_second.body["token"])["tenant"] == str(second.id)


def test_a_sign_in_to_one_company_gives_no_more_guesses_at_another(
    make_company: Callable[..., Company], looked_at: list[str | None]
) -> None:
    email = "victim@shared-address.example.com"
    victim, attacker = make_company(email), make_company(email)
    who = attacker.principal(attacker.sign_in(tenant=attacker.slug).body["token"])
    guess = {"password": "a guess at victim", "current_password": PASSWORD}
    assert call("set_password", who, path={"id": who["user"]}, body=guess).status == 200
    with victim.db.reading(victim.about()) as session:
        theirs = session.execute(text("SELECT password_hash FROM users")).scalar_one()
    del looked_at[:]

    for _ in range(30):
        # The attacker's own account has the guessed password, so that each try is a success.
        source = new_source()
        assert attacker.sign_in(password="a guess at victim", source=source).status == 200

    assert looked_at.count(theirs) == 10


def test_a_failure_is_in_the_audit_trail(company: Company, admin: Who) -> None:
    company.sign_in(password=WRONG)

    newest = call("list_audit", admin).body["items"][0]

    assert newest["action"] == "sign_in_failed"
    assert newest["record_id"] == admin["user"]


def test_who_is_not_active_can_not_sign_in(company: Company, admin: Who, add_user: Users) -> None:
    user = add_user("Bob", "sales_rep")
    token = company.token(user["email"])

    changed = call(
        "change_user",
        admin,
        path={"id": user["id"]},
        body={"active": False},
        version=call("get_user", admin, path={"id": user["id"]}).body["version"],
    )

    assert changed.status == 200, changed.body
    assert company.sign_in(user["email"]).status == 401
    assert authenticate(token).status == 401


def test_nobody_signs_in_to_a_company_that_is_not_active(company: Company) -> None:
    token = company.token()

    with company.db.writing(company.about()) as session:
        session.execute(text("UPDATE tenants SET active = false"))

    assert company.sign_in().status == 401
    assert authenticate(token).status == 401


@pytest.mark.parametrize("change", ["active = false", "password_hash = 'another'"])
def test_who_is_barred_while_their_password_is_looked_at_stays_outside(
    company: Company, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    real = passwords.right

    def slowly(*given: Any) -> bool:
        found = real(*given)
        with company.db.writing(company.about()) as session:
            session.execute(text(f"UPDATE users SET {change}"))
        return found

    monkeypatch.setattr(passwords, "right", slowly)

    assert company.sign_in().status == 401
    with company.db.reading(company.about()) as session:
        assert session.execute(text("SELECT count(*) FROM tokens")).scalar_one() == 0


def test_ones_password_can_be_changed_while_others_guess_it(company: Company, admin: Who) -> None:
    for _ in range(15):
        company.sign_in(password=WRONG, source=new_source())
    new = {"password": "brand new password", "current_password": PASSWORD}

    path = {"id": admin["user"]}
    changed = call("set_password", admin, path=path, body=new, source=company.source)

    assert changed.status == 200
    assert company.sign_in(password="brand new password").status == 200


def test_a_stolen_session_guesses_the_password_slowly_and_does_not_keep_its_owner_from_it(
    company: Company, admin: Who, looked_at: list[str | None]
) -> None:
    stolen, path = company.principal(), {"id": admin["user"]}
    guess = {"password": "brand new password", "current_password": WRONG}
    del looked_at[:]
    guesses = [call("set_password", stolen, path=path, body=guess) for _ in range(9)]

    own = call("set_password", admin, path=path, body={**guess, "current_password": PASSWORD})

    assert {answer.status for answer in guesses} == {403}
    assert len({str(_words(answer)) for answer in guesses}) == 1
    assert len(looked_at) == 5 + 1
    assert own.status == 200


def test_all_api_tokens_of_a_user_guess_their_password_as_one(
    company: Company, admin: Who, looked_at: list[str | None]
) -> None:
    stolen = [
        company.principal(call("create_token", admin, body={"label": f"{n}"}).body["token"])
        for n in range(3)
    ]
    guess = {"password": "brand new password", "current_password": WRONG}
    del looked_at[:]

    for who in stolen:
        for _ in range(3):
            call("set_password", who, path={"id": admin["user"]}, body=guess)

    assert len(looked_at) == 5


def test_a_new_password_makes_strangers_of_whoever_was_usual(
    company: Company, admin: Who, add_user: Users, looked_at: list[str | None]
) -> None:
    user = add_user("Zoe", "sales_rep")
    thief = new_source()
    assert company.sign_in(user["email"], source=thief).status == 200

    body = {"password": "brand new password"}
    assert call("set_password", admin, path={"id": user["id"]}, body=body).status == 200
    del looked_at[:]
    for _ in range(9):
        company.sign_in(user["email"], WRONG, thief)

    assert len(looked_at) == 5


def test_who_comes_to_a_crowd_is_told_so_and_has_not_guessed(
    company: Company, monkeypatch: pytest.MonkeyPatch, looked_at: list[str | None]
) -> None:
    source, full = new_source(), passwords.Lane(waiting=0)
    monkeypatch.setattr(passwords, "STRANGE", full)
    with full.place():
        crowded = [company.sign_in(source=source) for _ in range(20)]

    assert {answer.status for answer in crowded} == {503}
    assert looked_at == []
    assert company.sign_in(source=source).status == 200


def test_only_a_few_hashes_are_worked_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from pydantic import SecretStr

    working, most = 0, 0
    lock, lane = threading.Lock(), passwords.Lane(waiting=50)
    real = passwords._right

    def counted(kept: str | None, password: str) -> bool:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        found = real(kept, password)
        with lock:
            working -= 1
        return found

    monkeypatch.setattr(passwords, "_right", counted)

    def look(_n: int) -> bool:
        with lane.place():
            return passwords.right(None, SecretStr("x" * 12), lane)

    with ThreadPoolExecutor(12) as threads:
        assert list(threads.map(look, range(24))) == [False] * 24

    assert most == 1


def test_authenticating_is_one_round_trip(company: Company) -> None:
    token = company.token()

    with statements(company.db) as seen:
        company.principal(token)

    assert len(seen) == 1


def test_signing_in_takes_seven_statements(company: Company) -> None:
    with statements(company.db) as seen:
        company.token()

    assert len(seen) == 7, seen


def test_a_hash_of_older_parameters_is_renewed_at_the_next_sign_in(company: Company) -> None:
    from argon2 import PasswordHasher

    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with company.db.writing(company.about()) as session:
        session.execute(text("UPDATE users SET password_hash = :weak"), {"weak": weak})

    company.token()

    with company.db.reading(company.about()) as session:
        kept = session.execute(text("SELECT password_hash FROM users")).scalar_one()
    assert kept != weak
    assert not passwords.outdated(kept)


def test_a_removed_user_is_out_at_once_and_leaves_no_sources(
    company: Company, admin: Who, add_user: Users
) -> None:
    user = add_user("Zoe", "sales_rep")
    token = company.token(user["email"])
    version = call("get_user", admin, path={"id": user["id"]}).body["version"]

    assert call("delete_user", admin, path={"id": user["id"]}, version=version).status == 204

    assert authenticate(token).status == 401
    assert company.sign_in(user["email"]).status == 401
    with company.db.reading(company.about()) as session:
        rows = session.execute(
            text("SELECT count(*) FROM usual_sources WHERE user_id = :id"), {"id": user["id"]}
        )
        assert rows.scalar_one() == 0


def test_what_was_guessed_long_ago_is_cleared_up(company: Company, guesses: Guesses) -> None:
    company.sign_in(password=WRONG, source=new_source())
    guesses.let_pass(86_400)

    with company.db.connection() as connection:
        connection.execute(text("SELECT tidy_guesses()"))
        connection.commit()

    assert guesses.left() == 0


def _words(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in answer.body.items() if name != "trace_id"}
