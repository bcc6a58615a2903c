"""Links by which somebody sets their password: mailed, good for a while, used once.

Of a link only the hash is kept; it names its tenant itself, under identity's signature
(`trust.links`), so that it can be looked up where every other row of the tenant is.
"""

import datetime as dt
from typing import Literal
from uuid import UUID, uuid4

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from liaison_identity import audit, letters
from liaison_identity.models import PasswordLink, Tenant, User
from liaison_kit.context import context
from liaison_kit.ids import uuid7
from liaison_kit.messages import send_message
from liaison_kit.settings import settings
from liaison_kit.trust.links import Link, hash_of, signed_link
from liaison_sdk.contracts.connect import About, MessageFailed, MessageIntent, Recipient

Kind = Literal["reset", "invitation"]

PURPOSE = "password"
GOOD_FOR: dict[Kind, dt.timedelta] = {
    "reset": dt.timedelta(hours=1),
    "invitation": dt.timedelta(days=7),
}


def send(session: Session, kind: Kind, user: User) -> dt.datetime:
    """Mail somebody a link to a password of their own; until when it is good."""
    about = context(session)
    expires_at = about.now + GOOD_FOR[kind]
    text = signed_link(session.info["keys"], PURPOSE, Link(about.tenant, uuid4(), expires_at))
    row = PasswordLink(
        id=uuid7(),
        tenant_id=about.tenant,
        user_id=user.id,
        email=user.email or "",
        kind=kind,
        hash=hash_of(text),
        created_at=about.now,
        expires_at=expires_at,
        used_at=None,
        failed=None,
    )
    session.add(row)
    organisation = session.scalar(select(Tenant.name).where(Tenant.id == about.tenant)) or ""
    language: Literal["en", "fr"] = "fr" if user.locale == "fr" else "en"
    # What links begin with is set, and never taken from a request: whoever sends one would choose.
    address = f"{settings().public_address}/p/identity/password/{text}?lang={language}"
    send_message(
        session,
        MessageIntent(
            id=row.id,
            to=Recipient(address=user.email, name=user.name, language=language),
            purpose="account",
            content=letters.of(kind, language, user.name, organisation, address),
            about=About(record="users", id=user.id, owner_id=user.id),
            expires_at=expires_at,
            secret=True,
        ),
    )
    return expires_at


def failed(session: Session, event: MessageFailed) -> None:
    """A letter was not delivered: the user shows it until another one is sent, and the trail says
    which and why."""
    row = session.get(PasswordLink, event.intent_id)
    if event.sender != "identity" or row is None or row.failed is not None:
        return
    row.failed = event.reason[:100]
    audit.record(
        session, "letter_failed", "users", row.user_id, letter=row.kind, reason=event.reason
    )


def find(session: Session, text: str, *, to_use: bool = False) -> PasswordLink | None:
    """The link that this is the text of, if it can be used; locked, if it is going to be."""
    wanted = select(PasswordLink).where(
        PasswordLink.hash == hash_of(text),
        PasswordLink.used_at.is_(None),
        PasswordLink.expires_at > context(session).now,
    )
    return session.scalars(wanted.with_for_update() if to_use else wanted).first()


def void(session: Session, user: UUID) -> None:
    """No link that this user was mailed is good any more."""
    session.flush()
    session.execute(
        update(PasswordLink)
        .where(PasswordLink.user_id == user, PasswordLink.used_at.is_(None))
        .values(used_at=context(session).now)
        .execution_options(synchronize_session=False)
    )
