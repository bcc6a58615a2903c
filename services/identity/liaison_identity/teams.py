"""Teams: people who work together, in a region."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from liaison_identity import audit, reach, taken, views
from liaison_identity.models import Team, User
from liaison_kit import records
from liaison_kit.events import emit
from liaison_kit.records import Held
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.contracts import identity as contracts
from liaison_sdk.contracts.identity import NewTeam, TeamChanges, TeamSaved
from liaison_sdk.labels import Label

TEAMS = RecordType(
    "teams",
    Label(en="Team", fr="Équipe"),
    model=Team,
    shape=contracts.Team,
    columns={
        "manager": select(User.name)
        .where(User.id == Team.manager_id)
        .correlate(Team)
        .scalar_subquery(),
        "members": select(func.count())
        .where(User.team_id == Team.id)
        .correlate(Team)
        .scalar_subquery(),
    },
    subtitle=("region",),
)
_UNIQUE = {"uq_teams_name": "name"}


def create(session: Session, team: NewTeam) -> Held[Team]:
    """A new team."""
    _check_manager(session, team.manager_id)
    return add(session, **team.model_dump())


def add(session: Session, name: str, region: str | None, **values: Any) -> Held[Team]:
    """A team with these fields, told and audited."""
    with taken.named(TEAMS, _UNIQUE):
        row = records.create(session, TEAMS, Team, name=name, region=region or None, **values)
    audit.record(session, "team_created", "teams", row.id, name=name)
    emit(session, TeamSaved(team_id=row.id))
    return row


def change(session: Session, id: UUID, changes: TeamChanges, version: int) -> None:
    """Set fields of a team; its members carry its name and region, so they are told as well."""
    from liaison_identity import users

    row = records.load(session, TEAMS, Team, id, version)
    values = {name: getattr(changes, name) for name in changes.model_fields_set}
    if "region" in values:
        values["region"] = values["region"] or None
    if values.get("manager_id") not in (None, row.manager_id):
        _check_manager(session, values["manager_id"])
        # Whoever manages a team sees its members' records.
        reach.demand_members(session, id)
    with taken.named(TEAMS, _UNIQUE):
        _, changed = records.change(session, TEAMS, row, values)
    if not changed:
        return
    audit.record(session, "team_changed", "teams", id, fields=sorted(changed))
    emit(session, TeamSaved(team_id=id))
    if changed.keys() & {"name", "region"}:
        users.touch(session, User.team_id == id)


def remove(session: Session, id: UUID, version: int) -> None:
    """Delete a team; its members stay, without one."""
    from liaison_identity import users

    row = records.load(session, TEAMS, Team, id, version)
    members = users.touch(session, User.team_id == id, quietly=True, team_id=None)
    views.team_left(session, id)
    records.remove(session, TEAMS, row)
    audit.record(session, "team_removed", "teams", id, name=row.name)
    emit(session, TeamSaved(team_id=id))
    users.tell(session, members)


def _check_manager(session: Session, manager_id: UUID | None) -> None:
    from liaison_identity import users

    records.demand(session, manager_id=(User, manager_id))
    users.demand_visible(session, manager_id=manager_id)
