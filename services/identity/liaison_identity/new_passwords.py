"""New passwords by mail: asked for by whoever has forgotten theirs, set by whoever has the link.

Asking tells nothing: the answer is the same for every e-mail, and the door makes it take the same
time. How often a link is mailed is counted by account and by source (`guessing`).
"""

from dataclasses import dataclass

from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from liaison_identity import audit, guessing, password_links, passwords, tokens, users
from liaison_identity.models import PasswordLink, Tenant, User
from liaison_identity.sign_in import normal
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.trust.keys import Keyring
from liaison_kit.trust.links import LinkNotValid, read_link


@dataclass(frozen=True, slots=True)
class Invited:
    """Whose password a link sets, and where."""

    kind: str
    email: str
    organisation: str


def mail_links(db: Database, email: str, organisation: str | None, address: str) -> None:
    """Mail a link to everybody who signs in with this e-mail, in each of their organisations."""
    source = guessing.network(address)
    for tenant, id in guessing.resets(db, source, normal(email), organisation):
        with db.writing(Context(tenant=tenant)) as session:
            user = session.scalars(select(User).where(User.id == id, User.active)).first()
            if user is not None and user.email is not None:
                audit.record(session, "password_reset_asked", "users", id)
                password_links.send(session, "reset", user)


def look(db: Database, keys: Keyring, text: str) -> Invited:
    """Whose link it is; `LinkNotValid` if it can't be used."""
    link = read_link(keys, password_links.PURPOSE, text)
    with db.reading(Context(tenant=link.tenant)) as session:
        row = password_links.find(session, text)
        user = None if row is None else _user(session, row)
        if row is None or user is None:
            raise LinkNotValid()
        organisation = session.scalar(select(Tenant.name).where(Tenant.id == link.tenant)) or ""
        return Invited(row.kind, user.email or "", organisation)


def set_by_link(db: Database, keys: Keyring, text: str, password: SecretStr, address: str) -> None:
    """Set the password; the link, its like, and whatever was signed in end."""
    look(db, keys, text)
    # Only for who has a link that is good: a hash takes its time.
    hashed = passwords.hashed(password)
    link = read_link(keys, password_links.PURPOSE, text)
    with db.writing(Context(tenant=link.tenant)) as session:
        row = password_links.find(session, text, to_use=True)
        user = None if row is None else _user(session, row)
        if row is None or user is None:
            raise LinkNotValid()
        password_links.void(session, user.id)
        tokens.revoke_all(session, user.id)
        guessing.forget(session, user.id)
        guessing.remember(session, user.id, guessing.network(address))
        audit.record(session, "password_set", "users", user.id, by=user.id, link=row.kind)
        users.touch(session, User.id == user.id, password_hash=hashed)


def _user(session: Session, row: PasswordLink) -> User | None:
    """Whose link it is, if they may sign in, by the e-mail that it was sent to."""
    return session.scalars(
        select(User)
        .join(Tenant, Tenant.id == User.tenant_id)
        .where(User.id == row.user_id, User.email == row.email, User.active, Tenant.active)
    ).first()
