"""Processes that run timers, on a database of their own: killed, stopped, rung, crowded.

`LIAISON_KILLS=200` makes it a long run.
"""

import datetime as dt
import json
import random
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError

from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.events import tables as events
from liaison_kit.run.postgres import Postgres
from liaison_kit.run.process import wait_until
from liaison_kit.testing import key_environment
from liaison_kit.timers import Timer, at, tables
from liaison_kit.timers.running import BEGUN_MOST

from ..killing import KILLS, kill_database, kills
from ..nursery import Nursery, Process

WORKER = Path(__file__).parent / "worker.py"
EFFECTS = "CREATE TABLE effects (number int, pid int)"
QUICK = {"queue.LEASE_S": 1.0, "runner.RENEW_S": 0.3, "runner.LOOK_S": 3600.0}
"""Claims end soon, and nobody looks who is not woken."""


class Ring(Timer):
    """As the worker knows it."""

    kind = "ring"

    number: int
    more: int = 0
    how: str = ""


def run(url: str, *statements: str) -> None:
    """Execute statements outside of any transaction."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


class Tower:
    """The service for a test: its database, its processes."""

    def __init__(self, postgres: Postgres, nursery: Nursery, folder: Path) -> None:
        self.tenant = uuid4()
        self._folder = folder
        self._nursery = nursery
        self._processes: list[Process] = []
        name = f"clock_{uuid4().hex[:8]}"
        run(postgres.tcp_url, f"CREATE DATABASE {name} TEMPLATE liaison_clock")
        self._url = make_url(postgres.tcp_url).set(drivername="postgresql+psycopg2", database=name)
        self.db = Database(self._url, application="test")

    def start(self) -> Process:
        """A process, started."""
        log = self._folder / f"{len(self._processes)}.log"
        process = Process(
            self._nursery,
            log,
            {
                "TEST_DATABASE": self._url.render_as_string(hide_password=False),
                "TEST_CONSTANTS": json.dumps(QUICK),
                "LIAISON_ROLES": "jobs",
                "LIAISON_RETRY_DELAYS_S": "[0.1, 0.2]",
                **key_environment("clock"),
            },
        )
        self._processes.append(process)
        assert wait_until(lambda: log.exists() and '"started"' in log.read_text(), seconds=20), (
            self.logs()
        )
        return process

    def set(self, *timers: Ring, later: float = -1.0, key: bool = True) -> None:
        """Timers for some seconds from now, in one transaction."""
        when = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=later)
        with self.db.writing(Context(tenant=self.tenant)) as session:
            for timer in timers:
                at(session, when, timer, key=str(timer.number) if key else None)

    def rows(self, statement: str) -> list[Any]:
        with self.db.connection() as connection:
            return list(connection.execute(text(statement)))

    def numbers(self) -> list[int]:
        """What was written down."""
        return sorted(number for (number,) in self.rows("SELECT number FROM effects"))

    def count(self) -> int:
        with suppress(SQLAlchemyError):
            return int(self.rows("SELECT count(*) FROM effects")[0][0])
        return -1

    def waits_for(self, number: int, seconds: float = 30) -> None:
        """Until so much is written down and nothing more is to be."""
        assert wait_until(lambda: self.count() >= number, seconds=seconds), (
            self.count(),
            self.rows("SELECT attempt, begun, error, run_at FROM timers LIMIT 5"),
            self.rows("SELECT body, error FROM failed_events LIMIT 5"),
            self.logs(),
        )
        assert wait_until(
            lambda: self.rows("SELECT count(*) FROM timers WHERE run_at < now()") == [(0,)],
            seconds=10,
        )

    def logs(self) -> str:
        return "\n".join(log.read_text()[-3000:] for log in sorted(self._folder.glob("*.log")))

    def close(self) -> None:
        for process in self._processes:
            if process.ended() is None:
                process.kill()
        self.db.dispose()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("timers-pg")) as server:
        run(server.tcp_url, "CREATE DATABASE liaison_clock")
        template = make_url(server.tcp_url).set(database="liaison_clock")
        run(
            template.render_as_string(hide_password=False),
            *events.statements(),
            *events.safer_statements(),
            *tables.statements(),
            tables.QUEUE,
            EFFECTS,
        )
        yield server


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery(WORKER)
    yield made
    made.close()


@pytest.fixture
def tower(server: Postgres, nursery: Nursery, tmp_path: Path) -> Iterator[Tower]:
    """The service, with no process yet."""
    made = Tower(server, nursery, tmp_path)
    yield made
    made.close()


def test_after_any_number_of_kills_every_timer_has_had_its_effect_once(
    tower: Tower, server: Postgres
) -> None:
    chance = random.Random(KILLS)
    processes = [tower.start(), tower.start()]
    number = 0

    def kill_a_process() -> None:
        victim = chance.randrange(2)
        processes[victim].kill()
        processes[victim] = tower.start()

    def end_a_process() -> None:
        victim = chance.randrange(2)
        processes[victim].terminate()
        processes[victim].wait(30)
        processes[victim] = tower.start()

    often = [kill_a_process] * 4 + [end_a_process]
    for act in kills(often, [lambda: kill_database(server, tower.db)]):
        # Each sets the next one, for as long as it takes to be killed in between.
        tower.set(*(Ring(number=number + each * 20, more=19) for each in range(5)))
        number += 100
        time.sleep(chance.random() * 0.3)
        act()

    tower.waits_for(number, seconds=60 + KILLS)

    assert tower.numbers() == list(range(number))
    told = tower.rows(
        "SELECT count(DISTINCT body::jsonb #>> '{data,number}'), count(*) FROM outbox"
    )
    assert told == [(number, number)]
    assert tower.rows("SELECT count(*) FROM timers") == [(0,)]
    assert tower.rows("SELECT count(*) FROM failed_events") == [(0,)]


def test_several_processes_share_what_is_due_at_the_same_moment(tower: Tower) -> None:
    processes = [tower.start(), tower.start()]

    tower.set(*(Ring(number=number) for number in range(3000)))

    tower.waits_for(3000)
    assert tower.numbers() == list(range(3000))
    workers = {pid for (pid,) in tower.rows("SELECT DISTINCT pid FROM effects")}
    assert workers == {process.pid for process in processes}


def test_who_sleeps_is_woken_by_what_is_due_earlier_and_by_the_time(tower: Tower) -> None:
    tower.set(Ring(number=3), later=3000)
    tower.start()
    tower.set(Ring(number=2), later=0.8)
    tower.set(Ring(number=1))

    tower.waits_for(2)

    assert [n for (n,) in tower.rows("SELECT number FROM effects ORDER BY ctid")] == [1, 2]


def test_a_timer_that_kills_its_process_is_parked_and_the_others_have_run(tower: Tower) -> None:
    tower.set(*(Ring(number=number) for number in range(20)))
    tower.set(Ring(number=20, how="kills"))
    deaths = 0
    process = tower.start()

    while tower.rows("SELECT count(*) FROM failed_events") == [(0,)]:
        assert deaths <= BEGUN_MOST
        if process.ended() is not None:
            deaths += 1
            process = tower.start()
        time.sleep(0.02)

    tower.waits_for(20)
    assert deaths == BEGUN_MOST
    assert tower.numbers() == list(range(20))
    assert process.ended() is None


def test_a_process_that_is_asked_to_stop_ends_what_it_has_in_hand(tower: Tower) -> None:
    process = tower.start()
    tower.set(*(Ring(number=number) for number in range(500)))
    assert wait_until(lambda: tower.count() > 0, seconds=20)

    process.terminate()

    assert process.wait(20) == 0
    assert tower.rows("SELECT count(*) FROM timers WHERE begun > 0") == [(0,)]
    done = tower.count()
    assert tower.rows("SELECT count(*) FROM timers") == [(500 - done,)]
