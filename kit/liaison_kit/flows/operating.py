"""What people do with runs: retry, skip, end, cancel, move to another version, begin by hand."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.flows import definitions, engine, tracing
from liaison_kit.flows.frame import END
from liaison_kit.flows.kinds import Flows, Went
from liaison_kit.flows.runs import begin, due, records_of
from liaison_kit.listing.row_rules import row_rule
from liaison_sdk.errors import Conflict, InvalidInput, NotFound
from liaison_sdk.types import Closed, Code

CUT_SHORT = "ended_by_hand"


class RunEnded(Conflict):
    """What has ended is dealt with no more."""

    code, title = "run_has_ended", "This run has ended"


class NotActive(Conflict):
    """Only an active flow begins runs, and one that begins by hand by hand."""

    code, title = "flow_not_active", "This flow begins no runs by hand"


class Records(Closed):
    """On which records to begin runs."""

    records: Annotated[list[UUID], Field(min_length=1, max_length=500)]


class Begun(BaseModel):
    """The runs that have begun, and the records on which none may: `again` does not let them."""

    begun: dict[UUID, UUID]
    not_begun: list[UUID]


class Skip(Closed):
    """By which way the run goes on; where there is one only, it need not be named."""

    way: Code | None = None


class Versioned(Closed):
    """To which version of its flow the run goes over."""

    version: int


def begin_by_hand(session: Session, flows: Flows, id: UUID, ids: Sequence[UUID]) -> Begun:
    """Begin runs of the active version on records that the caller sees."""
    row = definitions.find(session, flows, id)
    about = flows.records[row.record]
    if row.active is None:
        raise NotActive("Activate it first")
    flow = definitions.version_of(session, flows, row, row.active)
    if not any(start.kind.name == "by_hand" for start in flow.starts):
        raise NotActive("Add a start of the kind by_hand to it, and activate that version")
    found = records_of(session, about, ids)
    _, peers = row_rule(session, about.kind)
    if peers is not None and about.kind.owner is not None:
        owner = about.kind.owner.key
        found = {id: r for id, r in found.items() if r[owner] in peers}
    if missing := [id for id in ids if id not in found]:
        raise NotFound(f"There is no record {missing[0]} in {row.record}")
    begun = begin(session, id, row.active, flow, list(dict.fromkeys(ids)))
    return Begun(begun=begun, not_begun=[record for record in found if record not in begun])


def retry(session: Session, flows: Flows, id: UUID) -> None:
    """Have a run that has failed do its step again, now."""
    row = _live(session, flows, id)
    _wake(session, row, row.step, row.number, standing=row.standing, undoing=row.undoing)


def skip(session: Session, flows: Flows, id: UUID, way: str | None) -> None:
    """Have a run go on as if its step were done."""
    row = _live(session, flows, id)
    if row.undoing:
        raise Conflict("It is being undone: retry it, or end it")
    step = _flow_of(session, flows, row, row.version).steps[row.step]
    ways = list(step.next)
    if way is None and len(set(step.next.values())) == 1:
        way = ways[0]
    if way is None or way not in ways:
        said = f"Say by which way it goes on: {', '.join(ways) or 'it has none, so end it'}"
        raise InvalidInput.field("way", "unknown_way", said)
    by = context(session).user
    move = engine.went(row, step, Went(way, f"skipped by {by}"), context(session).now)
    engine.write(session, move)


def end(session: Session, flows: Flows, id: UUID) -> None:
    """Have a run end where it stands."""
    engine.write(session, engine.ended(_live(session, flows, id), CUT_SHORT))


def cancel(session: Session, flows: Flows, id: UUID) -> None:
    """Have a run undo what it did, the last first, and end."""
    row = _live(session, flows, id)
    if row.undoing:
        return
    if row.standing:
        # What it waited for does not come any more; the step counts as one that was done.
        engine.write(session, engine.left(row, engine.CANCELLED, context(session).now))
    number = row.number + 1 if row.standing else row.number
    _wake(session, row, row.step, number, standing=False, undoing=True)


def move(session: Session, flows: Flows, id: UUID, version: int) -> None:
    """Have a run go on by another version of its flow, which has its step."""
    row = _live(session, flows, id)
    flow = _flow_of(session, flows, row, version)
    if row.step not in flow.steps or row.step == END:
        said = f"Version {version} has no step {row.step}, where the run stands"
        raise InvalidInput.field("version", "unknown_step", said)
    session.execute(_VERSION, {"id": id, "version": version})


def _live(session: Session, flows: Flows, id: UUID) -> Any:
    row, _about = tracing.find(session, flows, id, lock=True)
    if row.ended_at is not None:
        raise RunEnded(f"It has ended: {row.outcome}")
    return row


def _flow_of(session: Session, flows: Flows, row: Any, version: int) -> Any:
    flow = definitions.find(session, flows, row.flow_id)
    return definitions.version_of(session, flows, flow, version)


def _wake(
    session: Session, row: Any, step: str, number: int, *, standing: bool, undoing: bool
) -> None:
    now = context(session).now
    values = {"id": row.id, "step": step, "number": number, "now": now}
    session.execute(_WAKE, values | {"standing": standing, "undoing": undoing})
    due(session, row.id, now)


_WAKE = text("""
UPDATE flow_runs SET state = 'active', step = :step, number = :number, standing = :standing,
    undoing = :undoing, attempt = 0, error = NULL,
    wakes_at = CASE WHEN :standing AND wakes_at > :now THEN wakes_at ELSE :now END
WHERE id = :id
""")
_VERSION = text("UPDATE flow_runs SET version = :version WHERE id = :id")
