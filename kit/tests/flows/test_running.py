"""Runs go from step to step, each done once; whatever they wait for that comes first goes on."""

import datetime as dt
from typing import Any
from uuid import UUID, uuid5

import pytest

from .conftest import Workshop
from .workshop import Answered, Mark, WorkMoved, WorkSaved

END = {"kind": "exit"}


def mark(say: str, next: str = "end", **more: Any) -> dict[str, Any]:
    return {"kind": "mark", "say": say, "next": next} | more


def only(field: str, value: Any, operator: str = "=") -> dict[str, Any]:
    rule = {"field": field, "operator": operator, "value": value}
    return {"combinator": "and", "rules": [rule]}


def test_steps_are_done_one_after_the_other_and_the_log_tells_of_each(shop: Workshop) -> None:
    shop.flow({"first": mark("one", "second"), "second": mark("two")})
    work = shop.work()

    shop.saved(work)
    shop.run()

    assert shop.marks() == ["one", "two"]
    assert shop.log() == [("first", "done"), ("second", "done")]
    assert shop.rows() == [("ended", "second", "done")]
    assert shop.ground.look("SELECT count(*) FROM timers") == [(0,)]


def test_what_is_told_again_is_no_news_and_starts_nothing(shop: Workshop) -> None:
    shop.flow({"first": mark("one")})
    work = shop.work()

    shop.tell(WorkSaved(work_id=work))
    shop.run()

    assert shop.rows() == []


def test_only_records_that_are_as_the_start_wants_them_start_a_run(shop: Workshop) -> None:
    start = {"kind": "event", "event": "created", "where": only("size", 5, ">")}
    shop.flow({"first": mark("one")}, start=[start])
    small, large = shop.work(size=5), shop.work(size=6)

    for work in (small, large):
        shop.saved(work)
    shop.run()

    assert shop.rows("record_id") == [(str(large),)] or shop.rows("record_id") == [(large,)]


@pytest.mark.parametrize(("again", "runs"), [("never", 1), ("after_done", 2), ("always", 3)])
def test_a_record_has_as_many_runs_as_the_flow_lets_it(
    shop: Workshop, again: str, runs: int
) -> None:
    flow = shop.flow({"first": mark("one")}, again=again)
    work = shop.work()

    shop.begin(flow, work)
    shop.begin(flow, work)
    shop.run()
    shop.begin(flow, work)
    shop.run()

    assert len(shop.rows()) == runs


def test_what_a_run_changes_does_not_start_its_flow_on_its_record_again(shop: Workshop) -> None:
    steps = {"grow": {"kind": "set", "field": "size", "add": 1, "next": "end"}}
    shop.flow(steps, start=[{"kind": "event", "event": "changed"}])
    work = shop.work(size=1)
    with shop.writing() as session:
        from .workshop import RESOURCE, WorkChanges

        RESOURCE.rules.change(session, work, 1, WorkChanges(size=5))
    told = "SELECT body::jsonb ->> 'occurred_at', body::jsonb ->> 'correlation_id' FROM outbox"

    for turn in range(3):
        when, correlation = shop.ground.look(f"{told} ORDER BY seq")[min(turn, 1)]
        moment = dt.datetime.fromisoformat(when)
        shop.tell(WorkSaved(work_id=work), moment, correlation_id=UUID(correlation))
        shop.run()

    assert shop.ground.look("SELECT size FROM works") == [(6,)]
    assert len(shop.rows()) == 1


# --- waiting --------------------------------------------------------------------------------------


def test_a_run_waits_for_a_time_and_nothing_else_takes_it_on(shop: Workshop) -> None:
    flow = shop.flow({"calm": {"kind": "wait", "for": "3 days", "next": "then"}, "then": mark("x")})
    (run,) = shop.begin(flow, shop.work())

    shop.run()
    shop.ground.look("UPDATE timers SET run_at = now() - interval '1 second'")
    shop.run()

    ((wakes,),) = shop.rows("wakes_at - now()")
    assert dt.timedelta(days=2, hours=22) < wakes < dt.timedelta(days=3, hours=2)
    assert shop.marks() == []
    assert shop.ground.look("SELECT run_at > now() + interval '2 days' FROM timers") == [(True,)]
    shop.to_the_end()
    assert shop.marks() == ["x"]
    assert shop.log(run) == [("calm", "done"), ("then", "done")]


