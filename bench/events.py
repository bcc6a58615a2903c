"""Event lag: from the commit of a fact in sales to the commit of what contacts made of it.

Both times are PostgreSQL's own (`track_commit_timestamp`), so nothing of Liaison is trusted with
the clock: the stage change of an opportunity, and the entry in its company's timeline.
"""

from dataclasses import dataclass

from bench.measure import Figures, Meter
from bench.requests import Requests

_FACTS = """
SELECT opportunity_id::text, extract(epoch FROM pg_xact_commit_timestamp(xmin))
  FROM stage_changes WHERE from_stage_id IS NOT NULL AND id > %s
"""
_EFFECTS = """
SELECT details ->> 'opportunity_id', extract(epoch FROM pg_xact_commit_timestamp(xmin))
  FROM occurrences WHERE kind = 'opportunity_moved'
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
    requests: Figures


def measure(meter: Meter, requests: Requests, rate: float, seconds: float) -> Lag:
    """Move opportunities at a steady rate and see how long contacts takes to know."""
    ground = meter.ground
    last = ground.rows("sales", "SELECT coalesce(max(id), 0) FROM stage_changes")[0][0]
    wanted = requests.moves(int(rate * seconds * 1.1) + 200)
    figures = meter.run(wanted, 32, seconds, writes=True, rate=rate)
    with ground.superuser("sales").cursor() as cursor:
        cursor.execute(_FACTS, (last,))
        facts = dict(cursor.fetchall())
        cursor.connection.close()
    with ground.superuser("contacts").cursor() as cursor:
        cursor.execute(_EFFECTS)
        effects = dict(cursor.fetchall())
        cursor.connection.close()
    # Those that warmed the processes up are left out: they came in one burst.
    ordered = sorted(facts, key=lambda id: facts[id])[32 * 4 :]
    lags = sorted(float(effects[id] - facts[id]) * 1000 for id in ordered if id in effects)
    took = float(facts[ordered[-1]] - facts[ordered[0]])
    return Lag(
        events=len(lags),
        per_second=len(ordered) / took,
        missing=len(ordered) - len(lags),
        p50=lags[len(lags) // 2],
        p99=lags[int(len(lags) * 0.99)],
        longest=lags[-1],
        requests=figures,
    )
