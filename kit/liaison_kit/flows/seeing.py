"""Whose runs somebody sees: those of the records that they see."""

from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.flows.kinds import FlowRecord
from liaison_kit.listing.row_rules import row_rule


def older(session: Session, about: FlowRecord, id: UUID, version: int) -> list[tuple[int, int]]:
    """Versions of a flow beside this one that still have runs, and how many."""
    where, values = seen(session, about)
    listed = text(
        "SELECT r.version, count(*) FROM flow_runs AS r"
        f" WHERE r.flow_id = :flow AND r.ended_at IS NULL AND r.version <> :version AND {where}"
        " GROUP BY r.version ORDER BY r.version"
    )
    rows = session.execute(listed, values | {"flow": id, "version": version})
    return [(number, runs) for number, runs in rows]


def sees(session: Session, about: FlowRecord, record_id: UUID) -> bool:
    """Whether the caller may see this record; one that is gone, whoever sees all of them."""
    where, values = seen(session, about)
    if not values:
        return True
    look = text(f"SELECT {where} FROM (SELECT CAST(:id AS uuid) AS record_id) AS r")
    return bool(session.scalar(look, values | {"id": record_id}))


def seen(session: Session, about: FlowRecord) -> tuple[str, dict[str, Any]]:
    """SQL of whether the caller may see the record of a run `r`, and its values; none for all."""
    kind = about.kind
    _, peers = row_rule(session, kind)
    if peers is None or kind.owner is None:
        return "true", {}
    owned = f"t.{kind.owner.key} = ANY(CAST(:peers AS uuid[]))"
    return (
        f"EXISTS (SELECT FROM {kind.table.name} AS t WHERE t.id = r.record_id AND {owned})",
        {"peers": peers},
    )