WAITING = {
    "first": mark("first", "opened"),
    "opened": {
        "kind": "wait_until",
        "event": "moved",
        "at_most": "5 days",
        "next": {"happened": "yes", "timeout": "no"},
    },
    "yes": mark("yes"),
    "no": mark("no"),
}


def test_the_event_takes_a_run_on_that_waits_for_it(shop: Workshop) -> None:
    flow, work, other = shop.flow(WAITING), shop.work(), shop.work()
    shop.begin(flow, work, other)
    shop.run()

    shop.tell(WorkMoved(work_id=work))
    shop.run()

    assert shop.marks() == ["first", "first", "yes"]
    shop.to_the_end()
    assert shop.marks() == ["first", "first", "yes", "no"]


def test_an_event_that_comes_before_its_wait_is_armed_is_not_lost(shop: Workshop) -> None:
    flow, work = shop.flow(WAITING), shop.work()
    shop.begin(flow, work)

    shop.run(most=1)
    shop.tell(WorkMoved(work_id=work))
    shop.run()

    assert shop.marks() == ["first", "yes"]


def test_an_event_from_before_the_step_that_causes_it_is_not_what_is_waited_for(
    shop: Workshop,
) -> None:
    flow, work = shop.flow(WAITING), shop.work()
    shop.tell(WorkMoved(work_id=work))

    shop.begin(flow, work)
    shop.run()

    assert shop.marks() == ["first"]


def test_a_second_event_of_the_kind_and_a_late_timer_find_the_run_gone_on(shop: Workshop) -> None:
    flow, work = shop.flow(WAITING | {"yes": {"kind": "wait", "for": "1 day", "next": "end"}}), None
    work = shop.work()
    shop.begin(flow, work)
    shop.run()

    shop.tell(WorkMoved(work_id=work))
    shop.run()
    shop.tell(WorkMoved(work_id=work))
    shop.run()

    assert shop.log() == [("first", "done"), ("opened", "happened"), ("yes", None)]


def test_a_step_that_asks_another_service_waits_for_its_answer(shop: Workshop) -> None:
    steps = {"ask": {"kind": "ask", "next": {"answered": "thank", "silence": "end"}}}
    flow = shop.flow(steps | {"thank": mark("thanks")})
    (run,) = shop.begin(flow, shop.work())
    shop.run()

    shop.tell(Answered(key_of_step=uuid5(run, "1")))
    shop.run()

    assert shop.marks() == ["asked", "thanks"]


# --- the end --------------------------------------------------------------------------------------


def test_exits_are_looked_at_before_every_step(shop: Workshop) -> None:
    exits = [{"when": only("stage", "done"), "outcome": "settled"}]
    flow = shop.flow(WAITING, exit=exits)
    begun, never = shop.work(), shop.work(stage="done")
    shop.begin(flow, begun, never)
    shop.run()
    shop.ground.look("UPDATE works SET stage = 'done'")

    shop.to_the_end()

    assert shop.marks() == ["first"]
    assert {outcome for (outcome,) in shop.rows("outcome")} == {"settled"}
    assert sorted(shop.log()) == [("first", "done"), ("opened", "settled")]


def test_the_goal_ends_a_run_wherever_it_stands(shop: Workshop) -> None:
    steps = {"calm": {"kind": "wait", "for": "3 days", "next": "then"}, "then": mark("late")}
    flow, work = shop.flow(steps, goal={"event": "moved"}), shop.work()
    shop.begin(flow, work)
    shop.run()

    shop.tell(WorkMoved(work_id=work))
    shop.run()

    assert shop.rows() == [("ended", "calm", "goal")]
    assert shop.ground.look("SELECT count(*) FROM flow_waits") == [(0,)]
    assert shop.marks() == []


def test_a_run_whose_record_is_gone_ends(shop: Workshop) -> None:
    shop.begin(shop.flow({"first": mark("one")}), shop.work())
    shop.ground.look("DELETE FROM works")

    shop.run()

    assert shop.rows("outcome") == [("gone",)]
    assert shop.marks() == []


