"""Signing in: an e-mail and a password become a session, and guessing gets slow (`guessing.py`).

Every failure has one wording: an e-mail that nobody has is not told from a wrong password, nor is
either from a try that was not allowed any more.
"""

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from pydantic import SecretStr
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from liaison_identity import audit, guessing, passwords, tokens
from liaison_identity.guessing import Try
from liaison_identity.models import User
from liaison_identity.users import USERS
from liaison_kit import listing
from liaison_kit.context import NOBODY, Context, context
from liaison_kit.database.database import Database
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


class SeveralOrganisations(Unauthenticated):
    """The e-mail and the password are right in more than one organisation.

    Each of them has counted this as a try, so nobody learns more than by trying them in turn.
    """

    code, title = "several_organisations", "Say in which organisation"

    def __init__(self) -> None:
        super().__init__("You work for several organisations: name one in `tenant`, by its slug.")


class WrongPassword(Forbidden):
    """The present password is missing or wrong, or there were too many tries."""

    code, title = "wrong_password", "Say your present password first"


def sign_in(db: Database, credentials: Credentials, address: str) -> bytes:
    """A session as JSON: the token, until when, and who.

    Without `tenant` the password is tried in each organisation that knows the e-mail; of many, in
    the four that were used last.
    """
    email, source = normal(credentials.email), guessing.network(address)
    allowed = guessing.tries(db, source, email, credentials.tenant)
    if not allowed:
        raise WrongCredentials()
    right = _right(db, source, allowed, credentials.password)
    for found in allowed:
        if found not in right:
            _failed(db, found)
    if not right:
        raise WrongCredentials()
    guessing.right(db, source, right)
    if len(right) > 1:
        raise SeveralOrganisations()
    again = None
    if passwords.outdated(str(right[0].password_hash)):
        again = passwords.hashed(credentials.password)
    with db.writing(Context(tenant=right[0].tenant or NOBODY)) as session:
        return _open(session, right[0], source, again)


def confirm(
    db: Database, tenant: UUID, user: UUID, password: SecretStr | None, session_id: UUID | None
) -> None:
    """Make sure that the user acts, not somebody at their screen or with their token.

    Tries are counted by session, so that whoever stole one can't keep the owner from changing the
    password; all API tokens of a user count together.
    """
    with db.reading(Context(tenant=tenant)) as session:
        kept = session.scalar(select(User.password_hash).where(User.id == user))
    who = (tenant, user, session_id)
    if kept is None or password is None or not guessing.may_confirm(db, who):
        raise WrongPassword()
    try:
        with passwords.USUAL.place():
            right = passwords.right(kept, password)
    except passwords.TooManyAtOnce:
        guessing.confirmed(db, who)
        raise
    if not right:
        _failed(db, Try(tenant, user, kept, b"", usual=True))
        raise WrongPassword()
    guessing.confirmed(db, who)


def normal(email: str) -> str:
    """The address as users have it; what is no address at all stays as it is, and is nobody's."""
    try:
        return validate_email(email.strip(), check_deliverability=False).normalized.lower()
    except EmailNotValidError:
        return email.strip().lower()


def _right(db: Database, source: str, allowed: Sequence[Try], password: SecretStr) -> list[Try]:
    """The tries whose account has this password; all are looked at, whichever is right."""
    lane = passwords.USUAL if any(found.usual for found in allowed) else passwords.STRANGE
    try:
        with lane.place():
            looks = [passwords.right(found.password_hash, password, lane) for found in allowed]
    except passwords.TooManyAtOnce:
        guessing.right(db, source, allowed)
        raise
    return [found for found, is_right in zip(allowed, looks, strict=True) if is_right]


def _failed(db: Database, wrong: Try) -> None:
    """Write the failure down; the same statement runs when nobody has the e-mail."""
    with db.writing(Context(tenant=wrong.tenant or NOBODY)) as session:
        audit.failed_sign_in(session, wrong.user)


def _open(session: Session, right: Try, source: str, password_hash: str | None) -> bytes:
    now = context(session).now
    values: dict[str, Any] = {"last_signed_in_at": now}
    if password_hash is not None:
        values["password_hash"] = password_hash
    # Whose password was changed, or who was deactivated, since it was looked at stays outside.
    user = session.scalar(
        update(User)
        .where(User.id == right.user, User.active, User.password_hash == right.password_hash)
        .values(values)
        .returning(User.id)
        .execution_options(synchronize_session=False)
    )
    if user is None:
        raise WrongCredentials()
    guessing.remember(session, user, source)
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
