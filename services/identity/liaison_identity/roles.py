"""Roles: what people may do, and in whose rows."""

from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from liaison_identity import administrators, audit, grants, permissions, taken
from liaison_identity.models import Role, User
from liaison_identity.reach import BeyondYourSight
from liaison_kit import records
from liaison_kit.context import context
from liaison_kit.events import emit
from liaison_kit.records import Held
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.contracts import identity as contracts
from liaison_sdk.contracts.identity import NewRole, RoleChanges, RoleSaved
from liaison_sdk.errors import Conflict, InvalidInput
from liaison_sdk.labels import Label

ROLES = RecordType(
    "roles",
    Label(en="Role", fr="Rôle"),
    model=Role,
    shape=contracts.Role,
)
_UNIQUE = {"uq_roles_name": "name"}


class RoleInUse(Conflict):
    """Users have this role; give them another one first."""

    code, title = "role_in_use", "Somebody has this role"


def create(session: Session, role: NewRole, announced: Iterable[str] = ()) -> Held[Role]:
    """A new role; it may not allow more than its maker is allowed.

    `announced` are the permissions of the modules that run.
    """
    permissions.check(role.permissions, role.rows, announced)
    grants.demand(context(session).principal, role.permissions, role.rows)
    values = role.model_dump() | {"permissions": _sorted(role.permissions)}
    with taken.named(ROLES, _UNIQUE):
        row = records.create(session, ROLES, Role, **values)
    audit.record(
        session, "role_created", "roles", row.id, name=row.name, permissions=row.permissions
    )
    emit(session, RoleSaved(role_id=row.id))
    return row


def change(
    session: Session,
    id: UUID,
    changes: RoleChanges,
    version: int,
    announced: Iterable[str] = (),
) -> None:
    """Set fields of a role; neither what it was nor what it becomes may be beyond the actor."""
    principal = context(session).principal
    row = records.load(session, ROLES, Role, id, version)
    values = {name: getattr(changes, name) for name in changes.model_fields_set}
    if "permissions" in values:
        values["permissions"] = _sorted(values["permissions"])
    # What it had already may be of a module that has left.
    permissions.check(
        set(values.get("permissions", ())) - set(row.permissions),
        values.get("rows", {}).keys() - row.rows.keys(),
        announced,
    )
    before = row.permissions, row.rows
    after = values.get("permissions", row.permissions), values.get("rows", row.rows)
    grants.demand(principal, *before)
    grants.demand(principal, *after)
    if principal is not None:
        _demand_nobody_sees_more(session, id, grants.widened(before, after, principal.rows))
    with taken.named(ROLES, _UNIQUE):
        _, changed = records.change(session, ROLES, row, values)
    if not changed:
        return
    if grants.EVERYTHING in changed.get("permissions", ((), ()))[0]:
        administrators.keep_one(session)
    audit.record(
        session,
        "role_changed",
        "roles",
        id,
        fields=sorted(changed),
        changes={n: list(pair) for n, pair in changed.items() if n in ("permissions", "rows")},
    )
    emit(session, RoleSaved(role_id=id))


def _demand_nobody_sees_more(session: Session, id: UUID, of: Collection[str]) -> None:
    """What "own" and "team" show is other rows for each who has the role."""
    me = context(session).user
    others = exists().where(User.role_ids.contains([id]), User.id != me)
    if of and session.scalar(select(others)):
        raise BeyondYourSight(
            f"Others have this role, and you see some rows of {', '.join(sorted(of))} only"
        )


def remove(session: Session, id: UUID, version: int) -> None:
    """Delete a role that nobody has."""
    row = records.load(session, ROLES, Role, id, version)
    grants.demand(context(session).principal, row.permissions, row.rows)
    holders = session.scalar(
        select(func.count()).select_from(User).where(User.role_ids.contains([id]))
    )
    if holders:
        raise RoleInUse(f"{holders} users have this role")
    records.remove(session, ROLES, row)
    audit.record(session, "role_removed", "roles", id, name=row.name)
    emit(session, RoleSaved(role_id=id))


def chosen(session: Session, ids: Sequence[UUID], path: str = "role_ids") -> list[Role]:
    """The roles of these ids, kept from being deleted until the commit."""
    if not ids:
        return []
    found = list(
        session.scalars(
            select(Role).where(Role.id.in_(ids)).with_for_update(read=True, key_share=True)
        )
    )
    if len(found) != len(set(ids)):
        raise InvalidInput.field(path, "unknown_reference", f"{path} names no role of yours")
    return found


def allowed(roles: Sequence[Role]) -> tuple[set[str], dict[str, contracts.RowRule]]:
    """The permissions and row rules of these roles together."""
    return grants.together({"permissions": r.permissions, "rows": r.rows} for r in roles)


def _sorted(permissions: Sequence[str]) -> list[str]:
    return sorted(set(permissions))
