"""Guessing passwords: how often somebody may try, counted by account and by source.

A try that is allowed is counted before the password is looked at, and taken off the count if it was
right: what others have guessed stays. How much is allowed is said in the database's functions
(`migrations/versions/0002_guessing.py`), and why in docs/decisions/guessing-passwords.md.
"""

import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.context import NOBODY, Context, context
from liaison_kit.database.database import Database
from liaison_kit.records.search import fold

_GUESS = "SELECT * FROM sign_in_guess(%(source)s, %(email)s, %(organisation)s, %(nobodys)s)"
_NO_GUESS = "SELECT sign_in_was_no_guess(%(source)s, %(account)s, %(usual)s)"
_CONFIRM = "SELECT confirm_guess(%(about)s)"
_CONFIRMED = "SELECT confirm_was_no_guess(%(about)s)"
_RESET = "SELECT * FROM reset_wanted(%(source)s, %(email)s, %(organisation)s)"
_USUAL = text(
    "WITH kept AS (INSERT INTO usual_sources AS u (tenant_id, user_id, source, last_at)"
    " VALUES (:tenant, :user, :source, :now)"
    " ON CONFLICT (user_id, source) DO UPDATE SET last_at = excluded.last_at)"
    " DELETE FROM usual_sources WHERE user_id = :user AND source IN (SELECT source"
    " FROM usual_sources WHERE user_id = :user AND source <> :source"
    " ORDER BY last_at DESC OFFSET 4)"
)
_UNUSUAL = text("DELETE FROM usual_sources WHERE user_id = :user")


@dataclass(frozen=True, slots=True)
class Try:
    """A try that is allowed: the account that it is about, or that of nobody.

    `usual` tells that its owner has signed in from this source before.
    """

    tenant: UUID | None
    user: UUID | None
    password_hash: str | None
    account: bytes
    usual: bool


def tries(db: Database, source: str, email: str, organisation: str | None) -> list[Try]:
    """Count a try at each account of this e-mail; those at which it is allowed, perhaps none."""
    given = {
        "source": source,
        "email": email,
        "organisation": organisation,
        "nobodys": _nobodys(email, organisation),
    }
    with db.reading(Context(tenant=NOBODY)) as session:
        rows = session.connection().exec_driver_sql(_GUESS, given).all()
    return [Try(r.tenant_id, r.user_id, r.password_hash, bytes(r.account), r.usual) for r in rows]


def right(db: Database, source: str, allowed: Iterable[Try]) -> None:
    """Take tries off the count: they were no guesses, or the password was never looked at."""
    with db.reading(Context(tenant=NOBODY)) as session:
        for found in allowed:
            given = {"source": source, "account": found.account, "usual": found.usual}
            session.connection().exec_driver_sql(_NO_GUESS, given)


def resets(
    db: Database, source: str, email: str, organisation: str | None
) -> list[tuple[UUID, UUID]]:
    """The accounts, as tenant and user, that a link to a new password may be mailed to now."""
    given = {"source": source, "email": email, "organisation": organisation}
    with db.reading(Context(tenant=NOBODY)) as session:
        rows = session.connection().exec_driver_sql(_RESET, given).all()
    return [(row.tenant_id, row.user_id) for row in rows]


def may_confirm(db: Database, who: Sequence[object]) -> bool:
    """Count a try at the present password; whether it is allowed.

    Apart from what is tried at signing in: neither keeps the owner from the other.
    """
    with db.reading(Context(tenant=NOBODY)) as session:
        found = session.connection().exec_driver_sql(_CONFIRM, {"about": _about(who)})
        return bool(found.scalar_one())


def confirmed(db: Database, who: Sequence[object]) -> None:
    """Take a try at the present password off the count."""
    with db.reading(Context(tenant=NOBODY)) as session:
        session.connection().exec_driver_sql(_CONFIRMED, {"about": _about(who)})


def remember(session: Session, user: UUID, source: str) -> None:
    """The owner has come from here: strangers' guesses won't keep them out. Of five places."""
    about = context(session)
    session.execute(
        _USUAL,
        {
            "tenant": about.tenant,
            "user": user,
            "source": _of(user, source),
            "now": about.now,
        },
    )


def forget(session: Session, user: UUID) -> None:
    """Whoever has used the account until now is a stranger from here on."""
    session.execute(_UNUSUAL, {"user": user})


def network(address: str) -> str:
    """The source that an address belongs to: of IPv6 the /64, which one customer has whole."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))


def _of(user: UUID, source: str) -> bytes:
    # As `sign_in_guess` puts it together; addresses themselves are not kept.
    account = hashlib.sha256(f"user|{user}".encode()).digest()
    return hashlib.sha256(account + hashlib.sha256(f"source|{source}".encode()).digest()).digest()


def _nobodys(email: str, organisation: str | None) -> bytes:
    """What stands for the account of an e-mail that nobody has, however they are spelt."""
    place = " ".join(fold(organisation or "").replace("-", " ").split())
    return hashlib.sha256(f"nobody|{place}|{email}".encode()).digest()


def _about(who: Sequence[object]) -> bytes:
    return hashlib.sha256("|".join(["confirm", *map(str, who)]).encode()).digest()
