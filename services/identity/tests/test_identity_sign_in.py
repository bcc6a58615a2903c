"""Signing in, and what makes guessing slow."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from identity_company import PASSWORD, Answer, Company, authenticate, call
from sqlalchemy import text

from liaison_identity import passwords
from liaison_kit.testing import statements


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


def test_me_says_who_where_and_what(company: Company, admin: dict[str, Any]) -> None:
    me = call("get_me", admin).body

    assert me["user"]["email"] == company.email
    assert me["tenant"]["slug"] == company.slug
    assert me["kind"] == "session"


@pytest.mark.parametrize("email", ["nobody@example.com", "no address", "a\u0301@é.example"])
def test_who_does_not_exist_is_not_told_from_a_wrong_password(company: Company, email: str) -> None:
    wrong = company.sign_in(password="not the password")
    unknown = company.sign_in(email, password="not the password")

    assert (wrong.status, unknown.status) == (401, 401)
    assert _words(wrong) == _words(unknown)


def test_an_unknown_e_mail_costs_the_same_hash(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes: list[str | None] = []
    real = passwords.right

    def counted(kept: str | None, password: Any) -> bool:
        hashes.append(kept)
        return real(kept, password)

    monkeypatch.setattr(passwords, "right", counted)
    company.sign_in("stranger@example.com")
    passwords.right(None, _secret("warm"))

    started = time.perf_counter()
    company.sign_in("stranger@example.com")
    unknown = time.perf_counter() - started
    started = time.perf_counter()
    company.sign_in(password="not the password")
    known = time.perf_counter() - started

    assert hashes[0] is None
    assert unknown > known / 3


def test_both_kinds_of_failure_run_the_same_statements(company: Company) -> None:
    with statements(company.db) as known:
        company.sign_in(password="not the password")
    with statements(company.db) as unknown:
        company.sign_in("stranger2@example.com", password="not the password")

    assert known == unknown or len(known) == len(unknown) == 2


def test_after_five_failures_even_the_right_password_has_to_wait(company: Company) -> None:
    for _ in range(5):
        assert company.sign_in(password="not the password").status == 401

    locked = company.sign_in()

    assert locked.status == 401
    assert _words(locked) == _words(company.sign_in("stranger3@example.com"))


def test_the_wait_doubles_and_a_success_forgives(company: Company) -> None:
    waits = []
    for _ in range(7):
        company.sign_in(password="not the password")
        waits.append(_wait_over(company))

    assert [round(w, -1) for w in waits if w] == [30, 60, 120]
    assert company.sign_in().status == 200
    assert company.sign_in(password="not the password").status == 401
    assert company.sign_in().status == 200


def test_a_strangers_e_mail_is_locked_alike(company: Company) -> None:
    stranger = f"who@{company.slug}.example.com"
    for _ in range(5):
        company.sign_in(stranger, password="not the password")

    started = time.perf_counter()
    company.sign_in(stranger)
    spent = time.perf_counter() - started

    with company.db.connection() as connection:
        locked = connection.execute(
            text("SELECT count(*) FROM sign_in_attempts WHERE locked_until > now()")
        ).scalar_one()
    assert locked >= 1
    assert spent < 0.5


def test_a_failure_is_in_the_audit_trail(company: Company, admin: dict[str, Any]) -> None:
    company.sign_in(password="not the password")

    newest = call("list_audit", admin).body["items"][0]

    assert newest["action"] == "sign_in_failed"
    assert newest["record_id"] == admin["user"]


def test_one_e_mail_in_two_companies_is_told_apart_by_the_tenant(
    make_company: Callable[..., Company],
) -> None:
    email = "both@shared-address.example.com"
    first, second = make_company(email), make_company(email)

    by_slug = first.sign_in(tenant=first.slug).body["token"]
    by_name = second.sign_in(tenant=second.slug.replace("-", " ").upper()).body["token"]
    last_used = first.sign_in().body["token"]

    assert first.principal(by_slug)["tenant"] == str(first.id)
    assert first.principal(by_name)["tenant"] == str(second.id)
    assert first.principal(last_used)["tenant"] == str(second.id)
    assert first.sign_in(tenant="nowhere").status == 401


def test_who_is_not_active_can_not_sign_in(
    company: Company, admin: dict[str, Any], add_user: Callable[..., dict[str, Any]]
) -> None:
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


def test_authenticating_is_one_round_trip(company: Company) -> None:
    token = company.token()

    with statements(company.db) as seen:
        company.principal(token)

    assert len(seen) == 1


def test_signing_in_takes_six_statements(company: Company) -> None:
    with statements(company.db) as seen:
        company.token()

    assert len(seen) == 6, seen


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


def _wait_over(company: Company) -> float | None:
    """How long the account must wait; then time passes."""
    with company.db.connection() as connection:
        wait = connection.execute(
            text(
                "SELECT extract(epoch FROM locked_until - last_at) FROM sign_in_attempts"
                " WHERE account = sha256(convert_to(:email, 'UTF8'))"
            ),
            {"email": company.email},
        ).scalar_one()
        connection.execute(
            text(
                "UPDATE sign_in_attempts SET locked_until = now() - interval '1 second'"
                " WHERE account = sha256(convert_to(:email, 'UTF8')) AND locked_until IS NOT NULL"
            ),
            {"email": company.email},
        )
        connection.commit()
    return None if wait is None else float(wait)


def _words(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in answer.body.items() if name != "trace_id"}


def _secret(value: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(value)
