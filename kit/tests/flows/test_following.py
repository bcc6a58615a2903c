"""Runs go where their records go: merged, two again, erased; and old ones go for good."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from liaison_kit import records
from liaison_kit.flows import following, operating
from liaison_kit.ids import uuid7
from liaison_kit.privacy import erasing, merging
from liaison_kit.privacy.marks import Holdings
from liaison_kit.privacy.traces import Traces

from .conftest import Workshop
from .workshop import FLOWS, WORKS, Work, WorkMoved, WorkSaved

HOLDINGS = Holdings.of((), (WORKS,), {}, (following,))
CALM = {"kind": "wait", "for": "3 days", "next": "then"}
THEN = {"kind": "mark", "say": "{{ work.name }}", "next": "end"}
MOVED = {
    "kind": "wait_until",
    "event": "moved",
    "at_most": "5 days",
    "next": {"happened": "then", "timeout": "end"},
}


def merge(shop: Workshop, other: UUID, into: UUID) -> UUID:
    """One work is part of another from now on; the request."""
    request = uuid7()
    with shop.writing() as session:
        merging.repoint(session, HOLDINGS, "works", other, into, request, _nobody_is_told)
        records.remove(session, WORKS, records.load(session, WORKS, Work, other))
    return request


def undo(shop: Workshop, other: UUID, into: UUID, request: UUID) -> None:
    """They are two again."""
    with shop.writing() as session:
        records.create(session, WORKS, Work, id=other, name="back", stage="new", size=None)
        merging.put_back(session, HOLDINGS, "works", other, into, request, _nobody_is_told)


def _nobody_is_told(*_any: Any) -> None:
    """Works are nobody's kept copies."""


def snapshot(shop: Workshop) -> dict[str, Any]:
    """All that there is of runs."""
    return {
        table: sorted(
            json.dumps(row, sort_keys=True)
            for (row,) in shop.ground.look(f"SELECT to_jsonb(t) FROM {table} AS t")
        )
        for table in ("flow_runs", "flow_log", "flow_waits", "moved_ids", "repointed")
    }


def about(shop: Workshop) -> list[Any]:
    """Which runs are about what, in the order in which they began, and how they stand."""
    return shop.rows("id::text, record_id::text, state, outcome")


def test_a_run_goes_on_for_the_survivor(shop: Workshop) -> None:
    other, into = shop.work(name="goes"), shop.work(name="stays")
    (run,) = shop.begin(shop.flow({"calm": CALM, "then": THEN}), other)
    shop.run()

    merge(shop, other, into)
    shop.to_the_end()

    assert about(shop) == [(str(run), str(into), "ended", "done")]
    assert shop.ground.look("SELECT record_id::text FROM marks") == [(str(into),)]


def test_what_it_waits_for_is_looked_for_at_the_survivor_also_what_came_before(
    shop: Workshop,
) -> None:
    works = [shop.work() for _ in range(4)]
    flow = shop.flow({"wait": MOVED, "then": THEN})
    early, _late = shop.begin(flow, works[0], works[2])
    shop.run()
    shop.tell(WorkMoved(work_id=works[1]))

    merge(shop, works[0], works[1])
    shop.run()
    after_the_first = shop.log(early)
    merge(shop, works[2], works[3])
    shop.tell(WorkMoved(work_id=works[3]))
    shop.run()

    assert after_the_first == [("wait", "happened"), ("then", "done")]
    assert [row[2:] for row in about(shop)] == [("ended", "done")] * 2


def test_what_is_told_late_of_the_one_that_went_counts_for_the_survivor(shop: Workshop) -> None:
    other, into = shop.work(), shop.work()
    shop.begin(shop.flow({"wait": MOVED, "then": THEN}), other)
    started = shop.flow({"then": THEN}, start=[{"kind": "event", "event": "moved"}])
    shop.run()

    merge(shop, other, into)
    shop.tell(WorkMoved(work_id=other))
    shop.run()

    assert [row[1:] for row in about(shop)] == [(str(into), "ended", "done")] * 2
    assert shop.ground.look("SELECT flow_id::text FROM flow_runs ORDER BY id")[1] == (str(started),)


