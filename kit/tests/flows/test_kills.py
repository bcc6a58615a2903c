"""Processes that take runs on, killed at random: every step and effect is there once.

`LIAISON_KILLS=200` makes it a long run.
"""

import json
import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from liaison_kit import records
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.database.migrations import (
    changing_custom_fields,
    enable_tenancy,
    kit_tables,
    safer_events,
    tenant_settings_table,
    timer_tables,
)
from liaison_kit.flows import definitions, runs
from liaison_kit.flows.tables import flow_tables, following_runs, tidied_runs
from liaison_kit.privacy.tables import privacy_tables
from liaison_kit.records.links import link_tables
from liaison_kit.records.trash import trash_tables
from liaison_kit.run.postgres import Postgres
from liaison_kit.run.process import wait_until
from liaison_kit.testing import key_environment

from ..killing import KILLS, kill_database, kills
from ..nursery import Nursery, Process
from .workshop import FLOWS, TABLES, WORKS, Work

WORKER = Path(__file__).parent / "worker.py"
EACH = 8
"""So many runs begin before each kill."""
QUICK = {"queue.LEASE_S": 1.0, "runner.RENEW_S": 0.3, "runner.LOOK_S": 3600.0}
"""Claims end soon, and nobody looks who is not woken."""
OVER = {"combinator": "and", "rules": [{"field": "size", "operator": ">", "value": 4}]}
STEPS: dict[str, Any] = {
    "share": {
        "kind": "split",
        "shares": {"left": 40, "right": 60},
        "next": {"left": "mark", "right": "grow"},
    },
    "mark": {"kind": "mark", "say": "left", "next": "grow"},
    "grow": {"kind": "set", "field": "size", "add": 1, "next": "tell"},
    "tell": {
        "kind": "message",
        "purpose": "test",
        "subject": "{{ work.size }}",
        "text": "x",
        "next": {"sent": "end", "refused": "size"},
    },
    "size": {
        "kind": "branch",
        "cases": [{"when": OVER, "way": "large"}],
        "next": {"large": "last", "else": "nearly"},
    },
    "nearly": {"kind": "mark", "say": "small", "next": "last"},
    "last": {"kind": "set", "field": "stage", "value": "done", "next": "end"},
}
"""Each step has an effect, or decides which has one."""


