"""Users: who works here, in which team, for whom, with which roles."""

import datetime as dt
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.orm import Session, aliased

from liaison_identity import (
    administrators,
    audit,
    grants,
    guessing,
    password_links,
    passwords,
    reach,
    roles,
    taken,
    tokens,
    views,
)
from liaison_identity.models import PasswordLink, Team, User
from liaison_kit import listing, records
from liaison_kit.context import context
from liaison_kit.events import emit
from liaison_kit.events.resend import batches
from liaison_kit.imports.references import SEVERAL, one_each
from liaison_kit.records import Held
from liaison_kit.records.recordtype import RecordType
from liaison_kit.records.references import unknown
from liaison_sdk.contracts import identity as contracts
from liaison_sdk.contracts.identity import (
    EndedTokens,
    NewUser,
    TeamSaved,
    UserChanges,
    UserRef,
    UserRemoved,
    UsersSaved,
)
from liaison_sdk.errors import Conflict, InvalidInput, NotFound
from liaison_sdk.labels import Label

_manager = aliased(User, name="manager")
_team_name = select(Team.name).where(Team.id == User.team_id).correlate(User).scalar_subquery()
_team_region = select(Team.region).where(Team.id == User.team_id).correlate(User).scalar_subquery()
_manager_name = (
    select(_manager.name).where(_manager.id == User.manager_id).correlate(User).scalar_subquery()
)
_region = func.coalesce(_team_region, User.region)

# Of the latest letter to the address that they have now.
_unreached = (
    select(PasswordLink.failed)
    .where(PasswordLink.user_id == User.id, PasswordLink.email == User.email)
    .order_by(PasswordLink.created_at.desc(), PasswordLink.id.desc())
    .limit(1)
    .correlate(User)
    .scalar_subquery()
)
USERS = RecordType(
    "users",
    Label(en="User", fr="Utilisateur"),
    model=User,
    shape=contracts.User,
    columns={
        "team": _team_name,
        "region": _region,
        "manager": _manager_name,
        "unreached": _unreached,
        "can_sign_in": and_(User.active, User.email.is_not(None), User.password_hash.is_not(None)),
    },
    owner=User.id,
    subtitle=("title", "team"),
)
UNIQUE = {"uq_users_email": "email"}
_TOLD = {"name", "email", "team_id", "manager_id", "active"}
_GUARDED = {"email", "role_ids", "active"}


class HasPassword(Conflict):
    """An invitation is for who has no password yet."""

    code, title = "has_password", "This user has a password already"


class NotActive(Conflict):
    """Who is not active can't sign in, with whatever password."""

    code, title = "not_active", "This user is not active"


class NoEmail(InvalidInput):
    """A password is of no use to a user who has no e-mail to sign in with."""

    code = "no_email"


def create(session: Session, user: NewUser) -> Held[User]:
    """A new user; their roles may not allow more than their maker is allowed."""
    if user.password is not None and user.email is None:
        raise NoEmail.field("email", "missing", "A password needs an e-mail to sign in with")
    # Before anything is locked: a hash takes its time.
    password_hash = None if user.password is None else passwords.hashed(user.password)
    _check_references(session, user.team_id, user.manager_id)
    granted = roles.chosen(session, user.role_ids)
    grants.demand(context(session).principal, *roles.allowed(granted))
    if user.team_id is not None:
        reach.demand_members(session, user.team_id)
    with taken.named(USERS, UNIQUE):
        row = records.create(
            session,
            USERS,
            User,
            **user.model_dump(exclude={"password", "invite"}),
            password_hash=password_hash,
        )
    reach.keep_in_sight(session, row.id)
    audit.record(
        session,
        "user_created",
        "users",
        row.id,
        name=row.name,
        roles=[str(role.id) for role in granted],
    )
    tell(session, [row.id])
    if user.invite and row.active and row.email is not None and password_hash is None:
        password_links.send(session, "invitation", row)
    return row


def invite_again(session: Session, id: UUID) -> dt.datetime:
    """Mail an invitation to somebody who has no password yet; until when it is good."""
    may_set_password(session, id)
    row = _user(session, id)
    if row.password_hash is not None:
        raise HasPassword("They can ask for a new one themselves")
    if not row.active:
        raise NotActive("Activate them first")
    password_links.void(session, id)
    audit.record(session, "user_invited", "users", id)
    return password_links.send(session, "invitation", row)


