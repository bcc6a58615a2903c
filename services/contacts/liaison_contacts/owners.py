"""Owners: the users whom people and companies may belong to, as identity tells of them.

Who is removed there keeps what they own, and is given nothing more.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from liaison_contacts.models import Owner
from liaison_kit.calls.outside import answer_if_any
from liaison_kit.context import context
from liaison_kit.database.statements import Statement
from liaison_kit.imports.fields import CannotCreate
from liaison_sdk.contracts.identity import UsersSaved
from liaison_sdk.contracts.questions import FoundIds, Names

# In the same order everywhere, so that two batches never wait for each other in a circle.
_KEEP = Statement("""
INSERT INTO owners (id, tenant_id, name, email, version)
SELECT DISTINCT ON (id) id, %(tenant)s::uuid, name, email, version
FROM jsonb_to_recordset(%(rows)s) AS told(id uuid, name text, email text, version bigint)
ORDER BY id, version DESC
ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email,
    version = excluded.version
WHERE owners.version < excluded.version
""")

# Higher than any version that identity will ever tell: what was removed stays so.
_REMOVE = Statement(f"""
INSERT INTO owners (id, tenant_id, name, removed, version)
VALUES (%(id)s, %(tenant)s, '', true, {2**62})
ON CONFLICT (id) DO UPDATE SET email = NULL, removed = true, version = excluded.version
""")


def keep(session: Session, event: UsersSaved) -> None:
    """Keep what identity told, unless as much or more is known."""
    told = {"tenant": context(session).tenant, "rows": to_json(event.users).decode()}
    _KEEP.run(session, told)


def remove(session: Session, user: UUID) -> None:
    """A user is gone."""
    _REMOVE.run(session, {"id": user, "tenant": context(session).tenant})


class ByNameOrEmail:
    """Finds the owner that a file names."""

    def resolve(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """The ids of the users with these names or e-mail addresses."""
        rows = session.execute(
            select(Owner.id, Owner.name, Owner.email).where(
                Owner.name.in_(values) | Owner.email.in_(values), ~Owner.removed
            )
        )
        found: dict[str, str] = {}
        wanted = set(values)
        for id, name, email in rows:
            for known in (name, email):
                if known in wanted:
                    found[known] = str(id)
        return found | _asked(session, [value for value in values if value not in found])

    def names(self, session: Session, near: Sequence[str]) -> Sequence[str]:
        """Every user's name."""
        return list(session.scalars(select(Owner.name).where(~Owner.removed).limit(5000)))

    def create(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """A user isn't made by naming them."""
        raise CannotCreate("Users are invited, not imported with contacts")


def _asked(session: Session, names: Sequence[str]) -> dict[str, str]:
    """Ask identity for users that were added a moment ago; if it is down, they are unknown."""
    if not names:
        return {}
    answer = answer_if_any(session, "identity", "resolve_users", _question(names))
    if answer is None:
        return {}
    found = FoundIds.model_validate_json(answer).found
    rows = [
        # Identity's own event, when it comes, is newer than this.
        {"tenant_id": context(session).tenant, "id": id, "name": name, "email": None, "version": 0}
        for name, id in found.items()
    ]
    if rows:
        session.execute(insert(Owner).values(rows).on_conflict_do_nothing())
    return {name: str(id) for name, id in found.items()}


def _question(names: Sequence[str]) -> bytes:
    return Names(names=list(names)).model_dump_json().encode()