class Tower:
    """The service for a test: its database, its processes."""

    def __init__(self, postgres: Postgres, nursery: Nursery, folder: Path) -> None:
        self.tenant = uuid4()
        self.about = Context(tenant=self.tenant)
        self._folder = folder
        self._nursery = nursery
        self._processes: list[Process] = []
        name = f"flows_{uuid4().hex[:8]}"
        with closing(psycopg2.connect(postgres.tcp_url)) as connection:
            connection.autocommit = True
            connection.cursor().execute(f"CREATE DATABASE {name} TEMPLATE liaison_flows")
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
                "LIAISON_RETRY_DELAYS_S": "[0.1, 0.2, 0.5, 1, 2]",
                **key_environment("sales"),
            },
        )
        self._processes.append(process)
        assert wait_until(lambda: log.exists() and '"started"' in log.read_text(), seconds=20)
        return process

    def flow(self) -> UUID:
        """The flow, active."""
        whole = {
            "key": "tower",
            "record": "works",
            "start": [{"kind": "by_hand"}],
            "steps": STEPS,
        }
        with self.db.writing(self.about) as session:
            id = definitions.create(session, FLOWS, "works", whole)
            definitions.activate(session, FLOWS, id, 1)
        return id

    def begin(self, flow: UUID, works: int) -> None:
        """Runs on so many works, whose ids tell which way each goes."""
        made: list[UUID] = []
        blank = {"name": "x", "stage": "new", "owner_id": None}
        with self.db.writing(self.about) as session:
            for number in range(works):
                self.works += 1
                id = UUID(int=self.works)
                given = blank | {"size": number % 8}
                made.append(records.create(session, WORKS, Work, id=id, **given).id)
        with self.db.writing(self.about) as session:
            row = definitions.find(session, FLOWS, flow)
            found = definitions.version_of(session, FLOWS, row, 1)
            runs.begin(session, flow, 1, found, made)

    works = 0

    def refuse(self) -> None:
        """The messages that steps wait for are not sent: what they wait for has happened."""
        waiting = "SELECT DISTINCT key FROM flow_waits WHERE event = 'message_failed'"
        keys = [key for (key,) in self.rows(f"{waiting} AND NOT happened")]
        with self.db.writing(self.about) as session:
            runs.happened(session, "message_failed", keys, self.about.now.replace(year=2100))

    def rows(self, statement: str) -> list[Any]:
        with self.db.connection() as connection:
            return list(connection.execute(text(statement)))

    def ends(self, number: int, seconds: float) -> None:
        """Until so many runs have ended."""

        def ended() -> bool:
            try:
                self.refuse()
                left = "SELECT count(*) FROM flow_runs WHERE state = 'ended'"
                return bool(self.rows(left) == [(number,)])
            except SQLAlchemyError:
                return False

        assert wait_until(ended, seconds=seconds), (
            self.rows(
                "SELECT state, step, standing, error, count(*) FROM flow_runs GROUP BY 1,2,3,4"
            ),
            self.rows("SELECT body, error FROM failed_events LIMIT 5"),
            "\n".join(log.read_text()[-2000:] for log in sorted(self._folder.glob("*.log"))),
        )

    def outcome(self) -> dict[str, Any]:
        """All that the runs have left, but for what depends on when."""
        log = "SELECT r.record_id, l.number, l.step, l.way, l.said FROM flow_log AS l"
        intents = (
            "SELECT body::jsonb #>> '{data,intent,content,subject}' AS s, count(*) FROM outbox"
        )
        return {
            "log": self.rows(f"{log} JOIN flow_runs AS r ON r.id = l.run_id ORDER BY 1, 2"),
            "runs": self.rows("SELECT record_id, state, outcome, number FROM flow_runs ORDER BY 1"),
            "works": self.rows("SELECT id, size, stage, version FROM works ORDER BY id"),
            "marks": self.rows("SELECT record_id, said FROM marks ORDER BY 1, 2"),
            "intents": self.rows(
                f"{intents} WHERE body LIKE '%message_intended%' GROUP BY 1 ORDER BY 1"
            ),
            "left": self.rows(
                "SELECT (SELECT count(*) FROM timers), (SELECT count(*) FROM flow_waits),"
                " (SELECT count(*) FROM failed_events)"
            ),
        }

    def close(self) -> None:
        for process in self._processes:
            if process.ended() is None:
                process.kill()
        self.db.dispose()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("flows-pg")) as server:
        address = make_url(server.tcp_url).set(drivername="postgresql+psycopg2")
        with closing(psycopg2.connect(server.tcp_url)) as connection:
            connection.autocommit = True
            connection.cursor().execute("CREATE ROLE liaison_flows")
            connection.cursor().execute("CREATE DATABASE liaison_flows")
        owner = create_engine(address.set(database="liaison_flows"))
        with owner.begin() as connection:
            op = Operations(MigrationContext.configure(connection))
            kit_tables(op)
            changing_custom_fields(op)
            safer_events(op)
            trash_tables(op)
            timer_tables(op)
            tenant_settings_table(op)
            privacy_tables(op)
            link_tables(op)
            flow_tables(op)
            following_runs(op)
            tidied_runs(op)
            for statement in TABLES.split(";\n"):
                connection.execute(text(statement))
            for table in ("works", "workers", "marks"):
                enable_tenancy(op, table)
        owner.dispose()
        yield server


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery(WORKER)
    yield made
    made.close()


@pytest.fixture
def towers(server: Postgres, nursery: Nursery, tmp_path: Path) -> Iterator[list[Tower]]:
    """Two of the service, of which one is left alone."""
    made = []
    for name in ("killed", "spared"):
        folder = tmp_path / name
        folder.mkdir()
        made.append(Tower(server, nursery, folder))
    yield made
    for tower in made:
        tower.close()


def test_after_any_number_of_kills_all_is_as_if_nobody_had_been_killed(
    towers: list[Tower], server: Postgres
) -> None:
    killed, spared = towers
    chance = random.Random(KILLS)
    processes = [killed.start(), killed.start()]
    flows = [tower.flow() for tower in towers]

    def kill_a_process() -> None:
        victim = chance.randrange(2)
        processes[victim].kill()
        processes[victim] = killed.start()

    for act in kills([kill_a_process], [lambda: kill_database(server, killed.db)]):
        killed.begin(flows[0], EACH)
        killed.refuse()
        time.sleep(chance.random() * 0.3)
        act()
    spared.start()
    for _ in range(KILLS):
        spared.begin(flows[1], EACH)

    killed.ends(EACH * KILLS, seconds=60 + KILLS)
    spared.ends(EACH * KILLS, seconds=60 + KILLS)

    assert killed.outcome() == spared.outcome()
    assert killed.outcome()["left"] == [(0, 0, 0)]


def test_several_processes_share_the_runs_and_none_is_done_by_two(towers: list[Tower]) -> None:
    tower, _ = towers
    flow = tower.flow()
    tower.start(), tower.start()

    for _ in range(10):
        tower.begin(flow, 100)

    tower.ends(1000, seconds=120)
    assert tower.rows("SELECT count(*) FROM works WHERE stage = 'done' AND version = 3") == [
        (1000,)
    ]
    assert tower.outcome()["left"] == [(0, 0, 0)]