@pytest.mark.parametrize("elder_goes", [True, False])
def test_of_two_runs_of_one_flow_the_newer_ends_and_says_why(
    shop: Workshop, elder_goes: bool
) -> None:
    works = [shop.work(), shop.work()]
    flow = shop.flow({"calm": CALM, "then": THEN}, again="after_done")
    elder, newer = (shop.begin(flow, work)[0] for work in works)
    shop.run()
    other, into = works if elder_goes else reversed(works)

    merge(shop, other, into)
    said = shop.ground.look("SELECT way, said FROM flow_log WHERE run_id = %s", str(newer))
    shop.to_the_end()

    assert about(shop) == [
        (str(elder), str(into), "ended", "done"),
        (str(newer), str(into), "ended", "merged"),
    ]
    assert [(way, str(elder) in why) for way, why in said] == [("merged", True)]
    assert len(shop.marks()) == 1


def test_who_has_been_through_a_flow_that_is_for_once_does_not_go_through_it_again(
    shop: Workshop,
) -> None:
    other, into = shop.work(), shop.work()
    flow = shop.flow({"calm": CALM, "then": THEN}, again="never")
    shop.begin(flow, other)
    shop.to_the_end()
    shop.begin(flow, into)
    shop.run()

    merge(shop, other, into)
    shop.to_the_end()
    third = shop.begin(flow, into)

    assert [row[3] for row in about(shop)] == ["done", "merged"]
    assert third == []


def test_a_flow_that_may_run_twice_at_a_time_goes_on_twice(shop: Workshop) -> None:
    other, into = shop.work(), shop.work()
    flow, cause = shop.flow({"calm": CALM, "then": THEN}), uuid4()
    for work in (other, into):
        shop.saved(work, correlation_id=cause)
    shop.run()

    request = merge(shop, other, into)
    undo(shop, other, into, request)
    request = merge(shop, other, into)
    shop.saved(into, correlation_id=cause)
    shop.to_the_end()

    assert [row[3] for row in about(shop)] == ["done", "done"], flow
    assert len(shop.marks()) == 2


@pytest.mark.parametrize("again", ["never", "after_done", "always"])
def test_undone_everything_is_as_it_was(shop: Workshop, again: str) -> None:
    first, second, into = shop.work(), shop.work(), shop.work()
    goal = {"event": "moved"}
    for steps in ({"calm": CALM, "then": THEN}, {"wait": MOVED, "then": THEN}):
        flow = shop.flow(steps, again=again, goal=goal)
        for work in (first, into, second):
            shop.begin(flow, work)
    failing = shop.flow(
        {"a": {"kind": "mark", "say": "x", "fails": 99, "next": "end"}}, again=again
    )
    shop.begin(failing, into)
    shop.begin(failing, first)
    shop.run()
    before = snapshot(shop)

    requests = [merge(shop, first, into), merge(shop, second, into)]
    merged = snapshot(shop)
    undo(shop, second, into, requests[1])
    undo(shop, first, into, requests[0])

    assert merged != before
    assert snapshot(shop) == before


def test_a_run_that_gave_way_stays_so_where_its_flow_has_begun_anew(shop: Workshop) -> None:
    other, into = shop.work(), shop.work()
    flow = shop.flow({"calm": CALM, "then": THEN}, again="after_done")
    shop.begin(flow, other)
    shop.begin(flow, into)
    shop.run()
    request = merge(shop, other, into)
    shop.to_the_end()
    shop.begin(flow, into)
    shop.run()

    undo(shop, other, into, request)

    assert [row[1:] for row in about(shop)] == [
        (str(other), "ended", "done"),
        (str(into), "ended", "merged"),
        (str(into), "active", None),
    ]


def test_what_begins_late_on_the_one_that_went_begins_on_the_survivor_and_goes_back_with_it(
    shop: Workshop,
) -> None:
    other, into = shop.work(), shop.work()
    flow = shop.flow({"calm": CALM, "then": THEN}, again="after_done")
    request = merge(shop, other, into)

    shop.begin(flow, other)
    again = shop.begin(flow, into)
    landed = about(shop)
    undo(shop, other, into, request)

    assert again == []
    assert [row[1] for row in landed] == [str(into)]
    assert [row[1] for row in about(shop)] == [str(other)]


