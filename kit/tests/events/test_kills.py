"""Whatever is killed, however often: every event has its effects once, and in order per record.

`LIAISON_KILLS=200` makes it a long run.
"""

import os
import random
import time
from contextlib import suppress

import pytest
from sqlalchemy.exc import SQLAlchemyError

from liaison_kit.run.postgres import Postgres
from liaison_kit.run.process import wait_until
from liaison_kit.run.rabbitmq import RabbitMQ

from ..killing import kill_database, kills
from .conftest import Flow, Process

KILLS = int(os.environ.get("LIAISON_KILLS", "5"))
RECORDS = 8


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_after_any_number_of_kills_every_event_has_had_its_effects_once_and_in_order(
    flow: Flow, postgres: Postgres, broker: RabbitMQ, queue_type: str
) -> None:
    chance = random.Random(KILLS)
    quick = {"relay.RESCUE_AFTER_S": 2, "relay.HOUSEKEEPING_S": 1.0}
    told = 0

    def start() -> Process:
        return flow.start(constants=quick, LIAISON_QUEUE_TYPE=queue_type)

    processes = [start(), start()]
    flow.declared()

    def kill_a_process() -> None:
        victim = chance.randrange(len(processes))
        processes[victim].kill()
        processes[victim] = start()

    def end_a_process() -> None:
        victim = chance.randrange(len(processes))
        processes[victim].terminate()
        processes[victim].wait(30)
        processes[victim] = start()

    def kill_the_broker() -> None:
        broker.kill()
        broker.start()

    often = [kill_a_process] * 3 + [end_a_process]
    rare = [lambda: kill_database(postgres, flow.db), kill_the_broker]
    for act in kills(often, rare, KILLS, every=2):
        for _ in range(5):
            for record in range(RECORDS):
                flow.say(f"r{record}", told)
            told += 1
        time.sleep(chance.random() * 0.5)
        act()

    def all_is_there() -> bool:
        with suppress(SQLAlchemyError):
            return flow.count() >= told * RECORDS
        return False

    assert wait_until(all_is_there, seconds=120), (flow.count(), told * RECORDS, flow.failed())
    flow.settles(told * RECORDS)
    flow.in_order(RECORDS, told)
    assert flow.failed() == []
