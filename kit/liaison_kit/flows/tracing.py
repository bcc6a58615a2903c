"""What people see of runs: where one stands and why, how many go which way.

Whoever may not see a record sees none of its runs, and they count in no figure of theirs.
"""

import datetime as dt
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.flows import definitions
from liaison_kit.flows.kinds import FlowRecord, Flows
from liaison_kit.flows.seeing import seen, sees
from liaison_sdk.errors import NotFound
from liaison_sdk.types import field

RunState = Literal["active", "failed", "ended"]


class RunShape(BaseModel):
    """A run: of which flow and record, where it stands, since when, and what has become of it."""

    id: UUID
    flow_id: UUID = field("Flow", "Parcours")
    version: int = field("Version", "Version")
    record_id: UUID = field("Record", "Fiche")
    state: RunState = field("State", "État")
    undoing: bool = field("Being undone", "En cours d'annulation")
    step: str = field("Step", "Étape")
    number: int = field("Number of the step", "Numéro de l'étape")
    since: dt.datetime = field("There since", "À cette étape depuis")
    wakes_at: dt.datetime | None = field("Goes on at", "Reprend le")
    waits_for: list[str] = field("Waits for", "Attend")
    attempt: int = field("Failed attempts", "Essais échoués")
    error: str | None = field("Error", "Erreur")
    outcome: str | None = field("Outcome", "Issue")
    begun_at: dt.datetime = field("Begun", "Commencé le")
    begun_by: UUID | None = field("Begun by", "Commencé par")
    ended_at: dt.datetime | None = field("Ended", "Terminé le")


class LogLine(BaseModel):
    """A step that the run came to: when, by which way it was left, and what is to be said of it."""

    number: int
    step: str
    at: dt.datetime
    way: str | None
    left_at: dt.datetime | None
    said: str
    undoes: int | None


class RunWithLog(RunShape):
    """A run and all that it has done."""

    log: list[LogLine]


class StepCount(BaseModel):
    """How many runs came to a step, stand there, have failed there, and left by which way."""

    step: str
    entered: int
    standing: int
    failed: int
    ways: dict[str, int]


def find(session: Session, flows: Flows, id: UUID, *, lock: bool = False) -> tuple[Any, FlowRecord]:
    """A run's row and what it is about; `NotFound`, also where its record may not be seen."""
    row = session.execute(text(_FIND + (" FOR UPDATE OF r" if lock else "")), {"id": id}).first()
    if row is not None:
        flow = definitions.find(session, flows, row.flow_id)
        about = flows.records[flow.record]
        if sees(session, about, row.record_id):
            return row, about
    raise NotFound("There is no such run")


def shape(session: Session, flows: Flows, id: UUID) -> RunWithLog:
    """A run as readers get it."""
    row, _about = find(session, flows, id)
    lines = session.execute(_LOG, {"id": id}).all()
    log = [LogLine.model_validate(line, from_attributes=True) for line in lines]
    return RunWithLog(**_shown(row), log=log)


def of_flow(
    session: Session,
    flows: Flows,
    id: UUID,
    state: RunState | None,
    step: str | None,
    limit: int,
    before: UUID | None,
) -> list[RunShape]:
    """Runs of a flow, latest first."""
    about = flows.records[definitions.find(session, flows, id).record]
    where, values = seen(session, about)
    listed = text(
        f"{_SELECT} WHERE r.flow_id = :flow AND {where}"
        " AND (CAST(:state AS text) IS NULL OR r.state = :state)"
        " AND (CAST(:step AS text) IS NULL OR r.step = :step)"
        " AND (CAST(:before AS uuid) IS NULL OR r.id < CAST(:before AS uuid))"
        " ORDER BY r.id DESC LIMIT :limit"
    )
    asked = {"flow": id, "state": state, "step": step, "limit": limit, "before": before}
    return [RunShape(**_shown(row)) for row in session.execute(listed, values | asked)]


def of_record(
    session: Session, about: FlowRecord, id: UUID, limit: int, before: UUID | None
) -> list[RunShape]:
    """Runs about a record, latest first."""
    if not sees(session, about, id):
        raise NotFound(f"There is no such record in {about.kind.name}")
    listed = text(
        f"{_SELECT} JOIN flows AS f ON f.id = r.flow_id"
        " WHERE r.record_id = :id AND f.record = :record"
        " AND (CAST(:before AS uuid) IS NULL OR r.id < CAST(:before AS uuid))"
        " ORDER BY r.id DESC LIMIT :limit"
    )
    asked = {"id": id, "record": about.kind.name, "limit": limit, "before": before}
    return [RunShape(**_shown(row)) for row in session.execute(listed, asked)]


def counts(session: Session, flows: Flows, id: UUID, number: int) -> list[StepCount]:
    """What went in, stands there and left by which way, for each step of a version."""
    row = definitions.find(session, flows, id)
    about = flows.records[row.record]
    where, values = seen(session, about)
    asked = values | {"flow": id, "version": number}
    found: dict[str, StepCount] = {}

    def of(step: str) -> StepCount:
        return found.setdefault(
            step, StepCount(step=step, entered=0, standing=0, failed=0, ways={})
        )

    # Whoever sees everything needs no look at the runs themselves.
    joined = "" if not values else " JOIN flow_runs AS r ON r.id = l.run_id"
    lines = text(
        f"SELECT l.step, l.way, count(*) AS runs FROM flow_log AS l{joined}"
        f" WHERE l.flow_id = :flow AND l.version = :version AND l.undoes IS NULL AND {where}"
        " GROUP BY l.step, l.way ORDER BY l.step, l.way"
    )
    for step, way, runs in session.execute(lines, asked):
        of(step).entered += runs
        if way is not None:
            of(step).ways[way] = runs
    live = text(
        "SELECT r.step, r.state = 'failed' AS failed, count(*) AS runs FROM flow_runs AS r"
        f" WHERE r.flow_id = :flow AND r.version = :version AND r.ended_at IS NULL AND {where}"
        " GROUP BY 1, 2 ORDER BY 1, 2"
    )
    for step, failed, runs in session.execute(live, asked):
        if failed:
            of(step).failed += runs
        else:
            of(step).standing += runs
    return sorted(found.values(), key=lambda count: count.step)


def _shown(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in RunShape.model_fields}


_SELECT = """
SELECT r.*, ARRAY(
    SELECT w.event FROM flow_waits AS w WHERE w.run_id = r.id AND w.number > 0 ORDER BY w.event
) AS waits_for
FROM flow_runs AS r
"""
_FIND = f"{_SELECT} WHERE r.id = :id"
_LOG = text("SELECT * FROM flow_log WHERE run_id = :id ORDER BY number")
