"""Runs: begun by what happens or by hand, woken by time and by events, and dealt with by people.

Nothing here does a step. Whoever hears an event only writes down that it has happened and has the
run's timer be due now; the steps are the timers' (`engine`).
"""

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.conditions import matches
from liaison_kit.context import context
from liaison_kit.database.statements import Statement
from liaison_kit.flows.kinds import FlowRecord, Flows, Heard, Shown
from liaison_kit.flows.reading import CannotRun, Flow, remembered
from liaison_kit.ids import uuid7
from liaison_kit.privacy.moved import where_now
from liaison_kit.records.recordtype import as_json
from liaison_kit.telemetry import log
from liaison_kit.tenants import tenant_settings
from liaison_kit.timers import Timer, at
from liaison_sdk.events import Event


class RunDue(Timer):
    """A run is to be taken on; how, its row says."""

    kind = "flow_run"

    run_id: UUID


def due(session: Session, run_id: UUID, when: dt.datetime) -> None:
    """Have a run be taken on at a moment, and not before."""
    at(session, when, RunDue(run_id=run_id), key=str(run_id))


# --- beginning ------------------------------------------------------------------------------------


def begin(
    session: Session, flow_id: UUID, number: int, flow: Flow, ids: Sequence[UUID]
) -> dict[UUID, UUID]:
    """Begin runs of a version on these records; the run by the record, where one has begun.

    None begins where `again` does not let it, nor a second one for the same cause: what a run
    changes starts its own flow on its own record no more.
    """
    about = context(session)
    begun = _BEGIN.run(
        session,
        {
            "tenant": about.tenant,
            "flow": flow_id,
            "version": number,
            "again": flow.frame.again,
            "ids": [str(uuid7()) for _ in ids],
            "records": [str(id) for id in ids],
            "correlation": about.correlation_id,
            "step": flow.first,
            "now": about.now,
            "by": about.user,
        },
    )
    runs = {UUID(str(record)): UUID(str(run)) for run, record in begun}
    for run in runs.values():
        due(session, run, about.now)
    if flow.frame.goal is not None and runs:
        event = flow.about.event(flow.frame.goal.event)
        arm(session, [(run, 0, event, str(record), about.now) for record, run in runs.items()])
    return runs


def records_of(session: Session, about: FlowRecord, ids: Iterable[UUID]) -> dict[UUID, Shown]:
    """These records as readers get them, those that there are."""
    kind = about.kind
    rows = session.execute(as_json(kind.select().where(kind.model.id.in_(list(ids))), "id"))
    return {UUID(id): json.loads(body) for body, id in rows}


# --- what happens ---------------------------------------------------------------------------------


def heeded(flows: Flows, session: Session, events: Sequence[Event]) -> bool:
    """Whether a flow of the tenant's listens to any of these, or a run waits for an answer."""
    kinds = {type(event) for event in events}
    if any(answer.event in kinds for answer in flows.answers):
        return True
    names = [
        about.event(one.name) for about in flows.about for one in about.events if one.event in kinds
    ]
    return bool(session.scalar(_HEEDED, {"events": names}))


def heard(session: Session, flows: Flows, event: Event) -> None:
    """An event has come: runs begin, and runs that wait for it are taken on."""
    for answer in flows.answers:
        if answer.event is type(event):
            keys = [str(id) for id in answer.ids(event)]
            happened(session, answer.name, keys, event.occurred_at)
    for about in flows.about:
        for one in about.events:
            if one.event is type(event):
                _heard(session, flows, about, one, event)


def _heard(session: Session, flows: Flows, about: FlowRecord, one: Heard, event: Event) -> None:
    name, when = about.event(one.name), event.occurred_at
    listening = session.execute(_LISTENING, {"event": name}).all()
    ids = list(one.ids(event)) if listening else []
    if not ids:
        return
    found = records_of(session, about, ids)
    if gone := [id for id in ids if id not in found]:
        # What happened with a record that has been merged since counts for the survivor.
        survivors = {id for id in where_now(session, gone).values() if id is not None}
        found |= records_of(session, about, survivors)
    records = {id: record for id, record in found.items() if one.is_news(record, when)}
    if any(not row.starts for row in listening):
        happened(session, name, [str(id) for id in sorted(records)], when)
    for row in listening:
        if row.starts and row.active is not None:
            _start(session, flows, about, one.name, row, records)


def _start(
    session: Session,
    flows: Flows,
    about: FlowRecord,
    event: str,
    row: Any,
    records: Mapping[UUID, Shown],
) -> None:
    name = about.kind.name
    try:
        flow = remembered(session, flows, row.flow_id, row.active, name, row.definition)
    except CannotRun as error:
        # As when a field of its conditions was taken away; the other flows start all the same.
        log.warning("flow can't start", flow=str(row.flow_id), error=error.detail)
        return
    found = _starting(session, flow, event, records)
    if found:
        begin(session, row.flow_id, row.active, flow, found)


