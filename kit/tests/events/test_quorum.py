"""Quorum queues: the same flow, on the queues that a cluster needs."""

from collections.abc import Iterator

import pika
import pytest

from liaison_kit.context import Context
from liaison_kit.events import parking
from liaison_kit.events.generations import DELIVERY_LIMIT
from liaison_kit.run.postgres import Postgres
from liaison_kit.run.process import wait_until

from .conftest import Flow

QUORUM = {"LIAISON_QUEUE_TYPE": "quorum"}


@pytest.fixture
def quorum(flow: Flow) -> Iterator[Flow]:
    flow.start(**QUORUM)
    flow.declared()
    return flow


def test_an_event_is_retried_parked_and_replayed_on_quorum_queues(quorum: Flow) -> None:
    quorum.rows("INSERT INTO broken VALUES ('a', 1)")

    quorum.say("a", 1, 2, answer=True)
    quorum.say("b", 1, 2, 3)
    assert wait_until(lambda: quorum.failed() == [("parked", 5)], seconds=30), quorum.failed()
    quorum.rows("DELETE FROM broken")
    with quorum.db.writing(Context(tenant=quorum.tenant)) as session:
        (parked,) = parking.parked(session, quorum.tenant)
        parking.replay(session, quorum.tenant, parked.id)

    quorum.settles(7)
    assert quorum.effects("b") == [1, 2, 3]
    assert sorted(quorum.effects("a")) == [-1, -1, 1, 2]
    assert quorum.failed() == []


def test_a_killed_process_and_a_killed_database_lose_nothing_of_quorum_queues(
    quorum: Flow, postgres: Postgres
) -> None:
    second = quorum.start("events", **QUORUM)
    quorum.say_many(10, 60)
    assert wait_until(lambda: quorum.count() > 50, seconds=20)
    second.kill()
    assert wait_until(lambda: quorum.count() > 150, seconds=20)
    quorum.db.dispose()
    postgres.kill()
    postgres.start()
    quorum.db.dispose()

    quorum.settles(600, seconds=60)
    quorum.in_order(10, 60)
    assert quorum.failed() == []


def test_a_message_that_is_returned_very_often_is_neither_lost_nor_overtaken(flow: Flow) -> None:
    first = flow.start(**QUORUM)
    flow.declared()
    first.kill()
    flow.start("relay")
    flow.say("a", *range(5))
    assert wait_until(lambda: flow.queue_length() == 5, seconds=20)

    # RabbitMQ 4 would drop them after twenty times, were there no limit of ours.
    for _ in range(30):
        with pika.BlockingConnection(pika.URLParameters(flow.broker.url)) as connection:
            held: list[bytes] = []
            connection.channel().basic_consume(
                f"{flow.service}.on_said", lambda *message, held=held: held.append(message[3])
            )
            while len(held) < 5:
                connection.process_data_events(time_limit=1)
    with pika.BlockingConnection(pika.URLParameters(flow.broker.url)) as connection:
        declared = {
            "x-queue-type": "quorum",
            "x-single-active-consumer": True,
            "x-delivery-limit": DELIVERY_LIMIT,
        }
        queue = f"{flow.service}.on_said"
        connection.channel().queue_declare(queue, durable=True, arguments=declared)

    flow.start("events", **QUORUM)
    flow.settles(5)
    assert flow.effects("a") == list(range(5))
