"""What ids stand for by now whose records were merged or erased."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.privacy.tables import LOCK, SLOTS

_ALONE = text(f"SELECT pg_advisory_xact_lock({LOCK}, abs(hashtext(:id) % {SLOTS}))")
_WHERE_NOW = text("""
WITH RECURSIVE way AS (
    SELECT id AS asked, into_id AS at, 1 AS steps FROM moved_ids WHERE id = ANY(:ids)
    UNION ALL
    SELECT asked, m.into_id, steps + 1 FROM way JOIN moved_ids m ON m.id = way.at WHERE steps < 1000
)
SELECT DISTINCT ON (asked) asked, at FROM way ORDER BY asked, steps DESC
""")


def where_now(session: Session, ids: Sequence[UUID]) -> dict[UUID, UUID | None]:
    """The records that those of these ids stand for that were merged; of an erased one, none."""
    rows = session.execute(_WHERE_NOW, {"ids": list(ids)})
    return {asked: at for asked, at in rows}  # noqa: C416


def where_it_is(session: Session, id: UUID | None) -> UUID | None:
    """The record that an id stands for by now."""
    return None if id is None else where_now(session, [id]).get(id, id)


def wait_for_writers(session: Session, id: UUID) -> None:
    """Have whoever is about to point at the id end first, and nobody begin before this ends."""
    session.execute(_ALONE, {"id": str(id)})
