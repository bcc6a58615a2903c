"""Event lag: from the commit of a fact in sales to the commit of what contacts made of it.

Both times are PostgreSQL's own (`track_commit_timestamp`), so nothing of Liaison is trusted with
the clock. The effect is the entry in the timeline of the opportunity's company. Facts are made in
two ways: by the kit alone, one transaction per event, which leaves the machine to the events; and
by requests through the gateway, which compete with them.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from bench.fill import Fill
from bench.measure import Meter
from bench.requests import Requests
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.events.outbox import emit
from liaison_kit.ids import uuid7
from liaison_sdk.contracts.sales import OpportunityMoved

_WARM = 100
_COMMITTED = "extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8"
_MOVES = f"""
SELECT opportunity_id::text, {_COMMITTED} FROM stage_changes
 WHERE from_stage_id IS NOT NULL AND id > %s
"""
_FACTS = f"SELECT opportunity_id::text, {_COMMITTED} FROM bench_facts"
_EFFECTS = f"""
SELECT details ->> 'opportunity_id', {_COMMITTED} FROM occurrences WHERE kind = 'opportunity_moved'
"""


@dataclass(slots=True)
class Lag:
    """Milliseconds from commit to commit."""

    events: int
    per_second: float
    missing: int
    p50: float
    p99: float
    longest: float


def by_the_kit(meter: Meter, fill: Fill, rate: float, seconds: float) -> Lag:
    """Commit facts at a steady rate from this process."""
    ground = meter.ground
    company = UUID(ground.rows("sales", "SELECT id::text FROM bench_companies LIMIT 1")[0][0])
    ground.rows("sales", "CREATE TABLE bench_facts (opportunity_id uuid)")
    ground.rows("sales", "GRANT INSERT ON bench_facts TO liaison_sales")
    about = Context(tenant=UUID(ground.tenant))
    fact = text("INSERT INTO bench_facts VALUES (:id)")
    first, second = (UUID(id) for id in fill.open_stages[:2])
    database = Database(ground.roles("sales").service, 1, "liaison-bench")
    try:
        began = time.perf_counter()
        for number in range(int(rate * seconds)):
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            id = uuid7()
            with database.writing(about) as session:
                session.execute(fact, {"id": id})
                emit(
                    session,
                    OpportunityMoved(
                        opportunity_id=id,
                        name=f"Deal {number}",
                        company_id=company,
                        contact_id=None,
                        owner_id=None,
                        from_stage_id=first,
                        from_stage="Prospecting",
                        to_stage_id=second,
                        to_stage="Engaging",
                        kind="open",
                    ),
                )
    finally:
        database.dispose()
    return _lag(meter, _asked(meter, "sales", _FACTS))


def by_requests(meter: Meter, requests: Requests, rate: float, seconds: float) -> Lag:
    """Move opportunities through the gateway at a steady rate."""
    last = meter.ground.rows("sales", "SELECT coalesce(max(id), 0) FROM stage_changes")[0][0]
    wanted = requests.moves(int(rate * seconds * 1.1) + 200)
    meter.run(wanted, 32, seconds, writes=True, rate=rate)
    return _lag(meter, _asked(meter, "sales", _MOVES, last))


def _asked(meter: Meter, service: str, statement: str, *values: object) -> dict[str, float]:
    connection = meter.ground.superuser(service)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            return dict(cursor.fetchall())
    finally:
        connection.close()


def _lag(meter: Meter, facts: Mapping[str, float]) -> Lag:
    meter.settle()
    effects = _asked(meter, "contacts", _EFFECTS)
    # The first ones warm the processes up, and come in a burst where requests make them.
    ordered = sorted(facts, key=lambda id: facts[id])[_WARM + 32 :]
    lags = sorted((effects[id] - facts[id]) * 1000 for id in ordered if id in effects)
    return Lag(
        events=len(lags),
        per_second=len(ordered) / (facts[ordered[-1]] - facts[ordered[0]]),
        missing=len(ordered) - len(lags),
        p50=lags[len(lags) // 2],
        p99=lags[int(len(lags) * 0.99)],
        longest=lags[-1],
    )
