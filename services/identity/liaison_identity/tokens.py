"""Tokens: sessions of people and API tokens of machines; only their hashes are kept."""

import datetime as dt
import hashlib
import secrets
from collections.abc import Iterable
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Row, func, or_, select, update
from sqlalchemy.orm import Session

from liaison_identity import audit, grants, permissions, roles
from liaison_identity.models import Token, User
from liaison_kit.context import NOBODY, Context, Principal, context
from liaison_kit.database.database import Database
from liaison_kit.events import emit
from liaison_kit.ids import uuid7
from liaison_kit.listing.asked import Page
from liaison_kit.trust.principals import Principals
from liaison_sdk.contracts import identity as contracts
from liaison_sdk.contracts.identity import (
    Authenticated,
    EndedTokens,
    IssuedToken,
    NewToken,
    RenewedPrincipal,
    TokenRevoked,
)
from liaison_sdk.errors import Conflict, NotFound, Unauthenticated

# Scanners of source code recognise leaked tokens by how they begin.
_PREFIX = {"session": "lses_", "token": "ltok_"}
_HOLDER = "SELECT * FROM token_holder(%(hash)s)"
_RIGHTS_NOW = """
SELECT %(token)s::uuid AS token_id, %(kind)s AS kind, t.permissions AS narrowed, u.tenant_id,
    u.id AS user_id, u.name, u.locale,
    (SELECT jsonb_agg(jsonb_build_object('permissions', r.permissions, 'rows', r.rows))
       FROM roles r WHERE r.id = ANY (u.role_ids)) AS roles,
    ARRAY(SELECT u.id
          UNION SELECT p.id FROM users p WHERE p.team_id = u.team_id
          UNION SELECT p.id FROM users p WHERE p.manager_id = u.id
          UNION SELECT p.id FROM teams m JOIN users p ON p.team_id = m.id
                 WHERE m.manager_id = u.id) AS peers
FROM users u
JOIN tenants n ON n.id = u.tenant_id
LEFT JOIN tokens t ON t.id = %(token)s::uuid AND t.user_id = u.id
WHERE u.id = %(user)s::uuid AND u.active AND n.active
  AND (%(kind)s = 'session' OR (t.id IS NOT NULL AND t.revoked_at IS NULL
                                AND (t.expires_at IS NULL OR t.expires_at > now())))
"""


MOST = 50
"""So many API tokens a user may have at a time."""


class TooManyTokens(Conflict):
    """The user has as many API tokens as anybody may have; end one first."""

    code, title = "too_many_tokens", "You have too many API tokens"


class NoSuchToken(NotFound):
    """There is no such token, or none that the caller may know of."""

    title = "There is no such token"


class BadToken(Unauthenticated):
    """The token is unknown, expired, revoked, or its user is not active any more."""

    title = "This token is not valid, or not any more"


def authenticate(db: Database, principals: Principals, token_hash: str) -> Authenticated:
    """Whose token it is and what it allows, in one round trip to the database."""
    with db.reading(Context(tenant=NOBODY)) as session:
        given = {"hash": bytes.fromhex(token_hash)}
        row = session.connection().exec_driver_sql(_HOLDER, given).first()
    if row is None:
        raise BadToken()
    signed = principals.issue(_principal(row))
    return Authenticated(principal=signed, expires_at=row.expires_at)


def renew(db: Database, principals: Principals, signed: str) -> RenewedPrincipal:
    """What somebody may do now whose work goes on after the principal that it began with.

    A session that has ended since does not end the work that was begun in it; an API token that was
    taken back does, and so does whatever makes somebody unable to sign in.
    """
    was = principals.read_expired(signed)
    with db.reading(Context(tenant=was.tenant)) as session:
        given = {"user": str(was.user), "token": str(was.token_id), "kind": was.kind}
        row = session.connection().exec_driver_sql(_RIGHTS_NOW, given).first()
    return RenewedPrincipal(principal=principals.issue(_principal(row)) if row else None)


def _principal(row: Row[Any]) -> Principal:
    permissions, rows = grants.together(row.roles or ())
    return Principal(
        tenant=row.tenant_id,
        user=row.user_id,
        name=row.name,
        permissions=frozenset(grants.narrowed(permissions, row.narrowed)),
        rows=rows,
        peers=tuple(row.peers),
        locale=row.locale,
        token_id=row.token_id,
        kind=row.kind,
    )


def issue(
    session: Session,
    user: UUID,
    kind: Literal["session", "token"],
    expires_at: dt.datetime | None,
    label: str | None = None,
    narrowed: list[str] | None = None,
) -> tuple[str, Token]:
    """A new token and its row."""
    about = context(session)
    token = _PREFIX[kind] + secrets.token_urlsafe(32)
    row = Token(
        id=uuid7(),
        tenant_id=about.tenant,
        user_id=user,
        kind=kind,
        hash=hash_of(token),
        label=label,
        permissions=narrowed,
        created_at=about.now,
        expires_at=expires_at,
        last_used_at=None,
        revoked_at=None,
    )
    session.add(row)
    return token, row


