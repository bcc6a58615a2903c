"""A real broker, a real database, processes of a service, and somebody who calls it."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pika
import psycopg2
import pytest
from sqlalchemy import make_url

from liaison_kit.run.postgres import Postgres
from liaison_kit.run.process import wait_until
from liaison_kit.run.rabbitmq import RabbitMQ

logging.getLogger("pika").setLevel(logging.CRITICAL)

WORKER = Path(__file__).parent / "calls_worker.py"
BEGUN = "CREATE TABLE begun (number int, pid int, deadline timestamptz, began_at timestamptz)"
PATIENCE_S = 60.0


class Process:
    """One process of the service."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self.log = log
        with log.open("wb") as out:
            self.popen = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(WORKER)],
                env={**os.environ, **environment},
                stdout=out,
                stderr=out,
            )

    def wait(self) -> "Process":
        """Until calls reach it."""
        assert wait_until(lambda: '"started"' in self.log.read_text(), seconds=PATIENCE_S), (
            self.log.read_text()
        )
        return self

    def kill(self) -> None:
        """Die at once."""
        self.popen.kill()
        self.popen.wait()

    def terminate(self) -> None:
        """Be asked to end."""
        self.popen.send_signal(signal.SIGTERM)


class Shop:
    """One service of its own for a test."""

    def __init__(self, postgres: Postgres, broker: RabbitMQ, folder: Path) -> None:
        self.name = f"shop{uuid4().hex[:8]}"
        self.broker = broker
        self._folder = folder
        self._processes: list[Process] = []
        self.url = make_url(postgres.tcp_url).set(drivername="postgresql+psycopg2")
        self._plain = postgres.tcp_url
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS begun")
            cursor.execute(BEGUN)

    def launch(self, *, workers: int = 4, name: str | None = None, **environment: str) -> Process:
        """A process of it on its way."""
        process = Process(
            self._folder / f"{self.name}-{len(self._processes)}.log",
            {
                "TEST_SERVICE": name or self.name,
                "TEST_DATABASE": self.url.render_as_string(hide_password=False),
                "AMQP_URL": self.broker.url,
                "LIAISON_ROLES": "rpc",
                "LIAISON_MAX_WORKERS": str(workers),
                "LIAISON_POOL_SIZE": str(workers),
                **environment,
            },
        )
        self._processes.append(process)
        return process

    def start(self, **given: Any) -> Process:
        """A process of it that takes calls."""
        return self.launch(**given).wait()

    def begun(self) -> list[tuple[int, bool]]:
        """What was begun, and whether its caller was still waiting then."""
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT number, began_at <= deadline FROM begun ORDER BY began_at")
            return [(number, waited) for number, waited in cursor.fetchall()]

    def working(self) -> int:
        """Transactions that are open on behalf of this service."""
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE application_name LIKE 'shop%' AND state <> 'idle'"
            )
            (found,) = cursor.fetchone()
            return int(found)

    def at_work(self) -> int:
        """The process that an open transaction belongs to."""
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT substr(application_name, 6)::int FROM pg_stat_activity"
                " WHERE application_name LIKE 'shop-%' AND state <> 'idle'"
            )
            (found,) = cursor.fetchone()
            return int(found)

    def _connected(self) -> Any:
        connection = psycopg2.connect(self._plain)
        connection.autocommit = True
        return closing(connection)

    def close(self) -> None:
        """Take every process along."""
        for process in self._processes:
            if process.popen.poll() is None:
                process.kill()


