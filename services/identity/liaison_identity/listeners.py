"""Who is told something when they are not there: how they are reached, what they may see."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_identity import grants
from liaison_kit.context import Principal, context
from liaison_kit.sight import peers_of
from liaison_sdk.contracts.connect import Recipient
from liaison_sdk.contracts.identity import Locale

# As `token_holder` puts together what a principal carries.
_THEM = text("""
SELECT u.id, u.name, u.email, u.locale,
    (SELECT jsonb_agg(jsonb_build_object('permissions', r.permissions, 'rows', r.rows))
       FROM roles r WHERE r.id = ANY (u.role_ids)) AS roles,
    ARRAY(SELECT u.id
          UNION SELECT p.id FROM users p WHERE p.team_id = u.team_id
          UNION SELECT p.id FROM users p WHERE p.manager_id = u.id
          UNION SELECT p.id FROM teams m JOIN users p ON p.team_id = m.id
                 WHERE m.manager_id = u.id) AS peers
FROM users u WHERE u.id = ANY (:ids) AND u.active ORDER BY u.id
""")


@dataclass(frozen=True, slots=True)
class Listener:
    """A user who can be told something, with the rights that they have now."""

    id: UUID
    email: str | None
    locale: Locale
    principal: Principal

    def sees(self, record: str | None, owner: UUID | None) -> bool:
        """Whether they may see a record of this kind and owner; what is about none, they may."""
        if record is None:
            return True
        peers = peers_of(self.principal, record)
        return self.principal.may(f"{record}:read") and (peers is None or str(owner) in peers)

    @property
    def recipient(self) -> Recipient:
        """Where they are written to."""
        return Recipient(address=self.email, name=self.principal.name, language=self.locale)


def of(session: Session, users: Sequence[UUID]) -> list[Listener]:
    """Those of these users who are here and active, in the order of their ids."""
    found = []
    for row in session.execute(_THEM, {"ids": list(users)}):
        permissions, rows = grants.together(row.roles or ())
        principal = Principal(
            tenant=context(session).tenant,
            user=row.id,
            name=row.name,
            permissions=frozenset(permissions),
            rows=rows,
            peers=tuple(row.peers),
        )
        found.append(Listener(row.id, row.email, row.locale, principal))
    return found
