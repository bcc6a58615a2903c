"""A real broker, a real database, and processes of a service to start and to kill."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pika
import psycopg2
import pytest
from sqlalchemy import make_url, text

from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.events.outbox import emit
from liaison_kit.events.tables import safer_statements, statements
from liaison_kit.run.postgres import Postgres
from liaison_kit.run.process import wait_until
from liaison_kit.run.rabbitmq import RabbitMQ
from liaison_kit.testing import key_environment, keyring
from liaison_kit.timers import tables as timers
from liaison_kit.trust.signatures import Signer
from liaison_sdk.events import Event

from ..nursery import Nursery, Process

logging.getLogger("pika").setLevel(logging.CRITICAL)

WORKER = Path(__file__).parent / "worker.py"
EFFECTS = """
CREATE TABLE effects (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid,
    record text, number int, tenant uuid, pid int);
CREATE TABLE broken (record text, number int, how text NOT NULL DEFAULT 'raises');
CREATE TABLE things (name text PRIMARY KEY, said int NOT NULL)
"""


class Said(Event):
    """Somebody said a number about a record."""

    type = "said"
    source = "set by each who says it"
    key_field = "record"

    record: str
    number: int
    answer: bool = False
    filling: str = ""


def run(url: str, *statements: str) -> None:
    """Execute statements outside of any transaction."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