def change(session: Session, id: UUID, changes: UserChanges, version: int) -> User:
    """Set fields of a user.

    What decides who can sign in, and with which rights, is only for those who hold all the rights
    that the user has and gets. Team and manager are only changed among people whose records the
    actor sees.
    """
    row = records.load(session, USERS, User, id, version)
    values = {name: getattr(changes, name) for name in changes.model_fields_set}
    before, _ = held = _held(session, row)
    principal = context(session).principal
    if any(getattr(row, name) != values[name] for name in _GUARDED & values.keys()):
        grants.demand(principal, *held)
        reach.demand_account(session, id, *held)
    given = held
    if "role_ids" in values:
        given = roles.allowed(roles.chosen(session, values["role_ids"]))
        grants.demand(principal, *given)
    moves = {n: values[n] for n in ("team_id", "manager_id") & values.keys()}
    moves = {name: to for name, to in moves.items() if to not in (None, getattr(row, name))}
    _check_references(session, moves.get("team_id"), moves.get("manager_id"), id)
    if moves:
        reach.demand(session, [id])
    if "team_id" in moves:
        reach.demand_members(session, moves["team_id"])
    if "team_id" in values and row.region is not None:
        values["region"] = None
    with taken.named(USERS, UNIQUE):
        row, changed = records.change(session, USERS, row, values)
    if not changed:
        return row
    if changed.keys() & {"team_id", "manager_id"}:
        reach.keep_in_sight(session, id)
    if "role_ids" in changed:
        reach.demand_account(session, id, *given)
    if changed.keys() & _GUARDED:
        if grants.EVERYTHING in before:
            administrators.keep_one(session)
        if not row.active or row.email is None:
            tokens.revoke_all(session, id)
            password_links.void(session, id)
    details: dict[str, Any] = {"fields": sorted(changed)}
    if "role_ids" in changed:
        details["roles"] = [[str(role) for role in side] for side in changed["role_ids"]]
    audit.record(session, "user_changed", "users", id, **details)
    tell(session, [id])
    if "name" in changed:
        touch(session, User.manager_id == id)
    return row


def remove(session: Session, id: UUID, version: int) -> None:
    """Delete a user: their tokens end, their team and the people they manage stay."""
    row = records.load(session, USERS, User, id, version)
    before, _ = held = _held(session, row)
    grants.demand(context(session).principal, *held)
    reach.demand_account(session, id, *held)
    tokens.revoke_all(session, id)
    managed = touch(session, User.manager_id == id, quietly=True, manager_id=None)
    about = context(session)
    for team in session.scalars(
        update(Team)
        .where(Team.manager_id == id)
        .values(
            manager_id=None,
            version=Team.version + 1,
            updated_at=about.now,
            updated_by=about.user,
        )
        .returning(Team.id)
    ).all():
        emit(session, TeamSaved(team_id=team))
    name = row.name
    views.owner_left(session, id)
    records.remove(session, USERS, row)
    if grants.EVERYTHING in before:
        administrators.keep_one(session)
    audit.record(session, "user_removed", "users", id, name=name)
    tell_removed(session, [id])
    tell(session, managed)


def may_set_password(session: Session, id: UUID) -> None:
    """Raise unless the actor may set this user's password, and it would be of use."""
    row = _user(session, id)
    if context(session).user != id:
        _demand_rights(session, row)
    if row.email is None:
        raise NoEmail.field("email", "missing", "This user has no e-mail to sign in with")


def set_password(
    session: Session, id: UUID, password_hash: str, *, keep_tokens: bool, but: UUID | None
) -> EndedTokens:
    """Set a password; sessions and API tokens end, but for the session `but` that asks.

    Another person's needs all the rights that this person has. Whether one's own present password
    was right is for `sign_in.confirm`, which counts failures.
    """
    row = records.load(session, USERS, User, id)
    may_set_password(session, id)
    ended = tokens.revoke_all(session, id, but=but, sessions_only=keep_tokens)
    guessing.forget(session, row.id)
    password_links.void(session, row.id)
    audit.record(session, "password_set", "users", id, api_tokens_kept=keep_tokens)
    touch(session, User.id == id, password_hash=password_hash)
    return ended


