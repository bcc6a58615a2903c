"""A broker that will not take a message for a while: nothing is lost and nothing is overtaken."""

import json
import time
from collections import defaultdict

import pika

from liaison_kit.run.process import wait_until

from .conftest import Flow

KEYS, EACH = 6, 40


def _first_times(seen: list[tuple[str, int]]) -> dict[str, list[int]]:
    """Per record, in which order its numbers came for the first time."""
    found: dict[str, list[int]] = defaultdict(list)
    for record, number in seen:
        if number not in found[record]:
            found[record].append(number)
    return found


def test_what_a_full_queue_refuses_is_not_overtaken_by_what_comes_later(flow: Flow) -> None:
    seen: list[tuple[str, int]] = []
    with pika.BlockingConnection(pika.URLParameters(flow.broker.url)) as connection:
        channel = connection.channel()
        channel.exchange_declare(f"{flow.service}.events", "topic", durable=True)
        queue, full = f"{flow.service}.small", {"x-max-length": 7, "x-overflow": "reject-publish"}
        channel.queue_declare(queue, durable=True, arguments=full)
        channel.queue_bind(queue, f"{flow.service}.events", "#")
        flow.start("relay", constants={"relay.REFUSED_S": [0.05, 0.2]})

        flow.say_many(KEYS, EACH)
        assert wait_until(lambda: "the broker refuses" in flow.logs(), seconds=20)
        until = time.monotonic() + 120
        while len(set(seen)) < KEYS * EACH and time.monotonic() < until:
            method, _properties, body = channel.basic_get(queue, auto_ack=True)
            if method is None:
                connection.sleep(0.01)
            else:
                data = json.loads(body)["data"]
                seen.append((data["record"], data["number"]))

    assert _first_times(seen) == {f"r{key}": list(range(EACH)) for key in range(KEYS)}
    assert wait_until(lambda: flow.count("outbox") == 0, seconds=10)


def test_what_goes_to_other_queues_goes_on_while_one_refuses(flow: Flow) -> None:
    flow.start()
    flow.declared()
    flow.declared("on_heard")
    with pika.BlockingConnection(pika.URLParameters(flow.broker.url)) as connection:
        channel = connection.channel()
        queue, full = f"{flow.service}.full", {"x-max-length": 1, "x-overflow": "reject-publish"}
        channel.queue_declare(queue, durable=True, arguments=full)
        channel.queue_bind(queue, f"{flow.service}.events", "heard.#")
        flow.say("a", 1, answer=True)
        flow.settles(2)

        flow.say("a", 2, answer=True)
        assert wait_until(lambda: "the broker refuses" in flow.logs(), seconds=20)
        flow.say("b", *range(20))

        assert wait_until(lambda: flow.effects("b") == list(range(20)), seconds=20)
        assert wait_until(lambda: flow.count("outbox") == 1, seconds=10), "what was refused is kept"
        channel.queue_delete(queue)
    assert wait_until(lambda: flow.count("outbox") == 0, seconds=20)
    assert flow.count() == 24


def test_a_record_with_very_many_events_does_not_hold_up_others(flow: Flow) -> None:
    flow.start("events")
    flow.declared()
    flow.say("hot", *range(30))
    flow.say_many(1, 1500)
    flow.say("b", 1)

    flow.start("relay")

    flow.settles(1531, seconds=60)
    assert flow.effects("r0") == list(range(1500))
    assert flow.effects("hot") == list(range(30))
    ((last_of_b, last_of_r0),) = flow.rows(
        "SELECT max(id) FILTER (WHERE record = 'b'), max(id) FILTER (WHERE record = 'r0')"
        " FROM effects"
    )
    assert last_of_b < last_of_r0