def test_an_erased_record_ends_its_runs_and_nothing_of_it_is_left_in_them(shop: Workshop) -> None:
    work, other = shop.work(name="Zoltana Canary"), shop.work(name="spared")
    flow = shop.flow({"wait": MOVED, "then": THEN})
    for each in (work, other):
        shop.begin(flow, each)
    shop.run()
    shop.tell(WorkMoved(work_id=work))
    shop.ground.look(
        "UPDATE flow_log SET said = 'Zoltana Canary';"
        " UPDATE flow_runs SET error = 'Zoltana Canary', gave_way = '{\"why\": \"Zoltana Canary\"}'"
        f" WHERE record_id = '{work}'"
    )

    with shop.writing() as session:
        held = following.held(session, [work])
        erasing.settle(session, [work], uuid7())
        counts = erasing.by_marks(session, HOLDINGS, "works", [work], Traces())
        records.remove(session, WORKS, records.load(session, WORKS, Work, work))
    late = shop.begin(flow, work)
    shop.run()

    assert [run["record_id"] for run in held["flow_runs"]] == [str(work)]
    assert held["flow_log"][0]["said"] == "Zoltana Canary"
    assert late == []
    assert counts["flow_runs"] == 1
    assert about(shop)[0][2:] == ("ended", "erased")
    assert about(shop)[1][2:] == ("active", None)
    assert "Canary" not in str(
        shop.ground.look(f"SELECT to_jsonb(r) FROM flow_runs AS r WHERE record_id = '{work}'")
        + shop.ground.look(
            "SELECT to_jsonb(l) FROM flow_log AS l JOIN flow_runs AS r ON r.id = l.run_id"
            f" WHERE r.record_id = '{work}'"
        )
    )
    assert shop.ground.look(f"SELECT 1 FROM flow_happened WHERE key = '{work}'") == []


def test_old_runs_go_but_it_is_known_who_has_been_through_a_flow_that_is_for_once(
    shop: Workshop,
) -> None:
    work = shop.work()
    once, often = (shop.flow({"then": THEN}, again=again) for again in ("never", "always"))
    for flow in (once, often):
        shop.begin(flow, work)
    shop.to_the_end()
    shop.ground.look("UPDATE flow_runs SET ended_at = now() - interval '40 days'")
    (lasts,) = shop.begin(shop.flow({"calm": CALM, "then": THEN}), work)
    shop.run()

    shop.ground.look("SELECT tidy_flow_runs(50)")
    young = len(shop.rows())
    shop.ground.look("SELECT tidy_flow_runs(30)")

    assert young == 3
    assert [row[0] for row in about(shop)][-1] == str(lasts)
    assert shop.ground.look("SELECT flow_id::text FROM flow_runs ORDER BY id")[0] == (str(once),)
    assert shop.log() == [("calm", None)]
    assert shop.begin(once, work) == []


def test_a_run_that_is_being_undone_goes_on_being_undone(shop: Workshop) -> None:
    other, into = shop.work(), shop.work()
    undone = {"kind": "mark", "say": "undone"}
    first = {"kind": "mark", "say": "done", "next": "calm", "undo": undone}
    flow = shop.flow({"first": first, "calm": CALM, "then": THEN}, again="after_done")
    shop.begin(flow, into)
    (newer,) = shop.begin(flow, other)
    shop.run()
    with shop.writing() as session:
        operating.cancel(session, FLOWS, newer)

    merge(shop, other, into)
    shop.run()

    assert about(shop)[1] == (str(newer), str(into), "ended", "cancelled")
    assert shop.marks().count("undone") == 1


def test_a_new_record_that_was_merged_at_once_starts_nothing(shop: Workshop) -> None:
    into, other = shop.work(), shop.work()
    shop.flow({"then": THEN})
    ((made,),) = shop.ground.look("SELECT created_at FROM works WHERE id = %s", str(other))

    merge(shop, other, into)
    shop.tell(WorkSaved(work_id=other), made)

    assert shop.rows() == []