class Customer:
    """Calls a service as the gateway does, on a connection of its own."""

    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self._connection.channel()
        self.channel.exchange_declare("liaison.manifests", "fanout", durable=True)
        self.channel.exchange_declare("liaison.discovery", "fanout", durable=True)
        self.channel.exchange_declare("nameko-rpc", "topic", durable=True)
        self.channel.basic_consume("amq.rabbitmq.reply-to", self._answered, auto_ack=True)
        self.channel.add_on_return_callback(self._returned)
        heard = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.queue_bind(heard, "liaison.manifests")
        self.channel.basic_consume(heard, self._announced, auto_ack=True)
        self.answers: dict[str, list[tuple[dict[str, Any], bytes]]] = {}
        self.returned: list[str] = []
        self.announced: list[dict[str, Any]] = []

    def _answered(self, _channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        head = properties.headers["liaison"]
        if head.isdecimal():
            head, body = body[: int(head)], body[int(head) :]
        self.answers.setdefault(properties.correlation_id, []).append((json.loads(head), body))

    def _returned(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        self.returned.append(properties.correlation_id)

    def _announced(self, _channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        self.announced.append(json.loads(body))

    def discover(self) -> None:
        """Ask everybody to announce themselves."""
        self.channel.basic_publish("liaison.discovery", "", b"whole")

    def generation(self, service: str) -> str:
        """What a service's processes have announced."""
        self.discover()
        self.until(lambda: any("generation" in a for a in self._of(service)))
        return str(next(a["generation"] for a in self._of(service) if "generation" in a))

    def _of(self, service: str) -> list[dict[str, Any]]:
        return [a for a in self.announced if a["service"] == service]

    def send(
        self, routing_key: str, body: bytes = b"", *, timeout_s: float = 30.0, **meta: Any
    ) -> str:
        """One call; its id."""
        correlation = uuid4().hex
        head = json.dumps({"principal": None, "deadline": time.time() + timeout_s, **meta})
        if len(head) > 32_000:
            head, body = str(len(head)), head.encode() + body
        self.channel.basic_publish(
            "nameko-rpc",
            routing_key,
            body,
            pika.BasicProperties(
                headers={"liaison": head},
                correlation_id=correlation,
                reply_to=meta.pop("reply_to", "amq.rabbitmq.reply-to"),
                expiration=str(int(timeout_s * 1000)),
            ),
            mandatory=True,
        )
        return correlation

    def until(self, holds: Callable[[], Any]) -> None:
        """Take what comes until something is so."""
        end = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < end, "it never came to be"
            self._connection.process_data_events(0.05)

    def answer(self, correlation: str) -> tuple[dict[str, Any], bytes]:
        """The answer to a call."""
        self.until(lambda: correlation in self.answers)
        return self.answers[correlation][0]

    def call(
        self, routing_key: str, body: bytes = b"", **meta: Any
    ) -> tuple[dict[str, Any], bytes]:
        """One call and its answer."""
        return self.answer(self.send(routing_key, body, **meta))

    def close(self) -> None:
        """Leave."""
        self._connection.close()


def cut_off(broker: RabbitMQ, name: str) -> None:
    """Have the broker close the connections with this name."""
    program = (
        '[rabbit_networking:close_connection(P, "cut off") ||'
        " [{pid, P}, {client_properties, Cs}] <- rabbit_networking:connection_info_all("
        "[pid, client_properties]),"
        f' lists:keymember(<<"{name}">>, 3, Cs)].'
    )
    control = "/usr/lib/rabbitmq/bin/rabbitmqctl"
    done = subprocess.run(
        [control, "eval", program],
        env=broker._environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok" in done.stdout, done.stdout


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("calls-pg")) as server:
        yield server


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("calls-mq")) as node:
        yield node


@pytest.fixture
def shop(postgres: Postgres, broker: RabbitMQ, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(postgres, broker, tmp_path)
    yield made
    made.close()


@pytest.fixture
def customer(broker: RabbitMQ) -> Iterator[Customer]:
    made = Customer(broker.url)
    yield made
    made.close()


@pytest.fixture(name="cut_off")
def cutting_off(broker: RabbitMQ) -> Callable[[str], None]:
    """Has the broker close the connections with this name."""
    return lambda name: cut_off(broker, name)
