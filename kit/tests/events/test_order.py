"""Whichever events fail, for a while or for good, each record's good ones keep their order."""

import threading
from typing import Any
from uuid import uuid4

import pika
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liaison_kit.events.broker import Connection
from liaison_kit.run.process import wait_until
from liaison_kit.run.rabbitmq import RabbitMQ

from .conftest import Flow

Step = tuple[str, str]
STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["good", "good", "good", "heals", "broken"])),
    min_size=1,
    max_size=14,
)


@given(steps=STEPS)
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_good_events_apply_once_and_in_order_and_bad_ones_are_parked(
    shared: Flow, steps: list[Step]
) -> None:
    shared.rows("TRUNCATE effects, broken, inbox, failed_events")
    for number, (record, kind) in enumerate(steps):
        if kind != "good":
            shared.rows("INSERT INTO broken VALUES (:r, :n)", r=record, n=number)

    for number, (record, _kind) in enumerate(steps):
        shared.say(record, number)
    for number, (record, kind) in enumerate(steps):
        if kind == "heals":
            shared.rows("DELETE FROM broken WHERE record = :r AND number = :n", r=record, n=number)

    parked = sum(kind == "broken" for _, kind in steps)
    shared.settles(len(steps) - parked, seconds=40)
    assert wait_until(lambda: shared.failed() == [("parked", 5)] * parked, seconds=20)
    for record in "abc":
        applied = [n for n, (r, kind) in enumerate(steps) if r == record and kind != "broken"]
        assert shared.effects(record) == applied


@pytest.mark.parametrize("how", ["stops", "is put down"])
def test_what_a_process_gives_back_is_not_overtaken_in_the_next_one(flow: Flow, how: str) -> None:
    """A client that cancels before it closes lets the next have what comes after what it holds."""
    few = {"queue.PREFETCH": 20, "queue.BATCH": 2}
    flow.start("relay")
    first = flow.start("events", constants=few)
    flow.declared()
    flow.start("events", constants=few)
    assert wait_until(lambda: flow.consumers() == 2, seconds=20)

    # More comes all the time: what comes between a cancelling and a closing goes to the next one.
    flow.say_many(4, 400)
    for done in range(50, 650, 100):
        assert wait_until(lambda done=done: flow.count() > done, seconds=30)
        if how == "stops":
            first.terminate()
            break
        flow.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'listener' AND datname = current_database()"
        )

    flow.settles(1600, seconds=60)
    flow.in_order(4, 400)


def test_what_a_closed_channel_held_comes_before_what_is_published_meanwhile(
    broker: RabbitMQ,
) -> None:
    single = {"x-single-active-consumer": True}
    stop = threading.Event()
    for _ in range(5):
        queue = f"q{uuid4().hex}"
        held: list[int] = []
        got: list[int] = []
        with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
            connection.channel().queue_declare(queue, durable=True, arguments=single)
        stop.clear()
        publisher = threading.Thread(target=_count_up, args=(broker.url, queue, stop))
        publisher.start()
        holder = _hold(broker.url, queue, held)
        assert wait_until(lambda held=held: len(held) == 5, seconds=10)
        with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
            channel = connection.channel()
            channel.basic_consume(
                queue, lambda *message, got=got: got.append(int(message[3])), auto_ack=True
            )

            holder.end()
            while len(got) < 200:
                connection.process_data_events(time_limit=1)
            stop.set()
            publisher.join()
            channel.queue_delete(queue)

        assert got[:200] == list(range(200))


def _hold(url: str, queue: str, held: list[int]) -> Connection:
    """A process that has messages in hand until its connection ends."""

    def consume(channel: Any) -> None:
        channel.basic_qos(prefetch_count=5)
        channel.basic_consume(queue, lambda *message: held.append(int(message[3])))

    made = Connection(url, "holder", lambda c: c.pika.channel(on_open_callback=consume))
    threading.Thread(target=made.run, daemon=True).start()
    return made


def _count_up(url: str, queue: str, stop: threading.Event) -> None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        number = 0
        while not stop.is_set():
            channel.basic_publish("", queue, str(number).encode())
            number += 1
            connection.process_data_events(time_limit=0.0005)
