"""One event's trouble is its own: it is retried and parked, and everybody else's go on."""

import json
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest

from liaison_kit.context import Context
from liaison_kit.events import parking
from liaison_kit.run.process import wait_until

from .conftest import Flow, Process


@pytest.mark.parametrize("how", ["unavailable", "refused"])
def test_an_event_that_can_not_reach_something_is_parked_and_others_go_on(
    running: Flow, how: str
) -> None:
    stranger = uuid4()
    running.rows("INSERT INTO broken VALUES ('a', 1, :how)", how=how)

    running.say("a", 1, 2)
    for number in range(10):
        running.say("b", number, tenant=stranger)

    assert wait_until(lambda: len(running.effects("b")) == 10, seconds=20)
    assert wait_until(lambda: running.failed() == [("parked", 5)], seconds=20), running.failed()
    assert wait_until(lambda: running.effects("a") == [2], seconds=10)
    assert "put down" not in running.logs()


def test_one_organisations_failing_record_does_not_hold_up_anothers_of_the_same_name(
    flow: Flow,
) -> None:
    flow.start(LIAISON_RETRY_DELAYS_S="[600]")
    flow.declared()
    flow.rows("INSERT INTO broken VALUES ('a', 1)")
    flow.say("a", 1)
    assert wait_until(lambda: flow.failed() == [("retrying", 1)], seconds=10)

    flow.say("a", 2, tenant=uuid4())

    flow.settles(1)
    assert flow.effects("a") == [2]


def test_a_lock_that_somebody_keeps_holds_up_no_other_record(flow: Flow) -> None:
    flow.start(LIAISON_RETRY_DELAYS_S="[600]", constants=_limits("300ms"))
    flow.declared()
    flow.rows("INSERT INTO broken VALUES ('a', 1, 'locked')")
    with closing(_somebody_else(flow)):
        flow.say("a", 1)
        flow.say("b", 1)

        assert wait_until(lambda: flow.effects("b") == [1], seconds=20)
        assert wait_until(lambda: flow.failed() == [("retrying", 1)], seconds=20), flow.logs()
    (error,) = flow.rows("SELECT error FROM failed_events")
    assert "lock timeout" in error[0]


@pytest.mark.parametrize("how", ["asks", "locked"])
def test_a_handler_that_does_not_end_is_ended_and_its_event_parked(flow: Flow, how: str) -> None:
    flow.start(constants={"inbox.HANDLER_S": 0.3})
    flow.declared()
    flow.rows("INSERT INTO broken VALUES ('a', 1, :how)", how=how)
    with closing(_somebody_else(flow)):
        flow.say("a", 1)
        flow.say("b", 1)

        assert wait_until(lambda: flow.failed() == [("parked", 5)], seconds=40), flow.logs()
    assert flow.effects() == [1]
    (error,) = flow.rows("SELECT error FROM failed_events")
    assert "HandlerTooSlow" in error[0]


@pytest.mark.parametrize("how", ["killed", "spins", "unbearable"])
def test_an_event_that_ends_its_process_is_parked_and_the_others_have_their_effects(
    flow: Flow, how: str
) -> None:
    flow.rows("INSERT INTO broken VALUES ('r1', 3, :how)", how=how)
    stuck = {"handlers.STUCK_S": 1.0}
    flow.start("relay")
    process = flow.start("events", constants=stuck)
    flow.declared()
    flow.say_many(4, 6)

    starts = 1
    while (
        not wait_until(
            lambda p=process: p.ended() is not None or ("parked", 0) in flow.failed(), seconds=40
        )
        or not flow.failed()
    ):
        assert starts < 8, (starts, flow.failed(), flow.logs())
        process = flow.start("events", constants=stuck)
        starts += 1

    flow.settles(23)
    assert flow.failed() == [("parked", 0)]
    assert flow.effects("r1") == [0, 1, 2, 4, 5]
    with flow.db.reading(Context(tenant=flow.tenant)) as session:
        (shown,) = parking.parked(session, flow.tenant)
    assert "never ended" in (shown.error or "")
    assert flow.count("begun_events") == 0
    # What it had in hand had its effects once, and it may be replayed like any other.
    flow.rows("DELETE FROM broken")
    if process.ended() is not None:
        flow.start("events")
    with flow.db.writing(Context(tenant=flow.tenant)) as session:
        parking.replay(session, flow.tenant, shown.id)
    flow.settles(24)


@pytest.mark.parametrize(
    "wrong",
    [
        {"occurred_at": "2026-01-01T00:00:00"},
        {"key": "a\x00b"},
        {"key": "k" * 20_000},
        {"seq": 1 << 70},
        {"type": "said\x00"},
    ],
)
def test_what_could_not_even_be_parked_as_it_is_holds_nobody_up(
    running: Flow, wrong: dict[str, object]
) -> None:
    for _ in range(2):
        running.publish(running.envelope(**wrong))
    running.say("a", 1, 2)

    running.settles(2)
    assert wait_until(
        lambda: running.failed() and set(running.failed()) == {("parked", 0)}, seconds=10
    )
    assert running.queue_length() == 0


def test_large_events_are_taken_a_few_at_a_time(flow: Flow) -> None:
    flow.start("relay")
    few = {"queue.IN_HAND_BYTES": 4 << 20, "relay.BATCH_BYTES": 4 << 20}
    idle = flow.start("events", constants=few)
    flow.declared()
    before = _peak_kb(idle)
    filling = json.dumps({"x": ["long" * 10] * 10})[1:-1] * 3000

    for number in range(60):
        flow.say(f"r{number % 3}", number // 3, filling=filling)

    flow.settles(60, seconds=60)
    flow.in_order(3, 20)
    size = len(filling)
    assert size > 1 << 20
    grown = (_peak_kb(idle) - before) * 1024
    assert grown < 40 * size, f"{grown / size:.0f} bodies' worth of memory"


def _somebody_else(flow: Flow) -> psycopg2.extensions.connection:
    """Somebody who has locked the thing called `locked`, and goes on."""
    flow.rows("INSERT INTO things VALUES ('locked', 0)")
    connection = psycopg2.connect(flow.url.set(drivername="postgresql").render_as_string(False))
    connection.cursor().execute("UPDATE things SET said = 7 WHERE name = 'locked'")
    return connection


def _peak_kb(process: Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def _limits(lock: str) -> dict[str, str]:
    return {
        "inbox._OPENING": "SET LOCAL lock_timeout = '300ms'; SELECT pg_advisory_xact_lock(k)"
        f" FROM unnest('{{{{{{}}}}}}'::bigint[]) AS k; SET LOCAL lock_timeout = '{lock}'; "
    }
