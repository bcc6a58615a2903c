"""Users: who works here, in which team, for whom, with which roles."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.orm import Session, aliased

from liaison_identity import administrators, audit, grants, passwords, roles, taken, tokens
from liaison_identity.models import Team, User
from liaison_kit import records
from liaison_kit.context import context
from liaison_kit.events import emit
from liaison_kit.events.resend import batches
from liaison_kit.records import Held
from liaison_kit.records.recordtype import RecordType
from liaison_kit.records.search import search_text
from liaison_sdk.contracts import identity as contracts
from liaison_sdk.contracts.identity import (
    NewPassword,
    NewUser,
    TeamSaved,
    UserChanges,
    UserRef,
    UserRemoved,
    UsersSaved,
)
from liaison_sdk.errors import InvalidInput
from liaison_sdk.labels import Label

_manager = aliased(User, name="manager")
_team_name = select(Team.name).where(Team.id == User.team_id).correlate(User).scalar_subquery()
_team_region = select(Team.region).where(Team.id == User.team_id).correlate(User).scalar_subquery()
_manager_name = (
    select(_manager.name).where(_manager.id == User.manager_id).correlate(User).scalar_subquery()
)
_region = func.coalesce(_team_region, User.region)

USERS = RecordType(
    "users",
    Label(en="User", fr="Utilisateur"),
    model=User,
    shape=contracts.User,
    columns={
        "team": _team_name,
        "region": _region,
        "manager": _manager_name,
        "can_sign_in": and_(User.active, User.email.is_not(None), User.password_hash.is_not(None)),
    },
    search=User.search,
)
UNIQUE = {"uq_users_email": "email"}
_TOLD = {"name", "email", "team_id", "manager_id", "active"}
_GUARDED = {"email", "role_ids", "active"}


class NoEmail(InvalidInput):
    """A password is of no use to a user who has no e-mail to sign in with."""

    code = "no_email"


def create(session: Session, user: NewUser) -> Held[User]:
    """A new user; their roles may not allow more than their maker is allowed."""
    if user.password is not None and user.email is None:
        raise NoEmail.field("email", "missing", "A password needs an e-mail to sign in with")
    _check_references(session, user.team_id, user.manager_id)
    granted = roles.chosen(session, user.role_ids)
    grants.demand(context(session).principal, *roles.allowed(granted))
    with taken.named(USERS, UNIQUE):
        row = records.create(
            session,
            USERS,
            User,
            **user.model_dump(exclude={"password"}),
            password_hash=None if user.password is None else passwords.hashed(user.password),
            search=search_text([user.name, user.email, user.title]),
        )
    audit.record(
        session,
        "user_created",
        "users",
        row.id,
        name=row.name,
        roles=[str(role.id) for role in granted],
    )
    tell(session, [row.id])
    return row


def change(session: Session, id: UUID, changes: UserChanges, version: int) -> None:
    """Set fields of a user.

    What decides who can sign in, and with which rights, is only for those who hold all the rights
    that the user has and gets.
    """
    row = records.load(session, USERS, User, id, version)
    values = {name: getattr(changes, name) for name in changes.model_fields_set}
    before, _ = held = _held(session, row)
    principal = context(session).principal
    if any(getattr(row, name) != values[name] for name in _GUARDED & values.keys()):
        grants.demand(principal, *held)
    if "role_ids" in values:
        grants.demand(principal, *roles.allowed(roles.chosen(session, values["role_ids"])))
    _check_references(session, values.get("team_id"), values.get("manager_id"), id)
    if "team_id" in values and row.region is not None:
        values["region"] = None
    values["search"] = search_text(
        [values.get(name, getattr(row, name)) for name in ("name", "email", "title")]
    )
    with taken.named(USERS, UNIQUE):
        row, changed = records.change(session, USERS, row, values)
    if not changed:
        return
    if changed.keys() & _GUARDED:
        if grants.EVERYTHING in before:
            administrators.keep_one(session)
        if not row.active or row.email is None:
            tokens.revoke_all(session, id)
    details: dict[str, Any] = {"fields": sorted(changed)}
    if "role_ids" in changed:
        details["roles"] = [[str(role) for role in side] for side in changed["role_ids"]]
    audit.record(session, "user_changed", "users", id, **details)
    tell(session, [id])
    if "name" in changed:
        touch(session, User.manager_id == id)


def remove(session: Session, id: UUID, version: int) -> None:
    """Delete a user: their tokens end, their team and the people they manage stay."""
    row = records.load(session, USERS, User, id, version)
    before, _ = held = _held(session, row)
    grants.demand(context(session).principal, *held)
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
    records.remove(session, USERS, row)
    if grants.EVERYTHING in before:
        administrators.keep_one(session)
    audit.record(session, "user_removed", "users", id, name=name)
    tell_removed(session, [id])
    tell(session, managed)


def set_password(session: Session, id: UUID, new: NewPassword) -> None:
    """Set a password; every session of the user ends but the one that asks.

    Another person's needs all the rights that this person has. Whether one's own present password
    was right is for `sign_in.confirm`, which counts failures.
    """
    about = context(session)
    row = records.load(session, USERS, User, id)
    if row.email is None:
        raise NoEmail.field("email", "missing", "This user has no e-mail to sign in with")
    if about.user != id:
        grants.demand(about.principal, *_held(session, row))
    tokens.revoke_all(session, id, kind="session")
    audit.record(session, "password_set", "users", id)
    touch(session, User.id == id, password_hash=passwords.hashed(new.password))


def demand_rights_of(session: Session, id: UUID) -> None:
    """Raise unless the actor holds every right of this user."""
    row = records.load(session, USERS, User, id)
    grants.demand(context(session).principal, *_held(session, row))


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
    for id in ids:
        emit(session, UserRemoved(user_id=id))


def _held(session: Session, row: Held[User]) -> tuple[set[str], dict[str, contracts.RowRule]]:
    return roles.allowed(roles.chosen(session, row.role_ids))


def _check_references(
    session: Session, team_id: UUID | None, manager_id: UUID | None, id: UUID | None = None
) -> None:
    if manager_id is not None and manager_id == id:
        raise InvalidInput.field("manager_id", "own_manager", "Nobody is their own manager")
    records.demand(session, team_id=(Team, team_id), manager_id=(User, manager_id))


def resolve(session: Session, names: Sequence[str]) -> dict[str, UUID]:
    """The ids of users by name or e-mail address; of two that share a name, the older one."""
    rows = session.execute(
        select(User.id, User.name, User.email)
        .where(User.name.in_(names) | User.email.in_(names))
        .order_by(User.id.desc())
    )
    wanted = set(names)
    return {known: id for id, *both in rows for known in both if known in wanted}
