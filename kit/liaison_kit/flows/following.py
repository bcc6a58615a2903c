"""Runs follow their record: to the survivor of a merge, back when it is undone, to their end.

Where both records have runs of one flow that has to have one of them, the newer run gives way: it
ends, its log names the run that goes on, and the row keeps how it stood, so that undoing the merge
has it stand there again. What it waits for is looked for at the record that it is about by then. An
erased record's runs end, and what steps have said of it goes.
"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.flows import engine
from liaison_kit.flows.engine import LOCK, Line
from liaison_kit.flows.runs import arm, due
from liaison_kit.privacy.moved import wait_for_writers

MERGED, ERASED = "merged", "erased"
"""What has become of a run that gave way, and of one whose record was erased."""

PLACE = "flow_runs.record_id"
"""Where `repointed` keeps which runs a merge has moved; the trigger writes those that came late."""


def merged(
    session: Session, record: str, from_id: UUID, into_id: UUID, request: UUID
) -> dict[str, int]:
    """Have the runs about one record be about the other; those that can't both go on become one."""
    # Whoever is about to begin a run on the survivor is waited for, so that it is seen here.
    wait_for_writers(session, into_id)
    about = {"from": from_id, "into": into_id, "record": record}
    for row in session.execute(_RIVALS, about).all():
        _give_way(session, row, into_id, request)
    moved = session.scalars(
        _MOVE,
        about | {"request": request, "tenant": context(session).tenant, "place": PLACE},
    ).all()
    _wait_for(session, moved, from_id, into_id)
    return {"flow_runs": len(moved)} if moved else {}


def unmerged(
    session: Session, record: str, from_id: UUID, into_id: UUID, request: UUID
) -> dict[str, int]:
    """Have the runs that a merge moved be about the record that is back, and those that gave way
    go on where they stood, unless their flow has begun anew meanwhile."""
    about = {"from": from_id, "into": into_id, "request": request, "place": PLACE}
    moved = session.scalars(_MOVE_BACK, about).all()
    _wait_for(session, moved, into_id, from_id)
    for row in session.execute(_GAVE_WAY, {"request": str(request)}).all():
        if not session.scalar(_TAKEN, {"id": row.id}):
            _stand_again(session, row)
    return {"flow_runs": len(moved)} if moved else {}


def erased(session: Session, ids: Sequence[UUID]) -> dict[str, int]:
    """End the runs about these records, and keep of them what tells of nobody."""
    live = session.scalars(_LIVE, {"ids": list(ids)}).all()
    for row in session.execute(text(LOCK), {"ids": live}).all():
        if row.ended_at is None:
            engine.write(session, engine.ended(row, ERASED))
    counts = {}
    for table, statement in _EMPTY.items():
        given = {"ids": list(ids), "keys": [str(id) for id in ids]}
        names = {name: value for name, value in given.items() if f":{name}" in statement}
        number = session.execute(text(statement), names).rowcount  # type: ignore[attr-defined]
        if number:
            counts[table] = int(number)
    return counts


def held(session: Session, ids: Sequence[UUID]) -> dict[str, list[Any]]:
    """The runs about these records, each with the key of its flow, and all that they have done."""
    return {
        table: list(session.scalars(text(statement), {"ids": list(ids)}))
        for table, statement in _HELD.items()
    }


# --- giving way -----------------------------------------------------------------------------------


def _give_way(session: Session, rival: Any, into_id: UUID, request: UUID) -> None:
    """The elder run counts from now on; this one ends, if there may not be two that go on."""
    row = session.execute(text(LOCK), {"ids": [rival.id]}).one()
    stood: dict[str, Any] = {"request": str(request), "elder": str(rival.elder)}
    if rival.has_to_end and row.ended_at is None:
        stood["stood"] = session.scalar(_STANDS, {"id": row.id})
        said = f"its record was merged into {into_id}, where run {rival.elder} goes on"
        line = Line(row.number, row.step, MERGED, said)
        engine.write(session, engine.ended(row, MERGED, line))
    session.execute(_MARK, {"id": row.id, "gave_way": stood})


