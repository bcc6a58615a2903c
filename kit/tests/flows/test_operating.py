"""Versions, operators, cancelling, and whose runs somebody sees."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from liaison_kit.flows import definitions, operating, tracing
from liaison_kit.flows.definitions import KeyTaken, SeesTooLittle, StillRunning
from liaison_kit.flows.operating import CUT_SHORT, NotActive, RunEnded
from liaison_kit.testing import principal
from liaison_sdk.errors import Forbidden, InvalidInput, NotFound, StaleVersion

from .conftest import Workshop
from .workshop import FLOWS

CALM = {"kind": "wait", "for": "3 days", "next": "then"}


def mark(say: str, next: str = "end", **more: Any) -> dict[str, Any]:
    return {"kind": "mark", "say": say, "next": next} | more


def begun(shop: Workshop, steps: dict[str, Any], **more: Any) -> tuple[UUID, UUID]:
    """A flow and a run of it that has been taken on."""
    flow = shop.flow(steps, **more)
    (run,) = shop.begin(flow, shop.work())
    shop.run()
    return flow, run


# --- versions -------------------------------------------------------------------------------------


def test_a_run_stays_on_the_version_that_it_began_with_and_that_is_said(shop: Workshop) -> None:
    flow, _run = begun(shop, {"calm": CALM, "then": mark("old")})
    shop.change_flow(flow, steps={"calm": CALM, "then": mark("new")})
    with shop.writing() as session:
        older = definitions.shape(session, FLOWS, flow).older

    shop.begin(flow, shop.work())
    shop.to_the_end()

    assert [(old.version, old.runs) for old in older] == [(1, 1)]
    assert shop.marks() == ["old", "new"]


def test_a_run_goes_over_to_another_version_that_has_its_step(shop: Workshop) -> None:
    flow, run = begun(shop, {"calm": CALM, "then": mark("old")})
    shop.change_flow(flow, steps={"calm": CALM, "then": mark("new")})
    shop.change_flow(flow, steps={"then": mark("newest")})

    with shop.writing() as session, pytest.raises(InvalidInput):
        operating.move(session, FLOWS, run, 3)
    with shop.writing() as session:
        operating.move(session, FLOWS, run, 2)
    shop.to_the_end()

    assert shop.marks() == ["new"]


def test_what_was_active_is_kept_as_it_was_and_drafts_are_not(shop: Workshop) -> None:
    flow = shop.flow({"a": mark("one")})
    with shop.writing() as session:
        for number in (1, 2):
            draft = definitions.find(session, FLOWS, flow).definition | {"name": f"Draft {number}"}
            definitions.save(session, FLOWS, flow, number, draft)
        with pytest.raises(StaleVersion):
            definitions.save(session, FLOWS, flow, 2, {"key": "x", "record": "works"})

    kept = shop.ground.look("SELECT number FROM flow_versions ORDER BY number")
    assert kept == [(1,), (3,)]
    shop.begin(flow, shop.work())
    shop.run()
    assert shop.marks() == ["one"]


def test_a_key_and_a_record_stay_and_are_one_flows(shop: Workshop) -> None:
    flow = shop.flow({"a": mark("x")}, key="one")

    with pytest.raises(KeyTaken):
        shop.flow({"a": mark("x")}, key="one")
    with shop.writing() as session:
        other = definitions.find(session, FLOWS, flow).definition | {"key": "two"}
        with pytest.raises(InvalidInput):
            definitions.save(session, FLOWS, flow, 1, other)


def test_an_inactive_flow_starts_nothing_and_what_runs_goes_on(shop: Workshop) -> None:
    flow, _run = begun(shop, {"calm": CALM, "then": mark("x")})
    with shop.writing() as session:
        definitions.deactivate(session, FLOWS, flow)

    shop.saved(shop.work())
    with shop.writing() as session, pytest.raises(NotActive):
        operating.begin_by_hand(session, FLOWS, flow, [shop.work()])
    shop.to_the_end()

    assert shop.marks() == ["x"]
    with shop.writing() as session, pytest.raises(StillRunning):
        definitions.remove(session, FLOWS, flow, 1)


# --- operators ------------------------------------------------------------------------------------


def test_a_run_that_has_failed_is_retried_skipped_or_ended(shop: Workshop) -> None:
    steps = {"a": mark("a", "b", fails=6), "b": mark("b")}
    flow = shop.flow(steps)
    runs = [shop.begin(flow, shop.work())[0] for _ in range(3)]
    shop.to_the_end()
    assert shop.rows("state, error") == [("failed", "not yet")] * 3

    with shop.writing() as session:
        operating.retry(session, FLOWS, runs[0])
        operating.skip(session, FLOWS, runs[1], None)
        operating.end(session, FLOWS, runs[2])
    shop.to_the_end()

    assert shop.rows() == [
        ("ended", "b", "done"),
        ("ended", "b", "done"),
        ("ended", "a", CUT_SHORT),
    ]
    assert sorted(shop.marks()) == ["a", "b", "b"]
    with shop.writing() as session, pytest.raises(RunEnded):
        operating.retry(session, FLOWS, runs[0])


def test_cancelling_undoes_what_was_done_the_last_first(shop: Workshop) -> None:
    steps = {
        "a": mark("a", "b", undo={"kind": "mark", "say": "no a", "fails": 1}),
        "b": mark("b", "c", undo={"kind": "mark", "say": "no b"}),
        "c": mark("c", "calm"),
        "calm": CALM,
        "then": mark("x"),
    }
    _flow, run = begun(shop, steps)

    with shop.writing() as session:
        operating.cancel(session, FLOWS, run)
        operating.cancel(session, FLOWS, run)
    shop.to_the_end()

    assert shop.marks() == ["a", "b", "c", "no b", "no a"]
    assert shop.rows("state, outcome") == [("ended", "cancelled")]
    assert shop.log(run) == [
        ("a", "done"),
        ("b", "done"),
        ("c", "done"),
        ("calm", "cancelled"),
        ("b", "undone"),
        ("a", "undone"),
    ]


def test_the_log_says_where_a_run_stands_and_what_it_waits_for(shop: Workshop) -> None:
    wait = {"kind": "wait_until", "event": "moved", "at_most": "2 days", "next": "end"}
    flow, run = begun(shop, {"a": mark("a", "wait"), "wait": wait})

    with shop.writing() as session:
        found = tracing.shape(session, FLOWS, run)
        counts = {c.step: c for c in tracing.counts(session, FLOWS, flow, 1)}

    assert (found.state, found.step, found.waits_for) == ("active", "wait", ["works.moved"])
    assert found.wakes_at is not None
    assert [(line.step, line.way) for line in found.log] == [("a", "done"), ("wait", None)]
    assert (counts["a"].entered, counts["a"].ways) == (1, {"done": 1})
    assert (counts["wait"].entered, counts["wait"].standing) == (1, 1)


# --- whose ----------------------------------------------------------------------------------------


def test_who_may_not_see_a_record_sees_none_of_its_runs(shop: Workshop) -> None:
    flow = shop.flow({"calm": CALM, "then": mark("x")})
    rep = principal(shop.who.tenant, "works:read", "flows:read", rows={"works": "own"})
    own, other = shop.work(owner_id=rep.user), shop.work(owner_id=uuid4())
    mine, theirs = shop.begin(flow, own), shop.begin(flow, other)
    shop.run()

    with shop.writing(rep) as session:
        listed = tracing.of_flow(session, FLOWS, flow, None, None, 50, None)
        (count,) = tracing.counts(session, FLOWS, flow, 1)
        assert [run.id for run in listed] == mine
        assert (count.entered, count.standing) == (1, 1)
        assert tracing.shape(session, FLOWS, mine[0]).record_id == own
        about = FLOWS.records["works"]
        for hidden in (
            lambda: tracing.shape(session, FLOWS, theirs[0]),
            lambda: operating.end(session, FLOWS, theirs[0]),
            lambda: tracing.of_record(session, about, other, 50, None),
            lambda: operating.begin_by_hand(session, FLOWS, flow, [other]),
        ):
            with pytest.raises(NotFound):
                hidden()


def test_another_tenants_flows_and_runs_are_not_there(shop: Workshop) -> None:
    flow, run = begun(shop, {"calm": CALM, "then": mark("x")})

    with shop.writing(principal()) as session:
        for look in (
            lambda: definitions.shape(session, FLOWS, flow),
            lambda: definitions.activate(session, FLOWS, flow, 1),
            lambda: tracing.shape(session, FLOWS, run),
            lambda: operating.cancel(session, FLOWS, run),
        ):
            with pytest.raises(NotFound):
                look()
        assert definitions.summaries(session, FLOWS, None, 50, None) == []


def test_who_lets_a_flow_run_may_do_and_see_all_that_it_does(shop: Workshop) -> None:
    tenant = shop.who.tenant
    flow = shop.flow({"a": {"kind": "set", "field": "size", "value": 1, "next": "end"}})
    cases = (
        (principal(tenant, "works:read"), Forbidden),
        (principal(tenant, "works:read", "works:write", rows={"works": "team"}), SeesTooLittle),
        (principal(tenant, "works:write"), NotFound),
    )

    for who, error in cases:
        with shop.writing(who) as session, pytest.raises(error):
            definitions.activate(session, FLOWS, flow, 1)
    with shop.writing(principal(tenant, "works:read", "works:write")) as session:
        definitions.activate(session, FLOWS, flow, 1)
