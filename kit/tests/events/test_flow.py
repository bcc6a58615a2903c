"""Events have effects once and in order, whatever happens to them on their way."""

import json
from uuid import uuid4

from liaison_kit.context import Context
from liaison_kit.events import parking
from liaison_kit.run.process import wait_until
from liaison_kit.testing import keyring
from liaison_kit.trust.signatures import Signer

from .conftest import Flow


def test_an_event_reaches_its_handler_and_what_that_tells_goes_out_too(running: Flow) -> None:

    running.say("a", 7, answer=True)

    running.settles(2)
    rows = running.rows("SELECT number, tenant, event_id FROM effects ORDER BY id")
    assert [number for number, _, _ in rows] == [7, -1]
    assert {tenant for _, tenant, _ in rows} == {running.tenant}
    assert rows[0][2] == rows[1][2], "the second event names the first as its cause"


def test_nobody_has_to_look_whether_there_is_something_to_send(flow: Flow) -> None:
    flow.start(TEST_NEVER_SWEEP="1")
    flow.declared()
    assert wait_until(lambda: "relay leads" in flow.logs(), seconds=5)

    # From this process by notice; what the handler tells, within the relay's own.
    for number in range(5):
        flow.say("a", number, answer=True)
        flow.settles(2 * number + 2)


def test_order_is_kept_per_record_under_a_crowd_of_tenants(running: Flow) -> None:
    tenants = [uuid4() for _ in range(3)]

    for number in range(40):
        for i, tenant in enumerate(tenants):
            running.say(f"r{i}", number, tenant=tenant)

    running.settles(120)
    for i in range(3):
        assert running.effects(f"r{i}") == list(range(40))


def test_an_event_that_arrives_again_has_no_effect_again(running: Flow) -> None:
    body = running.envelope()

    for _ in range(5):
        running.publish(body)

    running.settles(1)
    assert running.failed() == []


def test_later_events_of_a_record_wait_for_a_failing_one(running: Flow) -> None:
    running.rows("INSERT INTO broken VALUES ('a', 2)")

    running.say("a", 1, 2, 3, 4)
    running.say("b", 1, 2, 3, 4)
    assert wait_until(lambda: len(running.effects("b")) == 4, seconds=10)
    assert wait_until(
        lambda: [s for s, _ in running.failed()] == ["retrying", "waiting", "waiting"], seconds=5
    )
    assert running.effects("a") == [1]
    with running.db.reading(Context(tenant=running.tenant)) as session:
        (failing,) = parking.parked(session, running.tenant, state="retrying")
        waiting = parking.parked(session, running.tenant, state="waiting")
        assert parking.parked(session, running.tenant) == []
    assert (failing.key, failing.waiting) == ("a", 2)
    assert failing.next_try_at is not None
    assert [event.envelope and event.envelope["data"]["number"] for event in waiting] == [4, 3]
    running.rows("DELETE FROM broken")

    running.settles(8)
    assert running.effects("a") == [1, 2, 3, 4]
    assert running.failed() == []


def test_a_poison_event_is_retried_then_parked_then_replayed_after_the_fix(running: Flow) -> None:
    running.rows("INSERT INTO broken VALUES ('a', 1)")

    running.say("a", 1, 2)
    assert wait_until(lambda: running.failed() == [("parked", 5)], seconds=15), running.failed()
    assert wait_until(lambda: running.effects("a") == [2], seconds=5), "the others go on"
    with running.db.reading(Context(tenant=running.tenant)) as session:
        (shown,) = parking.parked(session, running.tenant)
        assert parking.parked(session, uuid4()) == [], "another tenant's are not shown"
    assert shown.attempts == 5
    assert shown.error is not None
    assert "can't bear 1" in shown.error
    assert shown.envelope is not None
    assert shown.envelope["data"]["number"] == 1
    running.rows("DELETE FROM broken")
    with running.db.writing(Context(tenant=running.tenant)) as session:
        parking.replay(session, running.tenant, shown.id)

    running.settles(2)
    assert running.effects("a") == [2, 1]
    assert running.failed() == []


def test_a_discarded_event_stays_away(running: Flow) -> None:
    running.rows("INSERT INTO broken VALUES ('a', 1)")
    body = running.envelope(key="a", data={"record": "a", "number": 1}, tenant=str(running.tenant))
    running.publish(body)
    assert wait_until(lambda: running.failed() == [("parked", 5)], seconds=5), running.failed()

    with running.db.writing(Context(tenant=running.tenant)) as session:
        (shown,) = parking.parked(session, running.tenant)
        parking.discard(session, running.tenant, shown.id)
    running.rows("DELETE FROM broken")
    running.publish(body)
    running.say("a", 2)

    running.settles(1)
    assert running.effects("a") == [2]


def test_what_can_not_be_read_is_parked_and_the_rest_goes_on(running: Flow) -> None:
    broken = [
        b"\xff\x00 not json}",
        b'{"id": 1}',
        running.envelope(version=99),
        running.envelope(data={"record": "k"}),
        running.envelope(type="never_heard_of"),
    ]

    for body in broken:
        running.publish(body)
    running.say("a", 1)

    running.settles(1)
    assert wait_until(lambda: running.failed() == [("parked", 0)] * 5, seconds=5), running.failed()
    assert running.queue_length() == 0
    with running.db.reading(Context(tenant=running.tenant)) as session:
        errors = " ".join(e.error or "" for e in parking.parked(session, None))
    for said in ("version 99", "no handler for never_heard_of", "number", "unreadable envelope"):
        assert said in errors


def test_what_its_service_has_not_signed_is_refused_and_not_even_parked(running: Flow) -> None:
    (mine,) = Signer(keyring("contacts")).sign("event", [running.envelope()])
    (other,) = Signer(keyring(running.service)).sign("event", [running.envelope()])
    theirs = json.loads(running.envelope()) | {"source": "contacts"}
    (foreign,) = Signer(keyring(running.service)).sign("event", [json.dumps(theirs).encode()])
    unsigned = running.envelope()
    changed = other.replace(b'"key": "k"', b'"key": "z"', 1)
    assert changed != other

    for body in (unsigned, changed, foreign):
        running.publish(body, signed=False)
    running.say("b", 1)

    running.settles(1)
    assert running.effects() == [1]
    assert running.queue_length() == 0
    assert running.failed() == []
    # A key that nobody has told of may be ours to mend: that event waits for somebody to look.
    running.publish(mine, signed=False)
    assert wait_until(lambda: running.failed() == [("parked", 0)], seconds=10), running.failed()
    assert running.rows("SELECT tenant_id FROM failed_events") == [(None,)]


def test_shards_share_the_records_out_and_keep_each_in_order(flow: Flow) -> None:
    flow.start(LIAISON_EVENT_SHARDS="4")
    for shard in range(4):
        flow.declared(f"on_said.{shard}")

    for number in range(20):
        for record in ("a", "b", "c", "d", "e"):
            flow.say(record, number)

    flow.settles(100)
    for record in ("a", "b", "c", "d", "e"):
        assert flow.effects(record) == list(range(20))
