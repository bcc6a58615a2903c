"""Taking runs on: one step of each, in one transaction that locks the run.

    goal? exits? -> the step -> its line in the log -> the next step, or what is waited for

Those that are due at one moment go on together: their rows and records are read at once, their
lines written at once. A step that fails is undone by itself, and tried again later; the others of
the transaction are kept. Whoever is woken too early, because the run has gone on meanwhile, finds
by its row that it has nothing to do, and leaves the timer where it belongs.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.calls.outside import Outside
from liaison_kit.conditions import matches
from liaison_kit.context import Context, context
from liaison_kit.database.faults import is_collision, is_database_away
from liaison_kit.database.statements import Statement
from liaison_kit.flows.frame import END
from liaison_kit.flows.kinds import Did, Ends, Flows, Here, Shown, Waits, Went
from liaison_kit.flows.reading import CannotRun, Flow, Step, remembered
from liaison_kit.flows.runs import Armed, arm, due, records_of
from liaison_kit.settings import settings
from liaison_kit.telemetry import log
from liaison_kit.tenants import tenant_settings
from liaison_kit.timers.setting import NotMine
from liaison_sdk.errors import LiaisonError

STEPS = Counter(
    "liaison_flow_steps_total",
    "Steps of flows, by kind and by what became of them: done, waits, failed.",
    ["service", "kind", "outcome"],
)
ENDED = Counter("liaison_flow_runs_ended_total", "Runs of flows that have ended.", ["service"])

GONE, GOAL, DONE, CANCELLED = "gone", "goal", "done", "cancelled"
"""What has become of a run whose record is no more, whose goal was met, and so on."""


@dataclass(slots=True)
class Line:
    """A line of the log, as it is to be."""

    number: int
    step: str
    way: str | None
    said: str
    undoes: int | None = None


@dataclass(slots=True)
class Move:
    """What becomes of a run in this transaction."""

    row: Any
    state: str
    step: str
    number: int
    standing: bool
    wakes_at: dt.datetime | None
    attempt: int = 0
    error: str | None = None
    outcome: str | None = None
    lines: list[Line] = field(default_factory=list)
    waits: list[Armed] = field(default_factory=list)

    @property
    def is_step(self) -> bool:
        """Whether the run has come further, and not only failed."""
        return self.error is None


def take_on(session: Session, flows: Flows, run_ids: Sequence[UUID]) -> None:
    """Do one step of each of these runs that is due."""
    rows = session.execute(_LOCK, {"ids": list(run_ids)}).all()
    taking = [row for row in rows if row.state == "active"]
    early = [row for row in taking if row.is_early]
    taking = [row for row in taking if not row.is_early]
    for row in early:
        due(session, row.id, row.wakes_at)
    if not taking:
        return
    versions = _versions(session, flows, taking)
    records = _records(session, flows, taking, versions)
    happened = _happened(session, taking)
    moves = []
    whose = context(session)
    for row in taking:
        session.info["context"] = _context(whose, row)
        flow = versions[(row.flow_id, row.version)]
        if isinstance(flow, CannotRun):
            moves.append(_failed(row, flow, whose.now))
            continue
        record = records.get(row.record_id)
        moves.append(_moved(session, flows, flow, row, record, happened.get(row.id, {})))
        session.flush()
    session.info["context"] = whose
    _write(session, moves)
    _count(flows, versions, moves)


def _context(whose: Context, row: Any) -> Context:
    """Each run's changes are told as caused by what it began with."""
    return Context(
        tenant=whose.tenant,
        correlation_id=row.correlation_id,
        causation_id=row.id,
        traceparent=whose.traceparent,
        now=whose.now,
    )


# --- what there is --------------------------------------------------------------------------------


Versions = dict[tuple[UUID, int], "Flow | CannotRun"]