def demand_rights_of(session: Session, id: UUID) -> None:
    """Raise unless the actor sees this user and holds every right of theirs."""
    _demand_rights(session, _user(session, id))


def demand_seen(session: Session, id: UUID) -> None:
    """Raise `NotFound` unless there is such a user whom the actor sees."""
    if not sees(session, id):
        raise NotFound("There is no such record in users")


def sees(session: Session, id: UUID) -> bool:
    """Whether there is such a user whom the actor sees."""
    return listing.read(session, USERS, id) is not None


def touch(
    session: Session, where: ColumnElement[bool], *, quietly: bool = False, **values: Any
) -> list[UUID]:
    """A new version of users of whom others know something that has changed; returns their ids."""
    about = context(session)
    session.flush()
    ids = list(
        session.scalars(
            update(User)
            .where(where)
            .values(
                version=User.version + 1,
                updated_at=about.now,
                updated_by=about.user,
                **values,
            )
            .returning(User.id)
            .execution_options(synchronize_session=False)
        )
    )
    if not quietly:
        tell(session, ids)
    return ids


def tell(session: Session, ids: Sequence[UUID]) -> None:
    """Tell the other services what they keep of these users."""
    session.flush()
    for some in batches(ids):
        if told := known(session, some):
            emit(session, UsersSaved(users=told))


def known(session: Session, ids: Sequence[UUID]) -> list[UserRef]:
    """What others keep of these users."""
    rows = session.execute(
        select(
            User.id,
            User.name,
            User.email,
            User.team_id,
            _team_name.label("team"),
            _region.label("region"),
            User.manager_id,
            _manager_name.label("manager"),
            User.active,
            User.version,
        ).where(User.id.in_(ids))
    )
    return [UserRef.model_validate(row, from_attributes=True) for row in rows]


def tell_removed(session: Session, ids: Sequence[UUID]) -> None:
    """Tell the other services that these users are gone."""
    versions = records.removals(session, USERS, ids)
    for id in ids:
        emit(session, UserRemoved(user_id=id, record_version=versions.get(id)))


def _user(session: Session, id: UUID) -> User:
    demand_seen(session, id)
    return session.scalars(
        select(User).where(User.id == id).execution_options(populate_existing=True)
    ).one()


def _demand_rights(session: Session, row: User | Held[User]) -> None:
    held = _held(session, row)
    grants.demand(context(session).principal, *held)
    reach.demand_account(session, row.id, *held)


def _held(
    session: Session, row: User | Held[User]
) -> tuple[set[str], dict[str, contracts.RowRule]]:
    return roles.allowed(roles.chosen(session, row.role_ids))


def _check_references(
    session: Session, team_id: UUID | None, manager_id: UUID | None, id: UUID | None = None
) -> None:
    if manager_id is not None and manager_id == id:
        raise InvalidInput.field("manager_id", "own_manager", "Nobody is their own manager")
    records.demand(session, team_id=(Team, team_id), manager_id=(User, manager_id))
    demand_visible(session, manager_id=manager_id)


def demand_visible(session: Session, **references: UUID | None) -> None:
    """A user whom the actor does not see is named like one that there is not."""
    hidden = [p for p, id in references.items() if id and not reach.sees_user(session, id)]
    if hidden:
        raise unknown(hidden)


def resolve(session: Session, names: Sequence[str]) -> dict[str, UUID]:
    """The ids of users by name or e-mail address; a name that two share is nobody's."""
    found = select(User.id, User.name, User.email).where(
        User.name.in_(names) | User.email.in_(names)
    )
    _, seen = listing.row_rule(session, USERS)
    if seen is not None:
        found = found.where(User.id.in_(seen))
    rows = session.execute(found)
    wanted = set(names)
    named = one_each((known, str(id)) for id, *both in rows for known in both if known in wanted)
    return {name: UUID(id) for name, id in named.items() if id != SEVERAL}
