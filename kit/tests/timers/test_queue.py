"""Looking for what is due touches what is due, however much waits."""

from typing import Any

import pytest
from sqlalchemy import TextClause, text

from liaison_kit.timers import Daily, at, every, queue

from ..conftest import Ground
from .conftest import PAST, Post, Ring, Shop

MANY = """
INSERT INTO timers (id, tenant_id, kind, key, due_at, run_at, payload, correlation_id, set_at)
SELECT gen_random_uuid(), gen_random_uuid(), kind, n::text, due, due, '{}', gen_random_uuid(), now()
FROM (
    SELECT n, (ARRAY['ring', 'post', 'other'])[1 + n % 3] AS kind,
        now() + make_interval(mins => n) AS due
    FROM generate_series(1, 20000) AS n
) AS made
"""


@pytest.fixture
def full(ground: Ground, shop: Shop) -> Shop:
    """A service with many timers that wait and few that are due."""
    ground.look(MANY)
    ground.look("ANALYZE timers")
    shop.set(*range(10))
    return shop


def scans(shop: Shop, statement: TextClause, values: dict[str, Any]) -> list[tuple[str, str]]:
    """How a statement gets at timers: by which kind of scan, of which index."""
    explain = "EXPLAIN (FORMAT JSON) " + statement.text.rpartition(";\n")[2]
    with shop.db.connection() as connection:
        ((plan,),) = connection.execute(text(explain), values).all()
        connection.rollback()
    found: list[tuple[str, str]] = []

    def walk(node: dict[str, Any]) -> None:
        if node.get("Relation Name") == "timers" and "Scan" in node["Node Type"]:
            found.append((node["Node Type"], node.get("Index Name", "")))
        for below in node.get("Plans", []):
            walk(below)

    walk(plan[0]["Plan"])
    return found


def test_the_next_moment_is_the_head_of_an_index(full: Shop) -> None:
    ways = scans(full, queue._DUE_IN, {"kinds": ["ring", "post"]})

    assert {index for _, index in ways} == {"ix_timers_due"}
    assert all("Index" in kind for kind, _ in ways)


def test_a_claim_reads_what_is_due_by_the_index_and_writes_it_by_its_key(full: Shop) -> None:
    values = {"kind": "ring", "claim": full.tenant, "batch": 100, "suspects": True, "lease": 15.0}

    ways = scans(full, queue._CLAIM, values)

    assert ways
    assert {index for _, index in ways} <= {"ix_timers_due", "timers_pkey"}
    assert not [kind for kind, _ in ways if kind == "Seq Scan"]


def test_a_claim_takes_what_is_due_of_its_kind_earliest_first(full: Shop) -> None:
    claim = queue.claim(full.db, "ring")

    assert claim is not None
    assert len(claim.ids) == 10
    assert set(claim.timers) == {full.tenant}
    assert queue.claim(full.db, "post") is None


def test_it_is_known_when_the_next_of_each_kind_is_due(full: Shop) -> None:
    due = queue.due_in(full.db, ["ring", "post", "absent"])

    assert due["ring"] < 0
    assert 0 < due["post"] <= 60
    assert "absent" not in due


def test_what_waits_and_what_is_late_is_counted(full: Shop) -> None:
    counted = queue.counts(full.db, ["ring", "post"])

    assert counted["ring"] == (6666 + 10, 10)
    assert counted["post"] == (6667, 0)


def test_timers_that_no_release_here_knows_are_noticed(full: Shop) -> None:
    assert queue.unattended(full.db, ["post", "other"]).keys() == {"ring"}
    assert queue.unattended(full.db, ["ring", "post", "other"]) == {}


def test_a_claim_is_renewed_unless_it_was_lost(shop: Shop) -> None:
    shop.set(1, 2)
    with shop.writing() as session:
        at(session, PAST, Ring(number=3), key="a")
    claim = shop.claim()
    with shop.writing() as session:
        every(session, Daily(at="06:00"), Ring(number=4), key="a")
    before = dict(shop.rows("payload ->> 'number', run_at"))
    shop.ground.look("UPDATE timers SET run_at = run_at - interval '10 s' WHERE taken IS NOT NULL")

    queue.renew(shop.db, [claim])

    after = dict(shop.rows("payload ->> 'number', run_at"))
    assert after["1"] >= before["1"]
    assert after["2"] >= before["2"]
    assert after["4"] == before["4"]


def test_a_flood_of_one_kind_is_not_in_the_way_of_another(shop: Shop) -> None:
    shop.set(*range(300))
    shop.set(1000, kind=Post)

    assert shop.claim(Post).kind == "post"


def test_what_was_claimed_and_not_begun_is_given_back_as_if_it_had_never_been(shop: Shop) -> None:
    shop.set(1, 2)
    claim = shop.claim()
    claim.begun.add(claim.ids[0])

    queue.give_back(shop.db, claim)

    again = shop.claim()
    assert again.ids == claim.ids[1:]
    assert sorted(shop.rows("begun")) == [(1,), (1,)]
