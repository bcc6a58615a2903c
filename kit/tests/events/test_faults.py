"""Processes, broker and database die in the middle: no event is lost, none applied twice."""

import signal
import time
from collections.abc import Callable

import pika

from liaison_kit.run.postgres import Postgres
from liaison_kit.run.process import wait_until
from liaison_kit.run.rabbitmq import RabbitMQ

from .conftest import Flow

RECORDS, EACH = 20, 100
ALL = RECORDS * EACH


def in_the_middle(flow: Flow) -> Callable[[], bool]:
    return lambda: flow.count() > 100


def test_a_relay_that_dies_between_confirm_and_delete_does_no_harm(flow: Flow) -> None:
    flow.start("events")
    flow.declared()
    doomed = flow.start("relay", TEST_DIE_AFTER_CONFIRMS="3")

    flow.say_many(4, 10)
    assert doomed.wait(10) == -signal.SIGKILL
    assert flow.count("outbox") == 40, "the broker has some of them, the table still has all"
    flow.start("relay")

    flow.settles(40)
    flow.in_order(4, 10)


def test_another_relay_takes_over_from_one_that_died(flow: Flow) -> None:
    flow.start("events")
    flow.declared()
    leader = flow.start("relay")
    assert wait_until(lambda: "relay leads" in flow.logs(), seconds=5)
    flow.start("relay")
    flow.say("a", 1)
    assert wait_until(lambda: flow.effects() == [1], seconds=5)
    assert flow.logs().count("relay leads") == 1, "only one leads"

    leader.kill()
    flow.say("a", 2)

    flow.settles(2)
    assert flow.effects() == [1, 2]
    assert flow.logs().count("relay leads") == 2


def test_another_process_takes_over_from_a_killed_one_in_the_middle(flow: Flow) -> None:
    first = flow.start()
    flow.declared()
    second = flow.start("events")

    flow.say_many(RECORDS, EACH)
    assert wait_until(in_the_middle(flow), seconds=10)
    first.kill()
    flow.start("relay")

    flow.settles(ALL)
    flow.in_order(RECORDS, EACH)
    pids = {pid for (pid,) in flow.rows("SELECT DISTINCT pid FROM effects")}
    assert pids == {first.pid, second.pid}


def test_a_process_that_is_asked_to_stop_ends_what_is_in_hand(flow: Flow) -> None:
    first = flow.start()
    flow.declared()

    flow.say_many(RECORDS, EACH)
    assert wait_until(in_the_middle(flow), seconds=10)
    first.terminate()
    assert first.wait(10) == 0
    assert flow.count() < ALL
    flow.start()

    flow.settles(ALL)
    flow.in_order(RECORDS, EACH)


def test_the_broker_may_restart_in_the_middle(flow: Flow, broker: RabbitMQ) -> None:
    flow.start()
    flow.declared()

    flow.say_many(RECORDS, EACH)
    assert wait_until(in_the_middle(flow), seconds=10)
    broker.stop()
    flow.say("r0", EACH)
    broker.start()

    flow.settles(ALL + 1, seconds=30)
    assert flow.effects("r0") == list(range(EACH + 1))
    assert flow.failed() == []


def test_the_database_may_restart_in_the_middle(flow: Flow, postgres: Postgres) -> None:
    flow.start()
    flow.declared()

    flow.say_many(RECORDS, EACH)
    assert wait_until(in_the_middle(flow), seconds=10)
    flow.db.dispose()
    postgres.kill()
    time.sleep(1)
    postgres.start()
    flow.db.dispose()

    flow.settles(ALL, seconds=30)
    flow.in_order(RECORDS, EACH)
    assert flow.failed() == [], "a database that is down is not the event's fault"


def test_a_queue_that_the_broker_has_lost_is_made_again_and_consumed(flow: Flow) -> None:
    flow.start()
    flow.declared()
    with pika.BlockingConnection(pika.URLParameters(flow.broker.url)) as connection:
        connection.channel().queue_delete(f"{flow.service}.on_said")

    flow.declared()
    flow.say("a", 1)

    flow.settles(1)
