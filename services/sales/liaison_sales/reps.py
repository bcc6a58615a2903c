"""The reps: users as identity tells them, kept here so that lists and sums can name them."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.database.statements import Statement
from liaison_kit.records.search import fold
from liaison_sales.models import Rep
from liaison_sdk.contracts.identity import UserRef

# Higher than any version that identity will ever tell: what was removed stays so.
_LAST = 2**62

# In the same order everywhere, so that two batches never wait for each other in a circle.
_KEEP = Statement("""
INSERT INTO reps (id, tenant_id, name, email, folded, team, region, manager_id, manager, active,
                  version)
SELECT DISTINCT ON (id) id, %(tenant)s::uuid, name, email, folded, team, region, manager_id,
       manager, active, version
FROM jsonb_to_recordset(%(rows)s) AS told(id uuid, name text, email text, folded text, team text,
    region text, manager_id uuid, manager text, active boolean, version bigint)
ORDER BY id, version DESC
ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email,
    folded = excluded.folded, team = excluded.team, region = excluded.region,
    manager_id = excluded.manager_id, manager = excluded.manager, active = excluded.active,
    version = excluded.version
WHERE reps.version < excluded.version
""")


def saved(session: Session, users: Sequence[UserRef]) -> None:
    """Remember users; what is not newer than what is known is left out."""
    rows = [dict(user) | {"folded": fold(user.name)} for user in users]
    told = {"tenant": context(session).tenant, "rows": to_json(rows).decode()}
    _KEEP.run(session, told)


def removed(session: Session, user_id: UUID) -> None:
    """A user is gone: their deals stay theirs, and new ones are not given to them."""
    session.execute(
        text(
            "INSERT INTO reps (id, tenant_id, name, folded, active, version)"
            " VALUES (:id, :tenant, '', '', false, :last)"
            " ON CONFLICT (id) DO UPDATE SET active = false, email = NULL, version = :last"
            " WHERE reps.version < :last"
        ),
        {"id": user_id, "tenant": context(session).tenant, "last": _LAST},
    )


def resolve(session: Session, values: Sequence[str]) -> dict[str, str]:
    """The ids of users by name or e-mail; a name that several share names the one who is active."""
    folded = [fold(value) for value in values]
    rows = session.execute(
        select(Rep.id, Rep.folded, func.lower(Rep.email), Rep.active).where(
            or_(Rep.folded.in_(folded), func.lower(Rep.email).in_(folded))
        )
    ).all()
    found: dict[str, list[tuple[str, bool]]] = {}
    for id, name, email, active in rows:
        for key in {name, email} - {None}:
            found.setdefault(key, []).append((str(id), active))
    picked = {key: _only_one(candidates) for key, candidates in found.items()}
    pairs = ((value, picked.get(key)) for value, key in zip(values, folded, strict=True))
    return {value: id for value, id in pairs if id is not None}


def names(session: Session) -> list[str]:
    """The active users' names, for guessing what a misspelt one meant."""
    return list(session.scalars(select(Rep.name).where(Rep.active).limit(5000)))


def learnt(session: Session, found: Mapping[str, UUID]) -> None:
    """Remember what identity answered about names; its events will tell the rest."""
    tenant = context(session).tenant
    rows = [
        {
            "id": id,
            "tenant_id": tenant,
            "name": name,
            "folded": fold(name),
            "active": True,
            "version": 0,
        }
        for name, id in sorted(found.items(), key=lambda pair: pair[1])
    ]
    if rows:
        session.execute(insert(Rep).on_conflict_do_nothing(), rows)


def _only_one(candidates: Sequence[tuple[str, bool]]) -> str | None:
    """Two people of one name are told apart by their e-mail, or not at all."""
    active = [id for id, is_active in candidates if is_active]
    ids = active or [id for id, _ in candidates]
    return ids[0] if len(ids) == 1 else None