def _stand_again(session: Session, row: Any) -> None:
    """The run is where it was when it gave way; what it waits for may have come meanwhile."""
    stood: Mapping[str, Any] | None = row.gave_way.get("stood")
    if stood is None:
        session.execute(_UNMARK, {"id": row.id})
        return
    session.execute(_STAND, {"id": row.id, "stood": json.dumps(stood["run"])})
    if stood["line"] is None:
        session.execute(_DROP_LINE, {"id": row.id, "number": row.number})
    else:
        line = {"id": row.id, "number": row.number, "said": stood["line"]["said"]}
        session.execute(_REOPEN_LINE, line)
    _wait_again(session, row.id, stood["waits"])
    if stood["run"]["wakes_at"] is not None:
        due(session, row.id, dt.datetime.fromisoformat(stood["run"]["wakes_at"]))


def _wait_for(session: Session, ids: Sequence[UUID], before: UUID, after: UUID) -> None:
    """What these runs wait for at one record, they wait for at the other."""
    taken = session.execute(_TAKE_WAITS, {"ids": list(ids), "key": str(before)}).all()
    for row in taken:
        one = {name: getattr(row, name) for name in ("number", "event", "since", "happened")}
        one["since"] = one["since"].isoformat()
        _wait_again(session, row.run_id, [one | {"key": str(after)}])


def _wait_again(session: Session, id: UUID, waits: Sequence[Mapping[str, Any]]) -> None:
    armed = [
        (id, w["number"], w["event"], w["key"], dt.datetime.fromisoformat(w["since"]))
        for w in waits
    ]
    happened = arm(session, armed)
    if came := [w["number"] for w in waits if w["happened"]]:
        session.execute(_CAME, {"id": id, "numbers": came})
    if happened or came:
        due(session, id, context(session).now)


