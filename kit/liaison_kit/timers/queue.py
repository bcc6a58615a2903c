"""The queue of timers: finding what is due, and claiming it for a while.

A claim moves a timer's `run_at` to its own end, behind everything that is due, and is renewed while
somebody works on it. Where its process dies it ends, and whoever looks next takes over. It only
spares work: whose transaction takes the timer away, or on to its next moment, has run it.

How often a timer was claimed and its claim not ended is counted with it: one that ends its process
each time would do so for ever. What was claimed before is a suspect: it is claimed alone, and a
process has one suspect in hand at a time, so that it is known which one it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from sqlalchemy import text

from liaison_kit.database.database import Database

BATCH = 100
"""How many timers are claimed at a time."""
LEASE_S = 15.0
"""How long a claim holds that nobody renews."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Timers of one kind that somebody has taken, by the tenants that they belong to."""

    id: UUID
    kind: str
    timers: dict[UUID, list[UUID]]
    suspect: bool = False
    """Whether it is one timer that was begun before, and not ended."""
    begun: set[UUID] = field(default_factory=set)
    """Those of them whose handler was called, or was about to be."""

    @property
    def ids(self) -> list[UUID]:
        """All of them."""
        return [id for ids in self.timers.values() for id in ids]


def due_in(db: Database, kinds: Sequence[str]) -> dict[str, float]:
    """In how many seconds the first timer of each kind is to run; negative, since when."""
    with db.connection() as connection:
        rows = connection.execute(_DUE_IN, {"kinds": list(kinds)}).all()
        connection.commit()
    return {kind: float(seconds) for kind, seconds in rows if seconds is not None}


def claim(db: Database, kind: str, *, suspects: bool = True) -> Claim | None:
    """Take timers of a kind that are due, if there are some that nobody else is at.

    Without `suspects`, only such as were never begun.
    """
    claim = uuid4()
    values = {
        "kind": kind,
        "claim": claim,
        "batch": BATCH,
        "lease": LEASE_S,
        "suspects": suspects,
    }
    with db.connection() as connection:
        rows = connection.execute(_CLAIM, values).all()
        connection.commit()
    timers: dict[UUID, list[UUID]] = {}
    for id, tenant, _begun in rows:
        timers.setdefault(tenant, []).append(id)
    return Claim(claim, kind, timers, suspect=rows[0].begun > 1) if rows else None


def renew(db: Database, claims: Sequence[Claim]) -> None:
    """Hold these claims for longer."""
    values = {
        "ids": [id for claim in claims for id in claim.ids],
        "claims": [claim.id for claim in claims],
        "lease": LEASE_S,
    }
    with db.connection() as connection:
        connection.execute(_RENEW, values)
        connection.commit()


def give_back(db: Database, claim: Claim) -> None:
    """Have others take what was claimed and not begun, as if it had never been claimed."""
    values = {"ids": [id for id in claim.ids if id not in claim.begun], "claim": claim.id}
    with db.connection() as connection:
        connection.execute(_GIVE_BACK, values)
        connection.commit()


def counts(db: Database, kinds: Sequence[str]) -> dict[str, tuple[int, int]]:
    """How many timers of each kind there are and how many are late, as far as it is counted."""
    with db.connection() as connection:
        rows = connection.execute(_COUNTS, {"kinds": list(kinds), "most": COUNTED}).all()
        connection.commit()
    return {kind: (waiting, late) for kind, waiting, late in rows}


def unattended(db: Database, kinds: Sequence[str]) -> dict[str, float]:
    """Kinds of timers that this process does not know, and for how many seconds they are late."""
    with db.connection() as connection:
        rows = connection.execute(_OTHERS, {"kinds": list(kinds)}).all()
        connection.commit()
    return {kind: float(seconds) for kind, seconds in rows}


COUNTED = 100_000
"""Up to so many timers of a kind are counted."""

_DUE_IN = text("""
SELECT k.kind, extract(epoch FROM (
    SELECT t.run_at FROM timer_queue AS t WHERE t.kind = k.kind ORDER BY t.run_at LIMIT 1
) - now()) FROM unnest(CAST(:kinds AS text[])) AS k (kind)
""")
# Somebody who moves or cancels one is not waited for. What is lost of the count in a power cut
# does no harm, so nobody waits for the disk either.
_CLAIM = text("""
SET LOCAL synchronous_commit = off;
WITH due AS (
    SELECT id, begun, run_at FROM timer_queue
    WHERE kind = :kind AND run_at <= now() AND (:suspects OR begun = 0)
    ORDER BY run_at LIMIT :batch
    FOR UPDATE SKIP LOCKED
), first AS (SELECT id, begun FROM due ORDER BY run_at, id LIMIT 1)
UPDATE timer_queue AS t
SET taken = :claim, begun = t.begun + 1, run_at = now() + make_interval(secs => :lease)
FROM due, first
WHERE t.id = due.id AND ((first.begun = 0 AND due.begun = 0) OR due.id = first.id)
RETURNING t.id, t.tenant_id, t.begun
""")
_RENEW = text("""
UPDATE timer_queue SET run_at = now() + make_interval(secs => :lease)
WHERE id IN (
    SELECT id FROM timer_queue
    WHERE id = ANY(CAST(:ids AS uuid[])) AND taken = ANY(CAST(:claims AS uuid[]))
    FOR UPDATE SKIP LOCKED
)
""")
_GIVE_BACK = text("""
UPDATE timer_queue SET taken = NULL, begun = begun - 1, run_at = now()
WHERE id = ANY(CAST(:ids AS uuid[])) AND taken = :claim
""")
_COUNTS = text("""
SELECT k.kind,
    (SELECT count(*) FROM (
        SELECT FROM timer_queue AS t WHERE t.kind = k.kind LIMIT :most) AS waiting),
    (SELECT count(*) FROM (
        SELECT FROM timer_queue AS t WHERE t.kind = k.kind AND t.run_at <= now()
        LIMIT :most) AS late)
FROM unnest(CAST(:kinds AS text[])) AS k (kind)
""")
# From kind to kind through the index, not through all rows of each.
_OTHERS = text("""
WITH RECURSIVE kinds AS (
    (SELECT kind FROM timer_queue ORDER BY kind LIMIT 1)
    UNION ALL
    SELECT (SELECT t.kind FROM timer_queue AS t WHERE t.kind > k.kind ORDER BY t.kind LIMIT 1)
    FROM kinds AS k WHERE k.kind IS NOT NULL
), others AS (
    SELECT k.kind, extract(epoch FROM now() - (
        SELECT t.run_at FROM timer_queue AS t WHERE t.kind = k.kind ORDER BY t.run_at LIMIT 1
    )) AS late
    FROM kinds AS k WHERE k.kind IS NOT NULL AND k.kind <> ALL(CAST(:kinds AS text[]))
        -- A schedule that this release has no more is one row per tenant, and nobody's loss.
        AND NOT starts_with(k.kind, 'schedule.')
)
SELECT kind, late FROM others WHERE late > 0
""")