def _versions(session: Session, flows: Flows, rows: Sequence[Any]) -> Versions:
    """Their flows; one may not run any more, as when a field of its conditions was taken away."""
    wanted = {(row.flow_id, row.version) for row in rows}
    ids, numbers = zip(*sorted(wanted), strict=True)
    found = session.execute(_VERSIONS, {"ids": list(ids), "numbers": list(numbers)})
    versions: Versions = {}
    for row in found:
        at = (row.flow_id, row.number)
        try:
            versions[at] = remembered(session, flows, *at, row.record, row.definition)
        except CannotRun as error:
            versions[at] = error
    return versions


def _records(
    session: Session, flows: Flows, rows: Sequence[Any], versions: Versions
) -> dict[UUID, Shown]:
    by_kind: dict[str, set[UUID]] = {}
    for row in rows:
        flow = versions[(row.flow_id, row.version)]
        if isinstance(flow, Flow):
            by_kind.setdefault(flow.about.kind.name, set()).add(row.record_id)
    found: dict[UUID, Shown] = {}
    for name, ids in by_kind.items():
        found |= records_of(session, flows.records[name], ids)
    return found


def _happened(session: Session, rows: Sequence[Any]) -> dict[UUID, dict[int, str]]:
    """By run and number of the step: the event that has happened; 0 stands for the goal."""
    found: dict[UUID, dict[int, str]] = {}
    for row in session.execute(_EVENTS, {"ids": [row.id for row in rows]}):
        found.setdefault(row.run_id, {})[row.number] = row.event
    return found


def _count(flows: Flows, versions: Versions, moves: Sequence[Move]) -> None:
    """What is rolled back after all is counted twice; figures of machines bear that."""
    for move in moves:
        if move.state == "ended":
            ENDED.labels(flows.service).inc()
        flow = versions[(move.row.flow_id, move.row.version)]
        if isinstance(flow, Flow) and move.row.step in flow.steps:
            outcome = "failed" if move.error else "waits" if move.standing else "done"
            STEPS.labels(flows.service, flow.steps[move.row.step].kind.name, outcome).inc()


# --- one run --------------------------------------------------------------------------------------


def _moved(
    session: Session,
    flows: Flows,
    flow: Flow,
    row: Any,
    record: Shown | None,
    happened: Mapping[int, str],
) -> Move:
    if record is None:
        return ended(row, GONE)
    if row.undoing:
        return _undone(session, flows, flow, row, record)
    if 0 in happened:
        return ended(row, GOAL)
    now, there = context(session).now, tenant_settings(session).zone
    for condition, outcome in flow.exits:
        if matches(condition, record, now, there):
            return ended(row, outcome)
    step = flow.steps[row.step]
    here = _here(session, flows, flow, row, record, step)
    try:
        did = _did(session, step, here, row, happened.get(row.number))
    except Exception as error:
        return _failed(row, error, context(session).now)
    return _after(row, step, did, here)


def _did(session: Session, step: Step, here: Here, row: Any, happened: str | None) -> Did:
    if row.standing:
        return step.kind.woken(here, step.settings, happened)
    with session.begin_nested() if step.kind.writes else nullcontext():
        did = step.kind.do(here, step.settings)
        session.flush()
    return did


def _after(row: Any, step: Step, did: Did, here: Here) -> Move:
    match did:
        case Ends():
            line = Line(row.number, step.name, did.outcome, did.said)
            return ended(row, did.outcome, line)
        case Waits():
            line = Line(row.number, step.name, None, did.said)
            since = did.since or here.now
            waits = [(row.id, row.number, event, key, since) for event, key in did.events]
            return Move(
                row, "active", step.name, row.number, True, did.until, lines=[line], waits=waits
            )
    return went(row, step, did, here.now)


def went(row: Any, step: Step, did: Went, now: dt.datetime) -> Move:
    """The run goes on by a way."""
    line = Line(row.number, step.name, did.way, did.said)
    target = step.next[did.way]
    if target == END:
        return ended(row, DONE, line)
    return Move(row, "active", target, row.number + 1, False, now, lines=[line])


