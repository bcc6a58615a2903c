"""Signing in: an e-mail and a password become a session, and guessing gets slower and slower.

Every failure has one wording and takes as long: an e-mail that nobody has is not told from a wrong
password. Attempts are counted by e-mail whether somebody has it or not.
"""

import datetime as dt
import hashlib
import json
from typing import Any
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from pydantic import SecretStr
from sqlalchemy import Row, select, text, update
from sqlalchemy.orm import Session

from liaison_identity import audit, passwords, tokens
from liaison_identity.models import User
from liaison_identity.users import USERS
from liaison_kit import listing
from liaison_kit.context import NOBODY, Context, context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.settings import settings
from liaison_sdk.contracts.identity import Credentials
from liaison_sdk.errors import Forbidden, Unauthenticated


class WrongCredentials(Unauthenticated):
    """The e-mail, the password or both are wrong, or there were too many tries: it is not told."""

    code, title = "wrong_credentials", "This did not sign you in"

    def __init__(self) -> None:
        super().__init__(
            "The e-mail or the password is not right. After several tries, wait some minutes;"
            " if you work for several organisations, name one in `tenant`."
        )


class WrongPassword(Forbidden):
    """The present password is missing or wrong, or there were too many tries."""

    code, title = "wrong_password", "Say your present password first"


_FAILED = text(
    "WITH seen AS (UPDATE sign_in_attempts SET last_at = now() WHERE account = :account)"
    " INSERT INTO audit (id, tenant_id, at, by, action, record, record_id, details)"
    " SELECT :id, :tenant, :now, NULL, 'sign_in_failed', 'users', :user, '{}'"
    " WHERE CAST(:user AS uuid) IS NOT NULL"
)
_FORGIVE = text(
    "DELETE FROM sign_in_attempts WHERE account = :account OR last_at < now() - interval '1 day'"
)


def sign_in(db: Database, credentials: Credentials) -> bytes:
    """A session as JSON: the token, until when, and who."""
    email = normal(credentials.email)
    found = _attempt(db, email, credentials.tenant)
    if not found.allowed:
        raise WrongCredentials()
    if not passwords.right(found.password_hash, credentials.password):
        _failed(db, email, found.tenant_id, found.user_id)
        raise WrongCredentials()
    again = None
    if passwords.outdated(found.password_hash):
        again = passwords.hashed(credentials.password)
    with db.writing(Context(tenant=found.tenant_id)) as session:
        return _open(session, found.user_id, email, again)


def confirm(db: Database, tenant: UUID, user: UUID, password: SecretStr | None) -> None:
    """Make sure that the user acts, not somebody at their screen; failures count alike."""
    with db.reading(Context(tenant=tenant)) as session:
        mine = session.execute(
            select(User.email, User.password_hash).where(User.id == user)
        ).one_or_none()
    email = mine.email if mine is not None else None
    if mine is None or email is None or password is None:
        raise WrongPassword()
    if not _attempt(db, email, None).allowed:
        raise WrongPassword()
    if not passwords.right(mine.password_hash, password):
        _failed(db, email, tenant, user)
        raise WrongPassword()
    with db.writing(Context(tenant=tenant)) as session:
        session.execute(_FORGIVE, {"account": _account(email)})


def normal(email: str) -> str:
    """The address as users have it; what is no address at all stays as it is, and is nobody's."""
    try:
        return validate_email(email.strip(), check_deliverability=False).normalized.lower()
    except EmailNotValidError:
        return email.strip().lower()


def _attempt(db: Database, email: str, tenant: str | None) -> Row[Any]:
    """Count an attempt; whether it may go on, and the account that it is about, if there is one."""
    with db.reading(Context(tenant=NOBODY)) as session:
        return (
            session.connection()
            .exec_driver_sql(
                "SELECT * FROM sign_in_account(%(account)s, %(email)s, %(tenant)s)",
                {"account": _account(email), "email": email, "tenant": tenant},
            )
            .one()
        )


def _failed(db: Database, email: str, tenant: UUID | None, user: UUID | None) -> None:
    """Write the failure down; the same statement runs, and writes, when nobody has the e-mail."""
    with db.writing(Context(tenant=tenant or NOBODY)) as session:
        session.execute(
            _FAILED,
            {
                "account": _account(email),
                "id": uuid7(),
                "tenant": tenant,
                "user": user,
                "now": context(session).now,
            },
        )


def _open(session: Session, user: UUID, email: str, password_hash: str | None) -> bytes:
    now = context(session).now
    values: dict[str, Any] = {"last_signed_in_at": now}
    if password_hash is not None:
        values["password_hash"] = password_hash
    session.execute(
        update(User)
        .where(User.id == user)
        .values(values)
        .execution_options(synchronize_session=False)
    )
    session.execute(_FORGIVE, {"account": _account(email)})
    expires_at = now + dt.timedelta(hours=settings().session_hours)
    token, row = tokens.issue(session, user, "session", expires_at)
    audit.record(session, "signed_in", "users", user, by=user, token=str(row.id))
    session.flush()
    found = listing.read(session, USERS, user)
    if found is None:
        # Removed between the look at the password and now.
        raise WrongCredentials()
    said = json.dumps({"token": token, "expires_at": expires_at.isoformat()})
    return f'{said[:-1]}, "user": {found[0]}}}'.encode()


def _account(email: str) -> bytes:
    return hashlib.sha256(email.encode()).digest()
