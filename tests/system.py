"""A whole Liaison for tests: its ground, its services and its gateway as real processes.

Everything runs as it does for a user; what a test may do beyond that is what fate may do: kill a
process, stop the broker, stop the database, and look into the tables.
"""

import itertools
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
import psycopg2
from kit.tests.nursery import Nursery, Process
from psycopg2.extras import RealDictCursor
from sqlalchemy.engine import URL

from liaison_identity import tenants
from liaison_kit.database.database import Database
from liaison_kit.database.migrations import Roles, migrate, prepare, services
from liaison_kit.run.ground import Ground
from liaison_kit.run.postgres import Postgres
from liaison_kit.run.process import free_port, spawn, stop, tail
from liaison_kit.run.rabbitmq import RabbitMQ
from liaison_kit.settings import Settings
from liaison_sdk.contracts.identity import NewTenant

# While a broker that was stopped comes up, pika tells of each attempt to reach it.
logging.getLogger("pika").setLevel(logging.CRITICAL)

SERVICES = ("identity", "contacts", "connect", "sales")
PARTIES = (*SERVICES, "gateway")
PASSWORD = "correct horse battery staple"
RETRY_DELAYS = "[0.2,0.4,0.6,0.8]"

T = TypeVar("T")


class NeverHappened(AssertionError):
    """What a test waited for did not come within its bound."""