# --- what the shipped kinds do ------------------------------------------------------------------


def test_a_branch_goes_by_the_first_case_that_holds(shop: Workshop) -> None:
    cases = [
        {"when": only("size", 10, ">"), "way": "big"},
        {"when": only("size", 5, ">"), "way": "mid"},
    ]
    steps = {
        "which": {
            "kind": "branch",
            "cases": cases,
            "next": {"big": "big", "mid": "mid", "else": "small"},
        },
        "big": mark("big"),
        "mid": mark("mid"),
        "small": mark("small"),
    }
    flow = shop.flow(steps)

    for size in (11, 6, 5, None):
        shop.begin(flow, shop.work(size=size))
        shop.run()

    assert shop.marks() == ["big", "mid", "small", "small"]


def test_a_user_is_told_with_the_fields_of_the_record(shop: Workshop) -> None:
    boss, owner = uuid5(UUID(int=1), str(shop.who.tenant)), uuid5(UUID(int=2), str(shop.who.tenant))
    add = (
        "INSERT INTO workers (id, tenant_id, name, folded, removed, version, email, manager_id)"
        " VALUES (%s, %s, %s, '', false, 1, %s, %s)"
    )
    tenant = str(shop.who.tenant)
    shop.ground.look(add, str(boss), tenant, "Bo", "bo@example.com", None)
    shop.ground.look(add, str(owner), tenant, "Ola", None, str(boss))
    tell = {"kind": "notify", "to": "manager", "next": {"sent": "end", "nobody": "alone"}}
    tell |= {"subject": "{{ work.name }}", "text": "Of size {{ work.size }}"}
    flow = shop.flow({"tell": tell, "alone": mark("alone")})

    works = (shop.work(owner_id=owner, size=3), shop.work(owner_id=boss), shop.work())
    for work in works:
        shop.begin(flow, work)
        shop.run()

    (first,) = shop.told()
    assert (first["kind"], first["user_ids"]) == ("flow_notice", [str(boss)])
    assert first["said"]["fr"] == {"subject": "desk", "text": "Of size 3"}
    assert first["about"] == {"record": "works", "id": str(works[0]), "owner_id": str(owner)}
    assert shop.marks() == ["alone", "alone"]


def test_a_field_is_set_by_the_rules_of_its_record(shop: Workshop) -> None:
    steps = {
        "name": {"kind": "set", "field": "name", "value": "{{ work.name }} {{ work.stage }}"},
        "grow": {"kind": "set", "field": "size", "add": 4},
        "stage": {"kind": "set", "field": "stage", "value": "done"},
    }
    for step, following in zip(steps.values(), ("grow", "stage", "end"), strict=True):
        step["next"] = following
    shop.begin(shop.flow(steps), shop.work(size=2))

    shop.run()

    assert shop.ground.look("SELECT name, size, stage, version FROM works") == [
        ("desk new", 6, "done", 4)
    ]
    assert shop.ground.look(
        "SELECT count(*) FROM history WHERE by IS NOT NULL AND action = 'changed'"
    ) == [(0,)]


# --- failing --------------------------------------------------------------------------------------


def test_a_step_that_fails_is_tried_again_and_leaves_its_effect_once(shop: Workshop) -> None:
    flow = shop.flow({"first": mark("one", fails=3)})
    shop.begin(flow, shop.work())

    shop.to_the_end()

    assert shop.marks() == ["one"]
    assert shop.log() == [("first", "done")]
    assert shop.rows("state, attempt, error") == [("ended", 0, None)]


def test_a_step_that_goes_on_failing_stands_and_says_why_and_the_others_go_on(
    shop: Workshop,
) -> None:
    bad, good = shop.flow({"first": mark("bad", fails=9)}), shop.flow({"first": mark("good")})
    shop.begin(bad, shop.work())
    shop.begin(good, shop.work())

    shop.to_the_end()

    assert shop.marks() == ["good"]
    assert shop.rows("state, step, attempt, error, wakes_at") == [
        ("failed", "first", 5, "not yet", None),
        ("ended", "first", 0, None, None),
    ]
    assert Mark.failures
