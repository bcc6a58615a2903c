"""Owners: the users whom people and companies may belong to, as identity tells of them."""

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from liaison_contacts.models import Owner
from liaison_kit.context import context
from liaison_kit.imports.fields import CannotCreate
from liaison_sdk.contracts.identity import UsersSaved
from liaison_sdk.errors import InvalidInput


def keep(session: Session, event: UsersSaved) -> None:
    """Keep what identity told, unless something newer is known."""
    rows = [
        {
            "tenant_id": context(session).tenant,
            "id": user.id,
            "name": user.name,
            "email": user.email,
            "version": user.version,
        }
        for user in event.users
    ]
    if not rows:
        return
    new = insert(Owner).values(rows)
    session.execute(
        new.on_conflict_do_update(
            index_elements=["id"],
            set_={
                "name": new.excluded.name,
                "email": new.excluded.email,
                "version": new.excluded.version,
            },
            where=Owner.version < new.excluded.version,
        )
    )


class ByNameOrEmail:
    """Finds the owner that a file names."""

    def resolve(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """The ids of the users with these names or e-mail addresses."""
        rows = session.execute(
            select(Owner.id, Owner.name, Owner.email).where(
                Owner.name.in_(values) | Owner.email.in_(values)
            )
        )
        found: dict[str, str] = {}
        wanted = set(values)
        for id, name, email in rows:
            for known in (name, email):
                if known in wanted:
                    found[known] = str(id)
        return found

    def names(self, session: Session, near: Sequence[str]) -> Sequence[str]:
        """Every user's name."""
        return list(session.scalars(select(Owner.name).limit(5000)))

    def create(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """A user isn't made by naming them."""
        raise CannotCreate("Users are invited, not imported with contacts")


def demand(session: Session, id: object) -> None:
    """An owner must be a user whom this tenant has."""
    if id is not None and session.get(Owner, id) is None:
        raise InvalidInput.field("owner_id", "unknown_reference", "owner_id names no user of yours")
