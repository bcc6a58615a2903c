"""Another number of shards, another type of queue: what the former queues hold is worked off."""

import pika
import pytest

from liaison_kit.events import generations
from liaison_kit.run.process import wait_until

from .conftest import Flow

SHAPES = [("1", "4"), ("4", "1"), ("4", "3")]


@pytest.mark.parametrize(("before", "after"), SHAPES)
def test_what_waits_in_the_queues_of_another_number_of_shards_is_handled_in_order(
    flow: Flow, before: str, after: str
) -> None:
    flow.start("relay")
    first = flow.start("events", LIAISON_EVENT_SHARDS=before)
    _all_consumed(flow)
    first.kill()
    flow.say_many(12, 30)
    assert wait_until(lambda: flow.count("outbox") == 0, seconds=20)

    flow.start("events", LIAISON_EVENT_SHARDS=after)
    for number in range(30, 40):
        flow.say("r0", number)

    flow.settles(12 * 30 + 10, seconds=60)
    flow.in_order(1, 40)
    for record in range(1, 12):
        assert flow.effects(f"r{record}") == list(range(30))
    assert wait_until(lambda: _left(flow) == [], seconds=20), "the former queues are gone"


def test_processes_with_other_settings_work_side_by_side_in_the_middle_of_it_all(
    flow: Flow,
) -> None:
    flow.start("relay")
    old = flow.start("events")
    _all_consumed(flow)
    told = 0

    def talk(rounds: int) -> None:
        nonlocal told
        for _ in range(rounds):
            for record in range(6):
                flow.say(f"r{record}", told)
            told += 1

    talk(10)
    new = flow.start("events", LIAISON_EVENT_SHARDS="4")
    talk(30)
    old.kill()
    talk(10)
    newest = flow.start("events", LIAISON_EVENT_SHARDS="2", LIAISON_QUEUE_TYPE="quorum")
    talk(20)
    new.terminate()
    talk(10)
    newest.kill()
    flow.start("events", LIAISON_EVENT_SHARDS="2", LIAISON_QUEUE_TYPE="quorum")

    flow.settles(6 * told, seconds=60)
    flow.in_order(6, told)
    assert wait_until(lambda: _left(flow) == [], seconds=30)


def test_a_failed_event_finds_its_way_to_the_new_queues(flow: Flow) -> None:
    soon = {"relay.RESCUE_AFTER_S": 1, "relay.HOUSEKEEPING_S": 0.5}
    flow.start("relay", constants=soon)
    first = flow.start("events", LIAISON_RETRY_DELAYS_S="[2, 600]")
    flow.declared()
    flow.rows("INSERT INTO broken VALUES ('a', 1), ('b', 1)")
    flow.say("a", 1, 2)
    assert wait_until(lambda: len(flow.failed()) == 2, seconds=20), flow.logs()
    first.kill()
    flow.rows("DELETE FROM broken")

    flow.start("events", LIAISON_EVENT_SHARDS="4", LIAISON_RETRY_DELAYS_S="[2, 600]")

    flow.settles(2, seconds=60)
    assert flow.effects("a") == [1, 2]
    assert flow.failed() == []


def test_a_handler_that_no_release_has_any_more_is_named_and_can_be_forgotten(flow: Flow) -> None:
    flow.rows(
        "INSERT INTO event_queues VALUES ('on_gone', 1, 1, 'classic', :exchange, '{said}',"
        " now() - interval '1 hour')",
        exchange=f"{flow.service}.events",
    )
    with pika.BlockingConnection(pika.URLParameters(flow.broker.url)) as connection:
        connection.channel().queue_declare(f"{flow.service}.on_gone", durable=True)

    flow.start()
    assert wait_until(lambda: "nobody attends" in flow.logs(), seconds=20)

    assert generations.forget(flow.db, flow.service, "on_gone", flow.broker.url) == 0
    assert flow.queue_length("on_gone") is None
    assert flow.rows("SELECT FROM event_queues WHERE handler = 'on_gone'") == []
    with pytest.raises(generations.StillAttended):
        generations.forget(flow.db, flow.service, "on_said", flow.broker.url)


def _all_consumed(flow: Flow) -> None:
    wanted = "SELECT generation, shards FROM event_queues WHERE handler = 'on_said'"
    assert wait_until(lambda: bool(flow.rows(wanted)), seconds=20), flow.logs()
    for name in _names(*flow.rows(wanted)[-1]):
        flow.declared(name)


def _names(generation: int, shards: int) -> list[str]:
    base = "on_said" + (f".g{generation}" if generation > 1 else "")
    return [base] if shards == 1 else [f"{base}.{shard}" for shard in range(shards)]


def _left(flow: Flow) -> list[str]:
    """Queues of former generations that are still there."""
    rows = flow.rows("SELECT max(generation) FROM event_queues WHERE handler = 'on_said'")
    found = []
    for generation in range(1, rows[0][0]):
        for shards in range(1, 5):
            found += [n for n in _names(generation, shards) if flow.queue_length(n) is not None]
    return found