class Flow:
    """One service of its own for a test: its database, its queues, its processes."""

    def __init__(
        self, postgres: Postgres, broker: RabbitMQ, nursery: Nursery, folder: Path
    ) -> None:
        self.service = f"s{uuid4().hex[:8]}"
        self.tenant = uuid4()
        self.broker = broker
        self.postgres = postgres
        self._folder = folder
        self._nursery = nursery
        self._processes: list[Process] = []
        self._database = f"liaison_{self.service}"
        run(postgres.tcp_url, f"CREATE DATABASE {self._database} TEMPLATE liaison_flow")
        self.url = make_url(postgres.tcp_url).set(
            drivername="postgresql+psycopg2", database=self._database
        )
        self.db = Database(self.url, application="test")

    # --- processes -------------------------------------------------------------------------------

    def start(
        self,
        roles: str = "events,relay",
        constants: Mapping[str, Any] | None = None,
        **environment: str,
    ) -> Process:
        """Start a process and wait until it has started; constants are those of the kit's code."""
        log = self._folder / f"{self.service}-{len(self._processes)}.log"
        process = Process(
            self._nursery,
            log,
            {
                "TEST_SERVICE": self.service,
                "TEST_DATABASE": self.url.render_as_string(hide_password=False),
                "AMQP_URL": self.broker.url,
                **key_environment(self.service),
                "LIAISON_ROLES": roles,
                "LIAISON_RETRY_DELAYS_S": "[0.1, 0.2, 0.3, 0.4]",
                "TEST_CONSTANTS": json.dumps(constants or {}),
                **environment,
            },
        )
        self._processes.append(process)
        assert wait_until(lambda: '"started"' in self._said(log), seconds=20), self.logs()
        return process

    @staticmethod
    def _said(log: Path) -> str:
        return log.read_text() if log.exists() else ""

    def declared(self, handler: str = "on_said") -> None:
        """Wait until a handler's queue is consumed, so that nothing is published to nobody."""
        assert wait_until(lambda: self.consumers(handler) > 0, seconds=30), self.logs()

    def queue_length(self, handler: str = "on_said") -> int | None:
        """Messages ready in a handler's queue; None when there is no queue."""
        return self._queue(handler)[0]

    def consumers(self, handler: str = "on_said") -> int:
        """How many processes consume a handler's queue."""
        return self._queue(handler)[1]

    def _queue(self, handler: str) -> tuple[int | None, int]:
        """Messages ready in a handler's queue, and who consumes it."""
        with pika.BlockingConnection(pika.URLParameters(self.broker.url)) as connection:
            channel = connection.channel()
            try:
                declared = channel.queue_declare(f"{self.service}.{handler}", passive=True)
            except pika.exceptions.ChannelClosedByBroker:
                return None, 0
            return declared.method.message_count, declared.method.consumer_count

    def close(self) -> None:
        for process in self._processes:
            if process.ended() is None:
                process.kill()
        self.db.dispose()

    # --- what a service does ---------------------------------------------------------------------

    def say(self, record: str, *numbers: int, tenant: UUID | None = None, **more: Any) -> None:
        """One transaction per number."""
        Said.source = self.service
        for number in numbers:
            with self.db.writing(Context(tenant=tenant or self.tenant)) as session:
                # As in a service: the record is changed, and thereby locked, beside the event.
                session.execute(
                    text(
                        "INSERT INTO things VALUES (:name, :said) ON CONFLICT (name)"
                        " DO UPDATE SET said = excluded.said"
                    ),
                    {"name": record, "said": number},
                )
                emit(session, Said(record=record, number=number, **more))

    def say_many(self, records: int, each: int) -> None:
        """Many events at once, in one transaction."""
        Said.source = self.service
        with self.db.writing(Context(tenant=self.tenant)) as session:
            for number in range(each):
                for record in range(records):
                    emit(session, Said(record=f"r{record}", number=number))

    def in_order(self, records: int, each: int) -> None:
        """All of them have had their effects: once, and in order per record."""
        for record in range(records):
            assert self.effects(f"r{record}") == list(range(each)), record

    def publish(self, body: bytes, *, signed: bool = True) -> None:
        """A message that no relay of ours would send."""
        if signed:
            (body,) = Signer(keyring(self.service)).sign("event", [body])
        with pika.BlockingConnection(pika.URLParameters(self.broker.url)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish("", f"{self.service}.on_said", body)

    # --- what has come of it ---------------------------------------------------------------------

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self.db.connection() as connection:
            found = connection.execute(text(statement), values)
            rows = list(found) if found.returns_rows else []
            connection.commit()
            return rows

    def effects(self, record: str | None = None) -> list[int]:
        """The numbers that were applied, in the order in which they were."""
        where = "" if record is None else "WHERE record = :record"
        found = self.rows(
            f"SELECT number FROM effects {where} ORDER BY id",
            **({"record": record} if record else {}),
        )
        return [number for (number,) in found]

    def count(self, table: str = "effects") -> int:
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])

    def failed(self) -> list[tuple[str, int]]:
        return [
            (state, attempt)
            for state, attempt in self.rows("SELECT state, attempt FROM failed_events ORDER BY seq")
        ]

    def settles(self, events: int, seconds: float = 20) -> None:
        """Wait until that many effects are there and nothing is on its way any more."""
        assert wait_until(lambda: self.count() >= events, seconds=seconds), (
            self.count(),
            self.failed(),
            self.count("outbox"),
            self.logs(),
        )
        assert wait_until(lambda: self.count("outbox") == 0, seconds=5)
        time.sleep(0.3)
        assert self.count() == events

    def logs(self) -> str:
        return "\n".join(p.read_text()[-3000:] for p in self._folder.glob(f"{self.service}-*.log"))

    def envelope(self, **changed: Any) -> bytes:
        whole = {
            "id": str(uuid4()),
            "type": "said",
            "version": 1,
            "source": self.service,
            "seq": 1,
            "tenant": str(uuid4()),
            "occurred_at": "2026-01-01T00:00:00Z",
            "key": "k",
            "correlation_id": str(uuid4()),
            "data": {"record": "k", "number": 1},
        }
        return json.dumps(whole | changed).encode()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("events-pg")) as server:
        run(server.tcp_url, "CREATE DATABASE liaison_flow")
        template = make_url(server.tcp_url).set(database="liaison_flow")
        run(
            template.render_as_string(hide_password=False),
            *statements(),
            *safer_statements(),
            # The parking lot shows timers, too.
            *timers.statements(),
            *EFFECTS.split(";"),
        )
        yield server


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("events-mq")) as node:
        yield node


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    made = Nursery(WORKER)
    yield made
    made.close()


@pytest.fixture
def flow(postgres: Postgres, broker: RabbitMQ, nursery: Nursery, tmp_path: Path) -> Iterator[Flow]:
    """A service of the test's own, with no process yet."""
    made = Flow(postgres, broker, nursery, tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(
    postgres: Postgres,
    broker: RabbitMQ,
    nursery: Nursery,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Flow]:
    made = Flow(postgres, broker, nursery, tmp_path_factory.mktemp("shared"))
    made.start()
    made.declared()
    yield made
    made.close()


@pytest.fixture
def running(shared: Flow) -> Flow:
    """A service whose process runs, emptied of what earlier tests left."""
    shared.rows("TRUNCATE effects, broken, things, inbox, failed_events")
    return shared