def _starting(
    session: Session, flow: Flow, event: str, records: Mapping[UUID, Shown]
) -> list[UUID]:
    """The records on which this event starts the flow."""
    now, there = context(session).now, tenant_settings(session).zone
    found: dict[UUID, None] = {}
    for start in flow.starts:
        if start.kind.listens_to(start.settings) != event:
            continue
        where = getattr(start.settings, "where", None)
        condition = None if where is None else flow.condition(session, where)
        for id, record in records.items():
            if condition is None or matches(condition, record, now, there):
                found[id] = None
    return list(found)


def happened(session: Session, event: str, keys: Sequence[str], when: dt.datetime) -> None:
    """What is waited for has happened, or will have when the wait for it is armed."""
    if not keys:
        return
    tenant = context(session).tenant
    values = {"tenant": tenant, "event": event, "keys": sorted(keys), "at": when}
    _HAPPENED.run(session, values)
    # Looked at after the lock was had: what was armed meanwhile is seen.
    for (run,) in _WAKE.run(session, values):
        due(session, UUID(str(run)), context(session).now)


Armed = tuple[UUID, int, str, str, dt.datetime]
"""A run, the number of its step, an event, its key, and since when it counts."""


def arm(session: Session, waits: Sequence[Armed]) -> set[UUID]:
    """Have runs wait for events; those whose event has happened already."""
    if not waits:
        return set()
    runs, numbers, events, keys, since = zip(*waits, strict=True)
    armed = _ARM.run(
        session,
        {
            "tenant": context(session).tenant,
            "runs": [str(run) for run in runs],
            "numbers": list(numbers),
            "events": list(events),
            "keys": list(keys),
            "since": [moment.isoformat() for moment in since],
        },
    )
    return {UUID(str(run)) for run, has_happened in armed if has_happened}


_BEGIN = Statement("""
INSERT INTO flow_runs (id, tenant_id, flow_id, version, again, record_id, correlation_id, state,
    step, number, standing, undoing, since, wakes_at, attempt, begun_at, begun_by)
SELECT r.id, %(tenant)s::uuid, %(flow)s::uuid, %(version)s::integer, %(again)s::text, r.record,
    %(correlation)s::uuid, 'active', %(step)s::text, 1, false, false, %(now)s::timestamptz,
    %(now)s::timestamptz, 0, %(now)s::timestamptz, %(by)s::uuid
FROM unnest(%(ids)s::uuid[], %(records)s::uuid[]) AS r (id, record)
WHERE NOT EXISTS (
    SELECT FROM flow_runs AS e WHERE e.flow_id = %(flow)s::uuid AND e.record_id = r.record
        AND (%(again)s::text = 'never' OR (%(again)s::text = 'after_done' AND e.ended_at IS NULL))
)
ORDER BY r.record
ON CONFLICT DO NOTHING RETURNING id, record_id
""")
_HEEDED = text("SELECT EXISTS (SELECT FROM flow_listens WHERE event = ANY (:events))")
_LISTENING = text("""
SELECT l.flow_id, l.starts, f.active, v.definition
FROM flow_listens AS l JOIN flows AS f ON f.id = l.flow_id
LEFT JOIN flow_versions AS v ON v.flow_id = f.id AND v.number = f.active AND l.starts
WHERE l.event = :event
ORDER BY l.flow_id
""")
_HAPPENED = Statement("""
INSERT INTO flow_happened AS h (tenant_id, event, key, at)
SELECT %(tenant)s::uuid, %(event)s::text, k.key, %(at)s::timestamptz
FROM unnest(%(keys)s::text[]) AS k (key) ORDER BY k.key
ON CONFLICT (tenant_id, event, key) DO UPDATE
SET at = greatest(h.at, excluded.at), touched_at = now()
RETURNING key
""")
_WAKE = Statement("""
UPDATE flow_waits SET happened = true
WHERE tenant_id = %(tenant)s::uuid AND event = %(event)s::text AND key = ANY(%(keys)s::text[])
    AND since <= %(at)s::timestamptz AND NOT happened
RETURNING run_id
""")
_ARM = Statement("""
WITH wanted AS (
    SELECT * FROM unnest(%(runs)s::uuid[], %(numbers)s::integer[], %(events)s::text[],
        %(keys)s::text[], %(since)s::timestamptz[]) AS w (run, number, event, key, since)
), touched AS (
    INSERT INTO flow_happened AS h (tenant_id, event, key, at)
    SELECT DISTINCT %(tenant)s::uuid, event, key, '-infinity'::timestamptz FROM wanted
    ORDER BY event, key
    ON CONFLICT (tenant_id, event, key) DO UPDATE SET touched_at = now()
    RETURNING h.event, h.key, h.at
)
INSERT INTO flow_waits (run_id, number, tenant_id, event, key, since, happened)
SELECT w.run, w.number, %(tenant)s::uuid, w.event, w.key, w.since, t.at >= w.since
FROM wanted AS w JOIN touched AS t ON t.event = w.event AND t.key = w.key
RETURNING run_id, happened
""")
