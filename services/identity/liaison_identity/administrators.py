"""The rule that a tenant always has somebody who may do everything."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from liaison_identity.grants import EVERYTHING
from liaison_identity.models import Role, Tenant, User
from liaison_kit.context import context
from liaison_sdk.errors import Conflict


class LastAdministrator(Conflict):
    """The change would leave nobody who can sign in and may do everything."""

    code, title = "last_administrator", "Somebody must stay administrator"


def keep_one(session: Session) -> None:
    """Raise `LastAdministrator` unless somebody who can sign in is still allowed everything."""
    session.flush()
    # Two administrators who remove each other at the same moment meet at this lock.
    session.execute(select(Tenant.id).where(Tenant.id == context(session).tenant).with_for_update())
    left = session.scalar(
        select(func.count())
        .select_from(User)
        .join(Role, Role.id == func.any(User.role_ids))
        .where(
            Role.permissions.contains([EVERYTHING]),
            User.active,
            User.email.is_not(None),
            User.password_hash.is_not(None),
        )
    )
    if not left:
        raise LastAdministrator("Make somebody else administrator first")