def wait_for(
    what: str, look: Callable[[], T | None], *, seconds: float = 20, every: float = 0.05
) -> T:
    """Look again and again until there is something to see; `what` says what was missed."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise NeverHappened(f"{what}: not within {seconds:g} s")
        time.sleep(every)


class Api(httpx.Client):
    """Somebody's way in: the public API, with their token."""

    def __init__(self, address: str, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        super().__init__(base_url=f"{address}/api/v1", headers=headers, timeout=30)

    def make(self, path: str, /, **fields: Any) -> dict[str, Any]:
        """Create a record, which must work."""
        return _good(self.post(path, json=fields), 200, 201)

    def see(self, path: str, /, **query: Any) -> dict[str, Any]:
        """Read something, which must work."""
        return _good(self.get(path, params=query), 200)

    def change(self, path: str, version: int, /, **fields: Any) -> dict[str, Any]:
        """Change a record at a version, which must work."""
        answer = self.patch(path, json=fields, headers={"If-Match": f'"{version}"'})
        return _good(answer, 200)

    def act(self, path: str, version: int, /, **fields: Any) -> dict[str, Any]:
        """Do something with a record at a version (win, lose, move), which must work."""
        answer = self.post(path, json=fields, headers={"If-Match": f'"{version}"'})
        return _good(answer, 200)

    def every(self, path: str, /, **query: Any) -> list[dict[str, Any]]:
        """All items of a list, page by page."""
        items: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.see(path, **query, **cursor)
            items += page["items"]
            if page["next"] is None:
                return items
            cursor = {"cursor": page["next"]}


def _good(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    assert answer.status_code in statuses, f"{answer.status_code} {answer.text}"
    found: dict[str, Any] = answer.json()
    return found


@dataclass(frozen=True)
class Tenant:
    """An organisation of its own for a test, and its administrator's way in."""

    id: UUID
    slug: str
    email: str
    api: Api


class Forked:
    """A process that a nursery has forked, dealt with like any other."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def poll(self) -> int | None:
        """How it has ended, or None while it runs."""
        return self._process.ended()

    def wait(self, timeout: float = 10) -> int | None:
        """How it has ended, once it has."""
        return self._process.wait(timeout)

    def kill(self) -> None:
        """Let it die at once."""
        if self._process.ended() is None:
            self._process.kill()


@dataclass
class Running:
    """One process of Liaison."""

    program: str
    process: "subprocess.Popen[bytes] | Forked"
    ops_port: int
    log: Path

    def is_ready(self) -> bool:
        """Whether its own health check says that it can work."""
        if self.process.poll() is not None:
            raise AssertionError(f"{self.program} ended:\n{tail(self.log, 40)}")
        try:
            address = f"http://127.0.0.1:{self.ops_port}/health/ready"
            return httpx.get(address, timeout=5).status_code == 200
        except httpx.TransportError:
            return False


class System:
    """PostgreSQL, RabbitMQ, every service and the gateway, in a folder of their own."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.ground = Ground(Settings(run_dir=folder), PARTIES, say=lambda _line: None)
        self.processes: dict[str, Running] = {}
        self.http_port = free_port()
        self._environment = dict(environment or {})
        self._numbers = itertools.count(1)
        self._ways_in: list[Api] = []
        self._identity: Database | None = None
        self.nursery: Nursery | None = None
        """What forks processes of services instead of starting them, for tests that kill many."""

    @property
    def address(self) -> str:
        """Where the gateway is."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def postgres(self) -> Postgres:
        """The server of all databases."""
        assert self.ground.postgres is not None
        return self.ground.postgres

    @property
    def rabbitmq(self) -> RabbitMQ:
        """The broker; its `url` is an administrator's."""
        assert self.ground.rabbitmq is not None
        return self.ground.rabbitmq

    def roles(self, service: str) -> Roles:
        """The roles of a service's database."""
        return self.ground.credentials.roles(service, self.ground.server)

    # --- the whole -------------------------------------------------------------------------------

    def start(self) -> "System":
        """Bring everything up and wait until requests can be answered."""
        self.ground.credentials.make_keys(PARTIES)
        self.ground.launch_broker()
        self.ground.start_database()
        for service in SERVICES:
            prepare(self.ground.server, self.roles(service))
            migrate(service, self.roles(service).owner)
        self.ground.wait_for_broker()
        for service in SERVICES:
            self.start_service(service, wait=False)
        self.start_gateway(wait=False)
        self.wait_until_whole()
        return self

    def stop(self) -> None:
        """Stop everything."""
        for api in self._ways_in:
            api.close()
        if self._identity is not None:
            self._identity.dispose()
        for name in list(self.processes):
            self.stop_process(name)
        self.ground.stop()

    def wait_until_whole(self) -> None:
        """Every process is ready, and the gateway knows every service."""
        for running in self.processes.values():
            wait_for(f"{running.program} is ready", running.is_ready, seconds=90)
        wait_for("the gateway answers for every service", self._answers_for_all, seconds=60)

    def _answers_for_all(self) -> bool:
        try:
            paths = httpx.get(f"{self.address}/api/v1/openapi.json", timeout=10).json()["paths"]
        except (httpx.TransportError, KeyError):
            return False
        wanted = {f"/api/v1/{name}" for name in ("users", "contacts", "messages", "opportunities")}
        return wanted <= set(paths) and self.modules_that_answer() == set(SERVICES)

    def modules_that_answer(self) -> set[str]:
        """The services that the gateway sends calls to."""
        port = self.processes["gateway"].ops_port
        facts = httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=10).json()
        return {name for name, answers in facts["modules"].items() if answers}

    # --- processes -------------------------------------------------------------------------------

    def start_service(
        self,
        service: str,
        *,
        name: str | None = None,
        roles: str | None = None,
        wait: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Running:
        """Start one process of a service; `name` tells several of them apart."""
        command = [sys.executable, "-m", "liaison_kit.serve", service]
        if roles:
            command += ["--roles", roles]
        return self._start(name or service, service, command, wait, environment or {})

    def start_gateway(self, *, wait: bool = True) -> Running:
        """Start the gateway."""
        command = [sys.executable, "-m", "liaison_gateway"]
        return self._start("gateway", "gateway", command, wait, {})

    def _start(
        self,
        name: str,
        party: str,
        command: Sequence[str],
        wait: bool,
        environment: Mapping[str, str],
    ) -> Running:
        ops_port = free_port()
        log = self.folder / "logs" / f"{name}.log"
        told = {
            **self.ground.environment(party),
            "LIAISON_OPS_PORT": str(ops_port),
            "LIAISON_HTTP_PORT": str(self.http_port),
            "LIAISON_RETRY_DELAYS_S": RETRY_DELAYS,
            "LIAISON_RATE_LIMIT_PER_MINUTE": "0",
            "MALLOC_ARENA_MAX": "2",
            **self._environment,
            **environment,
        }
        process: subprocess.Popen[bytes] | Forked
        if self.nursery is not None:
            process = Forked(Process(self.nursery, log, {**told, "TEST_SERVICE": party}))
        else:
            env = {**os.environ, **told}
            process = spawn(command, log=log, env=env, parent_died=signal.SIGKILL)
        running = self.processes[name] = Running(name, process, ops_port, log)
        if wait:
            wait_for(f"{name} is ready", running.is_ready, seconds=90)
        return running

    def kill(self, name: str) -> None:
        """Let a process die at once, as in a power cut."""
        running = self.processes.pop(name)
        running.process.kill()
        running.process.wait()

    def stop_process(self, name: str) -> None:
        """Ask a process to end its work and stop."""
        running = self.processes.pop(name, None)
        if running is None:
            return
        if isinstance(running.process, Forked):
            running.process.kill()
        else:
            stop(running.process, seconds=25)

    # --- people ----------------------------------------------------------------------------------

    def tenant(self, name: str = "Test") -> Tenant:
        """A new organisation with its administrator signed in."""
        if self._identity is None:
            self._identity = Database(self.roles("identity").service, pool_size=1)
        slug = f"{name.lower()}-{next(self._numbers)}"
        email = f"admin@{slug}.example"
        administrator = {"name": "Ada Admin", "email": email, "password": PASSWORD}
        new = {"name": slug, "slug": slug, "administrator": administrator}
        made = tenants.bootstrap(self._identity, NewTenant.model_validate(new))
        return Tenant(made.id, slug, email, self.sign_in(email, slug))

    def sign_in(self, email: str, tenant: str, password: str = PASSWORD) -> Api:
        """Somebody's way in, by e-mail and password."""
        with Api(self.address) as anonymous:
            session = anonymous.make("/sign-in", email=email, password=password, tenant=tenant)
        return self.api(session["token"])

    def api(self, token: str | None = None) -> Api:
        """The way in of whoever has this token; without one, of a stranger."""
        api = Api(self.address, token)
        self._ways_in.append(api)
        return api

    # --- the tables ------------------------------------------------------------------------------

    def rows(self, service: str, statement: str, values: Any = None) -> list[dict[str, Any]]:
        """What a statement finds in a service's database, seen by its owner: all tenants' rows."""
        with self.database(self.roles(service).owner) as connection:
            return run(connection, statement, values)

    def count(self, service: str, table: str, tenant: UUID) -> int:
        """How many rows of a tenant a table has."""
        found = self.rows(
            service, f"SELECT count(*) AS n FROM {table} WHERE tenant_id = %s", (str(tenant),)
        )
        return int(found[0]["n"])

    @contextmanager
    def as_service(self, service: str) -> Iterator[Any]:
        """A connection under the role that the service itself works as."""
        with self.database(self.roles(service).service) as connection:
            yield connection

    @contextmanager
    def database(self, url: URL) -> Iterator[Any]:
        """A connection in autocommit."""
        address = url.set(drivername="postgresql").render_as_string(hide_password=False)
        with closing(psycopg2.connect(address)) as connection:
            connection.autocommit = True
            yield connection


def run(connection: Any, statement: str, values: Any = None) -> list[dict[str, Any]]:
    """Run one statement; its rows by column name."""
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(statement, values)
        return [dict(row) for row in cursor.fetchall()] if cursor.description else []


def installed_services() -> set[str]:
    """Every service that is installed, so that none is left out of these tests unseen."""
    return set(services())
