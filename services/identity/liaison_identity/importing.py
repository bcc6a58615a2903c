"""Importing users: reps with their managers and regions, in teams that are made on the way."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Table, select, update
from sqlalchemy.orm import Session, aliased

from liaison_identity import audit, reach, teams, users
from liaison_identity.models import Team, User
from liaison_identity.users import USERS
from liaison_kit.context import context
from liaison_kit.imports.fields import Importable, ImportField
from liaison_kit.imports.references import SEVERAL
from liaison_kit.records import create
from liaison_kit.records.search import fold


def _place(text: str) -> str:
    return " ".join(fold(text).split())


class Colleagues:
    """The users whom a file names, by name or by their id in another system."""

    on_missing = "create"
    """What the file's own words make of it: a manager who is nowhere yet is added."""

    def resolve(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """The users of these names; a name that two people share is nobody's."""
        found: dict[str, set[str]] = {}
        for id, name, external_id in session.execute(select(User.id, User.name, User.external_id)):
            for known in {_place(name), _place(external_id or "")} - {""}:
                found.setdefault(known, set()).add(str(id))
        met = {value: found[_place(value)] for value in values if _place(value) in found}
        return {v: next(iter(ids)) if len(ids) == 1 else SEVERAL for v, ids in met.items()}

    def names(self, session: Session, near: Sequence[str]) -> Sequence[str]:
        """Everybody's name."""
        return list(session.scalars(select(User.name).limit(5000)))

    def create(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """Users of these names, not invited yet; a number is no name, and nor is a shared one."""
        taken_names = {_place(name) for name in session.scalars(select(User.name))}
        made: dict[str, User] = {}
        for value in values:
            key = _place(value)
            if key not in made and key not in taken_names and not value.strip().isdigit():
                made[key] = _added(session, value.strip())
        users.tell(session, [row.id for row in made.values()])
        return {v: str(made[_place(v)].id) for v in values if _place(v) in made}


def _added(session: Session, name: str) -> User:
    row = create(
        session,
        USERS,
        User,
        name=name,
        active=True,
        locale="en",
        role_ids=[],
    )
    audit.record(session, "user_created", "users", row.id, name=name, by_import=True)
    return row


class Teams:
    """The teams that a file names."""

    on_missing = "create"

    def resolve(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """The teams of these names."""
        known = {_place(name): str(id) for id, name in session.execute(select(Team.id, Team.name))}
        return {value: known[_place(value)] for value in values if _place(value) in known}

    def names(self, session: Session, near: Sequence[str]) -> Sequence[str]:
        """Every team's name."""
        return list(session.scalars(select(Team.name).limit(5000)))

    def create(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """Teams of these names."""
        made: dict[str, Team] = {}
        for value in values:
            if _place(value) not in made:
                made[_place(value)] = teams.add(session, value.strip(), None)
        return {value: str(made[_place(value)].id) for value in values}


def _saved(session: Session, created: Sequence[UUID], updated: Sequence[UUID]) -> None:
    """Put the users of a chunk where the file says they belong, and tell everybody."""
    ids = [*created, *updated]
    if not ids:
        return
    _settle(session, ids)
    audit.record(session, "users_imported", "users", created=len(created), updated=len(updated))
    users.tell(session, ids)


def _taken_back(session: Session, deleted: Sequence[UUID], restored: Sequence[UUID]) -> None:
    """The same after a rollback."""
    reach.demand_all(session, "Taking an import of users back decides who sees whose records")
    users.tell_removed(session, deleted)
    if restored:
        _settle(session, restored)
        users.tell(session, restored)
    audit.record(
        session, "import_taken_back", "users", deleted=len(deleted), restored=len(restored)
    )


def _settle(session: Session, ids: Sequence[UUID]) -> None:
    """Find or make the team of each user for whom the file gives a region.

    A team that the file or a person named stays; it learns its region if it has none.
    """
    manager = aliased(User)
    rows = session.execute(
        select(
            User.id,
            User.region,
            User.manager_id,
            manager.name.label("manager"),
            User.team_id,
            Team.name.label("team"),
            Team.region.label("team_region"),
        )
        .outerjoin(manager, manager.id == User.manager_id)
        .outerjoin(Team, Team.id == User.team_id)
        .where(User.id.in_(ids), User.region.is_not(None))
        .order_by(User.id)
    ).all()
    wanted: dict[str, list[Any]] = {}
    for row in rows:
        name = f"{row.region} – {row.manager}" if row.manager else row.region
        if row.team_id is None or (_was_derived(row) and row.team != name):
            wanted.setdefault(name, []).append(row)
        elif row.team_region is None:
            _give_region(session, row.team_id, row.region)
    known = Teams().resolve(session, list(wanted))
    found = select(Team.id, Team.manager_id).where(Team.id.in_(map(UUID, known.values())))
    managers = {row.id: row.manager_id for row in session.execute(found)}
    for name, members in wanted.items():
        first = members[0]
        if name in known:
            team = UUID(known[name])
            # It may only be called so: whoever manages it would see what its members have.
            if managers[team] not in (None, first.manager_id):
                continue
        else:
            team = teams.add(session, name, first.region, manager_id=first.manager_id).id
        session.execute(
            update(User)
            .where(User.id.in_([row.id for row in members]))
            .values(team_id=team)
            .execution_options(synchronize_session=False)
        )


def _was_derived(row: Any) -> bool:
    region = row.team_region
    return region is not None and (row.team == region or row.team.startswith(f"{region} – "))


def _give_region(session: Session, team: UUID, region: str) -> None:
    about = context(session)
    given = session.scalars(
        update(Team)
        .where(Team.id == team, Team.region.is_(None))
        .values(
            region=region,
            version=Team.version + 1,
            updated_at=about.now,
            updated_by=about.user,
        )
        .returning(Team.id)
        .execution_options(synchronize_session=False)
    ).first()
    if given is not None:
        users.touch(session, User.team_id == team)


class ImportedUsers(Importable):
    """Users as files may fill them, for those who see everybody's records.

    A file puts people in teams and under managers, which decides whose records are seen.
    """

    def all_fields(self, session: Session) -> list[ImportField]:
        """The fields; asked for whenever a file is looked at, tried or imported."""
        reach.demand_all(session, "A file of users decides who sees whose records")
        return super().all_fields(session)


_table = User.__table__
assert isinstance(_table, Table)

IMPORTED_USERS = ImportedUsers(
    record="users",
    label={"en": "Users", "fr": "Utilisateurs"},
    table=_table,
    permission="users:write",
    keys=("external_id", "email", "name"),
    unique_keys=frozenset({"external_id", "email"}),
    match={"name": "lower(t.name) = lower(s.name)"},
    fields=(
        ImportField(
            "name",
            {"en": "Name", "fr": "Nom"},
            required=True,
            max_length=200,
            aliases=(
                "sales agent",
                "agent",
                "sales rep",
                "rep",
                "employee",
                "full name",
                "user",
                "commercial",
                "vendeur",
                "nom complet",
                "utilisateur",
                "salarié",
            ),
        ),
        ImportField(
            "email",
            {"en": "E-mail", "fr": "E-mail"},
            kind="email",
            aliases=("mail", "email address", "courriel", "adresse e-mail"),
        ),
        ImportField(
            "title",
            {"en": "Job title", "fr": "Fonction"},
            max_length=200,
            aliases=("title", "position", "job", "poste", "intitulé du poste"),
        ),
        ImportField(
            "manager",
            {"en": "Manager", "fr": "Responsable"},
            kind="reference",
            reference="users",
            column="manager_id",
            aliases=("reports to", "sales manager", "boss", "supérieur", "supérieur hiérarchique"),
        ),
        ImportField(
            "team",
            {"en": "Team", "fr": "Équipe"},
            kind="reference",
            reference="teams",
            column="team_id",
            aliases=("group", "squad", "groupe"),
        ),
        ImportField(
            "region",
            {"en": "Region", "fr": "Région"},
            max_length=200,
            aliases=("regional office", "office", "territory", "agence", "bureau", "secteur"),
        ),
        ImportField(
            "external_id",
            {"en": "External id", "fr": "Identifiant externe"},
            max_length=200,
            aliases=("employee id", "user id", "agent id", "id", "matricule"),
        ),
    ),
    references={"users": Colleagues(), "teams": Teams()},
    namesakes="report",
    merge={
        # A file must not take a sign-in over: the e-mail of who has a password stays.
        "email": "CASE WHEN t.password_hash IS NULL THEN coalesce(s.email, t.email)"
        " ELSE t.email END",
    },
    after_chunk=_saved,
    after_rollback=_taken_back,
)