def _undone(session: Session, flows: Flows, flow: Flow, row: Any, record: Shown) -> Move:
    """One step back: what the latest step did that has not been undone."""
    undoing = [name for name, step in flow.steps.items() if step.undo is not None]
    found = session.execute(_TO_UNDO, {"run": row.id, "steps": undoing}).one_or_none()
    if found is None:
        return ended(row, CANCELLED)
    undo = flow.steps[found.step].undo
    assert undo is not None
    here = _here(session, flows, flow, row, record, undo)
    try:
        with session.begin_nested():
            undo.kind.do(here, undo.settings)
            session.flush()
    except Exception as error:
        return _failed(row, error, here.now)
    line = Line(row.number, found.step, "undone", "", undoes=found.number)
    return Move(row, "active", found.step, row.number + 1, False, here.now, lines=[line])


def _here(session: Session, flows: Flows, flow: Flow, row: Any, record: Shown, step: Step) -> Here:
    return Here(session, flows, flow, row.id, step.name, row.number, record, row.begun_at)


def ended(row: Any, outcome: str, line: Line | None = None) -> Move:
    """The run ends; what it stood at is left."""
    lines = [] if line is None else [line]
    if line is None and row.standing:
        lines = [Line(row.number, row.step, outcome, "")]
    return Move(row, "ended", row.step, row.number, False, None, outcome=outcome, lines=lines)


def left(row: Any, way: str, now: dt.datetime) -> Move:
    """The run stands at its step no more, and has yet to be told where to go."""
    lines = [Line(row.number, row.step, way, "")]
    return Move(row, "active", row.step, row.number + 1, False, now, lines=lines)


def _failed(row: Any, error: Exception, now: dt.datetime) -> Move:
    """It is tried again, and again later, and stands failed in the end."""
    if isinstance(error, NotMine | Outside) or is_collision(error) or is_database_away(error):
        # It is not the step's fault: whoever runs timers knows what to do.
        raise error
    delays = settings().retry_delays_s
    if not isinstance(error, LiaisonError):
        log.error("step of a flow failed", run=str(row.id), step=row.step, exc_info=error)
    said = (
        error.detail or error.title
        if isinstance(error, LiaisonError)
        else f"Something went wrong on our side ({type(error).__name__})"
    )
    ends = row.attempt >= len(delays)
    return Move(
        row,
        "failed" if ends else "active",
        row.step,
        row.number,
        row.standing,
        None if ends else now + dt.timedelta(seconds=delays[row.attempt]),
        attempt=row.attempt + 1,
        error=said[:500],
    )


# --- what becomes of them -------------------------------------------------------------------------


def write(session: Session, move: Move) -> None:
    """Have this become of a run whose row is locked."""
    _write(session, [move])


def _write(session: Session, moves: Sequence[Move]) -> None:
    about = context(session)
    lines = [(move.row, line) for move in moves for line in move.lines]
    if lines:
        _LOG.run(
            session,
            {
                "tenant": about.tenant,
                "now": about.now,
                "runs": [str(row.id) for row, _ in lines],
                "flows": [str(row.flow_id) for row, _ in lines],
                "versions": [row.version for row, _ in lines],
                "numbers": [line.number for _, line in lines],
                "steps": [line.step for _, line in lines],
                "ways": [line.way for _, line in lines],
                "said": [line.said for _, line in lines],
                "undoes": [line.undoes for _, line in lines],
            },
        )
    # What a step waited for is waited for no more; of a goal it is, until the run ends.
    left = [move for move in moves if move.is_step]
    _LEAVE.run(
        session,
        {
            "runs": [str(move.row.id) for move in left],
            "ended": [str(move.state == "ended").lower() for move in left],
        },
    )
    early = arm(session, [wait for move in moves for wait in move.waits])
    for move in moves:
        if move.row.id in early:
            move.wakes_at = about.now
    _MOVE.run(
        session,
        {
            "now": about.now,
            "runs": [str(move.row.id) for move in moves],
            "states": [move.state for move in moves],
            "steps": [move.step for move in moves],
            "numbers": [move.number for move in moves],
            "standing": [str(move.standing).lower() for move in moves],
            "wakes": [move.wakes_at and move.wakes_at.isoformat() for move in moves],
            "attempts": [move.attempt for move in moves],
            "errors": [move.error for move in moves],
            "outcomes": [move.outcome for move in moves],
        },
    )
    for move in moves:
        if move.wakes_at is not None:
            due(session, move.row.id, move.wakes_at)