def create(
    session: Session, principal: Principal, new: NewToken, announced: Iterable[str] = ()
) -> IssuedToken:
    """An API token of the caller's own; it never allows more than the token that asked for it.

    `announced` are the permissions of the modules that run.
    """
    now = context(session).now
    permissions.check(new.permissions or (), (), announced)
    wanted = None if new.permissions is None else sorted(set(new.permissions))
    if wanted is not None:
        grants.demand(principal, wanted, principal.rows)
    elif not principal.permissions >= _of_roles(session, principal.user):
        wanted = sorted(principal.permissions)
    _demand_room(session, principal.user)
    expires_at = None if new.days is None else now + dt.timedelta(days=new.days)
    token, row = issue(session, principal.user, "token", expires_at, new.label, wanted)
    audit.record(session, "token_created", "tokens", row.id, label=new.label, permissions=wanted)
    return IssuedToken(**_shape(row).model_dump(), token=token)


def _demand_room(session: Session, user: UUID) -> None:
    """One more token must not be too many; those who ask for several at once take turns."""
    active = session.scalar(
        select(User.active).where(User.id == user).with_for_update(key_share=True)
    )
    if not active:
        # They have been deactivated or removed since they were recognised.
        raise BadToken()
    held = session.scalar(
        select(func.count()).where(Token.user_id == user, Token.kind == "token", *_valid(session))
    )
    if held is not None and held >= MOST:
        raise TooManyTokens(f"You have {held} API tokens: end one that you don't need any more")


def page(session: Session, user: UUID, limit: int, cursor: UUID | None) -> Page[contracts.Token]:
    """The valid tokens of a user, latest first."""
    wanted = (
        select(Token)
        .where(Token.user_id == user, *_valid(session))
        .order_by(Token.id.desc())
        .limit(limit + 1)
    )
    if cursor is not None:
        wanted = wanted.where(Token.id < cursor)
    rows = list(session.scalars(wanted))
    after = str(rows[limit - 1].id) if len(rows) > limit else None
    return Page[contracts.Token](items=[_shape(row) for row in rows[:limit]], next=after)


def owner(session: Session, id: UUID) -> UUID:
    """Whose token it is."""
    found = session.scalar(select(Token.user_id).where(Token.id == id, Token.revoked_at.is_(None)))
    if found is None:
        raise NoSuchToken()
    return found


def revoke(session: Session, id: UUID, action: str = "token_revoked") -> None:
    """End one token."""
    _revoke(session, action, Token.id == id)


def revoke_all(
    session: Session, user: UUID, *, but: UUID | None = None, sessions_only: bool = False
) -> EndedTokens:
    """End the tokens of a user, but for one that stays, or their sessions only."""
    where = [Token.user_id == user]
    if sessions_only:
        where.append(Token.kind == "session")
    if but is not None:
        where.append(Token.id != but)
    return _revoke(session, "token_revoked", *where)


def _revoke(session: Session, action: str, *where: ColumnElement[bool]) -> EndedTokens:
    ended = session.execute(
        update(Token)
        .where(*where, Token.revoked_at.is_(None))
        .values(revoked_at=context(session).now)
        .returning(Token.id, Token.hash, Token.user_id, Token.kind, Token.expires_at)
        .execution_options(synchronize_session=False)
    ).all()
    for token in ended:
        audit.record(session, action, "tokens", token.id, user=str(token.user_id), kind=token.kind)
        emit(session, TokenRevoked(token_hash=bytes(token.hash).hex()))
    now = context(session).now
    kinds = [token.kind for token in ended if token.expires_at is None or token.expires_at > now]
    return EndedTokens(sessions_ended=kinds.count("session"), api_tokens_ended=kinds.count("token"))


def hash_of(token: str) -> bytes:
    """What is kept of a token. It is long and random, so that a fast hash is enough."""
    return hashlib.sha256(token.encode()).digest()


def _of_roles(session: Session, user: UUID) -> set[str]:
    ids = session.scalar(select(User.role_ids).where(User.id == user)) or []
    return roles.allowed(roles.chosen(session, ids))[0]


def _valid(session: Session) -> list[ColumnElement[bool]]:
    now = context(session).now
    return [
        Token.revoked_at.is_(None),
        or_(Token.expires_at.is_(None), Token.expires_at > now),
    ]


def _shape(row: Token) -> contracts.Token:
    return contracts.Token.model_validate(row, from_attributes=True)