# Of two runs of one flow, the newer gives way: `never` counts those that have ended, `after_done`
# those that have not. Two that have one cause are told apart by their records, until now.
_RIVALS = text("""
SELECT DISTINCT ON (n.id) n.id, e.id AS elder, NOT n.undoing AND (
        n.again = 'never' OR (n.again = 'after_done' AND e.ended_at IS NULL)
    ) AS has_to_end
FROM flow_runs AS n
JOIN flow_runs AS e ON e.flow_id = n.flow_id AND (e.begun_at, e.id) < (n.begun_at, n.id)
JOIN flows AS f ON f.id = n.flow_id AND f.record = :record
WHERE ((n.record_id = :from AND e.record_id = :into)
        OR (n.record_id = :into AND e.record_id = :from))
    AND n.gave_way IS NULL AND e.gave_way IS NULL
    AND (n.again = 'never' OR n.correlation_id = e.correlation_id
        OR (n.again = 'after_done' AND n.ended_at IS NULL AND e.ended_at IS NULL))
ORDER BY n.id, e.ended_at IS NOT NULL, e.begun_at
""")
_MARK = text("UPDATE flow_runs SET gave_way = :gave_way WHERE id = :id").bindparams(
    bindparam("gave_way", type_=JSONB)
)
_UNMARK = text("UPDATE flow_runs SET gave_way = NULL WHERE id = :id")
_MOVE = text("""
WITH moved AS (
    UPDATE flow_runs AS r SET record_id = :into FROM flows AS f
    WHERE r.record_id = :from AND f.id = r.flow_id AND f.record = :record RETURNING r.id
), kept AS (
    INSERT INTO repointed (tenant_id, request_id, place, key)
    SELECT :tenant, :request, :place, jsonb_build_object('id', id) FROM moved
    ON CONFLICT DO NOTHING
)
SELECT id FROM moved
""")
_MOVE_BACK = text("""
UPDATE flow_runs AS t SET record_id = :from FROM repointed AS r
WHERE r.request_id = :request AND r.place = :place AND t.id = CAST(r.key ->> 'id' AS uuid)
    AND t.record_id = :into
RETURNING t.id
""")
_GAVE_WAY = text("""
SELECT * FROM flow_runs WHERE gave_way ->> 'request' = :request ORDER BY id FOR UPDATE
""")
_TAKEN = text("""
SELECT EXISTS (
    SELECT FROM flow_runs AS n JOIN flow_runs AS e
        ON e.flow_id = n.flow_id AND e.record_id = n.record_id AND e.id <> n.id
    WHERE n.id = :id AND e.gave_way IS NULL
        AND (n.correlation_id = e.correlation_id OR n.again = 'never'
            OR (n.again = 'after_done' AND e.ended_at IS NULL))
)
""")
_STANDS = text("""
SELECT jsonb_build_object(
    'run', jsonb_build_object('state', r.state, 'standing', r.standing, 'wakes_at', r.wakes_at,
        'attempt', r.attempt, 'error', r.error),
    'line', (SELECT jsonb_build_object('said', l.said) FROM flow_log AS l
        WHERE l.run_id = r.id AND l.number = r.number),
    'waits', (SELECT coalesce(jsonb_agg(jsonb_build_object('number', w.number, 'event', w.event,
        'key', w.key, 'since', w.since, 'happened', w.happened)), '[]')
        FROM flow_waits AS w WHERE w.run_id = r.id))
FROM flow_runs AS r WHERE r.id = :id
""")
_STAND = text("""
UPDATE flow_runs AS r SET state = s.state, standing = s.standing, wakes_at = s.wakes_at,
    attempt = s.attempt, error = s.error, outcome = NULL, ended_at = NULL, gave_way = NULL
FROM jsonb_to_record(CAST(:stood AS jsonb)) AS s (state text, standing boolean,
    wakes_at timestamptz, attempt integer, error text)
WHERE r.id = :id
""")
_DROP_LINE = text("DELETE FROM flow_log WHERE run_id = :id AND number = :number")
_REOPEN_LINE = text(
    "UPDATE flow_log SET way = NULL, left_at = NULL, said = :said"
    " WHERE run_id = :id AND number = :number"
)
_TAKE_WAITS = text("""
DELETE FROM flow_waits WHERE run_id = ANY(:ids) AND key = :key
RETURNING run_id, number, event, since, happened
""")
_CAME = text("UPDATE flow_waits SET happened = true WHERE run_id = :id AND number = ANY(:numbers)")
_LIVE = text("SELECT id FROM flow_runs WHERE record_id = ANY(:ids) AND ended_at IS NULL")

# What is left says which flow, which steps, when: figures stay true, and nobody is in them.
_EMPTY = {
    "flow_log": """
        UPDATE flow_log AS l SET said = '' FROM flow_runs AS r
        WHERE r.record_id = ANY(:ids) AND l.run_id = r.id AND l.said <> ''
    """,
    "flow_runs": """
        UPDATE flow_runs SET error = NULL, gave_way = CASE WHEN gave_way IS NOT NULL THEN
            CAST('{}' AS jsonb) END
        WHERE record_id = ANY(:ids)
    """,
    "flow_happened": "DELETE FROM flow_happened WHERE key = ANY(:keys)",
}
_HELD = {
    "flow_runs": """
        SELECT to_jsonb(r) - 'tenant_id' - 'gave_way' || jsonb_build_object('flow', f.key)
        FROM flow_runs AS r JOIN flows AS f ON f.id = r.flow_id
        WHERE r.record_id = ANY(:ids) ORDER BY r.id
    """,
    "flow_log": """
        SELECT to_jsonb(l) - 'tenant_id' FROM flow_log AS l JOIN flow_runs AS r ON r.id = l.run_id
        WHERE r.record_id = ANY(:ids) ORDER BY l.run_id, l.number
    """,
}