# In one order everywhere, so that nobody waits in a circle. The clock is the one by which timers
# are due: a process whose own is behind must not find that it is too early.
LOCK = """
SELECT r.*, coalesce(r.wakes_at > clock_timestamp(), false) AND NOT EXISTS (
    SELECT FROM flow_waits AS w WHERE w.run_id = r.id AND w.happened
) AS is_early
FROM flow_runs AS r WHERE r.id = ANY(CAST(:ids AS uuid[])) ORDER BY r.id FOR UPDATE OF r
"""
_LOCK = text(LOCK)
_VERSIONS = text("""
SELECT v.flow_id, v.number, v.definition, f.record
FROM flow_versions AS v JOIN flows AS f ON f.id = v.flow_id
JOIN unnest(CAST(:ids AS uuid[]), CAST(:numbers AS integer[])) AS w (id, number)
    ON v.flow_id = w.id AND v.number = w.number
""")
_EVENTS = text("""
SELECT run_id, number, event FROM flow_waits
WHERE run_id = ANY(CAST(:ids AS uuid[])) AND happened ORDER BY event
""")
_TO_UNDO = text("""
SELECT l.number, l.step FROM flow_log AS l
WHERE l.run_id = :run AND l.undoes IS NULL AND l.step = ANY(CAST(:steps AS text[]))
    AND NOT EXISTS (SELECT FROM flow_log AS u WHERE u.run_id = :run AND u.undoes = l.number)
ORDER BY l.number DESC LIMIT 1
""")
_LOG = Statement("""
INSERT INTO flow_log (run_id, number, tenant_id, flow_id, version, step, at, way, left_at, said,
    undoes)
SELECT l.run, l.number, %(tenant)s::uuid, l.flow, l.version, l.step, %(now)s::timestamptz, l.way,
    CASE WHEN l.way IS NOT NULL THEN %(now)s::timestamptz END, l.said, l.undoes
FROM unnest(%(runs)s::uuid[], %(flows)s::uuid[], %(versions)s::integer[], %(numbers)s::integer[],
    %(steps)s::text[], %(ways)s::text[], %(said)s::text[], %(undoes)s::integer[])
    AS l (run, flow, version, number, step, way, said, undoes)
ON CONFLICT (run_id, number) DO UPDATE SET way = excluded.way, left_at = excluded.left_at,
    said = coalesce(nullif(excluded.said, ''), flow_log.said)
WHERE flow_log.way IS NULL
RETURNING run_id
""")
_LEAVE = Statement("""
DELETE FROM flow_waits AS w
USING unnest(%(runs)s::uuid[], %(ended)s::boolean[]) AS m (run, ended)
WHERE w.run_id = m.run AND (m.ended OR w.number > 0)
RETURNING w.run_id
""")
_MOVE = Statement("""
UPDATE flow_runs AS r
SET state = m.state, step = m.step, number = m.number, standing = m.standing,
    since = CASE WHEN m.number <> r.number THEN %(now)s::timestamptz ELSE r.since END,
    wakes_at = m.wakes, attempt = m.attempt, error = m.error, outcome = m.outcome,
    ended_at = CASE WHEN m.state = 'ended' THEN %(now)s::timestamptz END
FROM unnest(%(runs)s::uuid[], %(states)s::text[], %(steps)s::text[], %(numbers)s::integer[],
    %(standing)s::boolean[], %(wakes)s::timestamptz[], %(attempts)s::integer[], %(errors)s::text[],
    %(outcomes)s::text[])
    AS m (run, state, step, number, standing, wakes, attempt, error, outcome)
WHERE r.id = m.run
RETURNING r.id
""")
