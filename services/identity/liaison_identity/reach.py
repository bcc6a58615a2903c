"""Whose records somebody sees, and the rule that nobody shows more of them than they see.

Teams and managers decide what "team" means in row rules. So whoever sees some people's records only
puts nobody else's in sight by writing: not in their own, nor in that of an account they can reach.
"""

from collections.abc import Iterable, Mapping
from uuid import UUID

from sqlalchemy import exists, select, text
from sqlalchemy.orm import Session

from liaison_identity.grants import about
from liaison_identity.models import User
from liaison_kit.context import context
from liaison_sdk.errors import Forbidden, InvalidInput

# As `token_holder` puts together what a principal carries.
_PEERS = text(
    "SELECT u.id FROM users u WHERE u.id = :user"
    " UNION SELECT p.id FROM users u JOIN users p ON p.team_id = u.team_id WHERE u.id = :user"
    " UNION SELECT p.id FROM users p WHERE p.manager_id = :user"
    " UNION SELECT p.id FROM teams t JOIN users p ON p.team_id = t.id WHERE t.manager_id = :user"
)


class BeyondYourSight(Forbidden):
    """The act would put records in sight that the actor does not see."""

    code, title = "beyond_your_sight", "You can't show records that you do not see yourself"


def peers(session: Session, user: UUID) -> set[UUID]:
    """The people whose rows "team" means for this user, as of now."""
    session.flush()
    return set(session.scalars(_PEERS, {"user": user}))


def bounds(session: Session) -> set[UUID] | None:
    """The people whose records the actor sees, by the narrowest of their rules; None is everybody.

    A token that was made for some permissions is bound by all rules of its owner: or it would be
    the way round them.
    """
    principal = context(session).principal
    if principal is None or not principal.rows:
        return None
    if "own" in principal.rows.values():
        return {principal.user}
    return peers(session, principal.user)


def demand(session: Session, people: Iterable[UUID]) -> None:
    """Raise `BeyondYourSight` unless the actor sees the records of these people."""
    within = bounds(session)
    if within is not None and not within.issuperset(people):
        raise BeyondYourSight("These are people whose records you do not see")


def demand_members(session: Session, team: UUID) -> None:
    """Raise `BeyondYourSight` unless the actor sees the records of everybody in this team."""
    within = bounds(session)
    if within is None:
        return
    session.flush()
    if session.scalar(select(exists().where(User.team_id == team, User.id.not_in(within)))):
        raise BeyondYourSight("There are people in this team whose records you do not see")


def demand_account(
    session: Session, user: UUID, permissions: Iterable[str], rows: Mapping[str, str]
) -> None:
    """Raise `BeyondYourSight` unless the actor sees every row that the user sees by these rights.

    `grants.demand` has made sure that no rule is broader than the actor's own; but "own" and "team"
    mean other rows for somebody else.
    """
    principal = context(session).principal
    if principal is None or principal.user == user:
        return
    held = list(permissions)
    for record, mine in principal.rows.items():
        if not about(held, record):
            continue
        within = {principal.user} if mine == "own" else peers(session, principal.user)
        theirs = peers(session, user) if rows.get(record) == "team" else {user}
        if not theirs <= within:
            raise BeyondYourSight(f"This user sees {record} that you do not see")


def demand_all(session: Session, what: str) -> None:
    """Raise `BeyondYourSight` unless the actor sees everybody's records."""
    if bounds(session) is not None:
        raise BeyondYourSight(f"{what}, and you see some people's records only")


def sees_user(session: Session, user: UUID) -> bool:
    """Whether a row rule about users shows the actor this one, as of now."""
    principal = context(session).principal
    rule = "all" if principal is None else principal.rows.get("users", "all")
    if principal is None or rule == "all":
        return True
    within = {principal.user} if rule == "own" else peers(session, principal.user)
    return user in within


def keep_in_sight(session: Session, user: UUID) -> None:
    """Nobody loses sight of a user by writing them."""
    if not sees_user(session, user):
        raise InvalidInput.field(
            "team_id",
            "out_of_sight",
            "Your role shows you some users only, and this would not be one of them: they are in"
            " your team, in one that you manage, or report to you",
        )
