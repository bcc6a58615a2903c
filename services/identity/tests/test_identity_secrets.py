"""What a database error says holds nothing of a password or a token: it ends in logs."""

import traceback
from typing import Any

import pytest
from identity_company import Company, call
from sqlalchemy import insert, text
from sqlalchemy.exc import DataError, IntegrityError, StatementError

from liaison_identity import create_tenant, passwords, tokens, users
from liaison_identity.models import Token, User
from liaison_kit import records
from liaison_kit.settings import Settings

Who = dict[str, Any]
SECRET = "$argon2id$v=19$m=19456,t=2,p=1$c2VjcmV0$c2VjcmV0"


def told(error: BaseException) -> str:
    """Everything that a log could write of an error."""
    return "".join(traceback.format_exception(error)) + repr(error)


_create = records.create


def _refused(*given: Any, **values: Any) -> Any:
    """The database refuses a user who neither is active nor is not."""
    return _create(*given, **values | ({"active": None} if "active" in values else {}))


def test_a_statement_that_the_database_refuses_tells_no_secret(company: Company) -> None:
    broken = {"name": None, "active": True, "role_ids": [], "search": "", "locale": "en"}

    with (
        pytest.raises(IntegrityError) as by_sqlalchemy,
        company.db.writing(company.about()) as session,
    ):
        session.execute(
            text(
                "INSERT INTO users (id, tenant_id, version, created_at, updated_at, name, search,"
                " password_hash) VALUES (gen_random_uuid(), :tenant, 1, now(), now(), NULL, '',"
                " :secret)"
            ),
            {"tenant": company.id, "secret": SECRET},
        )
    with (
        pytest.raises(IntegrityError) as by_a_record,
        company.db.writing(company.about()) as session,
    ):
        records.create(session, users.USERS, User, password_hash=SECRET, **broken)

    for error in (by_sqlalchemy.value, by_a_record.value):
        assert "null value in column" in told(error)
        assert "argon2" not in told(error)


def test_a_token_that_clashes_or_does_not_fit_is_not_told(company: Company, admin: Who) -> None:
    digest = tokens.hash_of("ltok_one")

    def token(**values: Any) -> Token:
        return Token(
            **{
                "tenant_id": company.id,
                "user_id": admin["user"],
                "kind": "token",
                "hash": digest,
                "created_at": company.about().now,
                **values,
            }
        )

    with company.db.writing(company.about()) as session:
        session.add(token())
    with pytest.raises(IntegrityError) as clash, company.db.writing(company.about()) as session:
        session.add(token())
    with pytest.raises(IntegrityError) as unknown, company.db.writing(company.about()) as session:
        session.add(token(kind="other"))
    with pytest.raises(DataError) as unfit, company.db.writing(company.about()) as session:
        session.execute(text("SELECT CAST(:value AS integer)"), {"value": SECRET})

    for error in (clash.value, unknown.value):
        assert digest.hex() not in told(error)
        assert repr(digest) not in told(error)
    assert "argon2" not in told(unfit.value)


def test_a_value_that_never_reaches_the_database_is_not_told(company: Company) -> None:
    with pytest.raises(StatementError) as error, company.db.writing(company.about()) as session:
        session.execute(insert(User).values(id="no id", password_hash=SECRET))

    assert "argon2" not in told(error.value)


def test_an_operation_that_breaks_logs_no_secret(
    company: Company,
    admin: Who,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(passwords, "hashed", lambda *_: SECRET)
    monkeypatch.setattr(users.records, "create", _refused)
    body = {"name": "A", "email": "a@example.com", "password": "long enough pw"}

    answer = call("create_user", admin, body=body)

    assert answer.status == 500
    printed = capsys.readouterr()
    assert "operation failed" in printed.out + printed.err
    assert "argon2" not in printed.out + printed.err + str(answer.body)


def test_setting_up_a_tenant_that_fails_prints_no_secret(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = company.db.url.render_as_string(hide_password=False)
    monkeypatch.setattr(create_tenant, "settings", lambda: Settings(DATABASE_URL=address))
    monkeypatch.setattr(passwords, "hashed", lambda *_: SECRET)
    monkeypatch.setattr(users.records, "create", _refused)
    arguments = ["--name", "Broken", "--email", "b@example.com", "--password", "long enough pw"]

    with pytest.raises(IntegrityError) as error:
        create_tenant.main(arguments)

    assert "argon2" not in told(error.value)
    assert "long enough pw" not in told(error.value)
