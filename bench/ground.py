"""A Liaison of the bench's own: its servers, its processes, its tenant, all gone afterwards."""

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg2
from sqlalchemy import URL, make_url

from liaison_kit.database.migrations import Roles, migrate, prepare
from liaison_kit.run.ground import Ground as LiaisonGround
from liaison_kit.run.postgres import Postgres
from liaison_kit.run.process import free_port, spawn, stop, wait_until
from liaison_kit.settings import Settings

SERVICES = ("identity", "contacts", "connect", "sales")
PARTIES = (*SERVICES, "gateway")
EMAIL, PASSWORD = "bench@example.com", "a long enough password"


class Api:
    """A signed-in client for what is not measured."""

    def __init__(self, port: int, token: str = "") -> None:
        self.port = port
        self.token = token

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The answer's JSON; raises for anything but success. Bytes are sent as they are."""
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
            if raw is not None:
                sent["Content-Type"] = "application/json"
            connection.request(method, f"/api/v1{path}", raw, sent | dict(headers or {}))
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]!r}")
        return json.loads(text) if text else None

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """A request as the load generator sends it."""
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            f"Authorization: Bearer {self.token}",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


class Ground:
    """PostgreSQL, RabbitMQ, three services, the gateway and the floor's two processes."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="liaison-bench-"))
        self._ending = ExitStack()
        self._ending.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._databases: dict[str, Any] = {}
        self.processes: dict[str, list[subprocess.Popen[bytes]]] = {}
        self.port = free_port()
        self.floor_port = free_port()
        self.ops_ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._ending.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._ending.close()

    def _start(self) -> None:
        # Commit times tell exactly how long an event took from one transaction to the next.
        self.postgres = Postgres(self.folder / "postgres", {"track_commit_timestamp": "on"})
        self._ground = LiaisonGround(Settings(run_dir=self.folder), PARTIES, say=lambda _line: None)
        self._ground.postgres = self.postgres
        self._ending.callback(self._ground.stop)
        self._ground.credentials.make_keys(PARTIES)
        self._ground.launch_broker()
        assert self._ground.rabbitmq is not None
        self.rabbitmq = self._ground.rabbitmq
        self.postgres.start()
        for service in SERVICES:
            prepare(self._ground.server, self.roles(service))
            migrate(service, self.roles(service).owner)
        self._ground.wait_for_broker()
        self.environment = {
            **os.environ,
            # As `make run` sets it.
            "MALLOC_ARENA_MAX": "2",
            "LIAISON_HTTP_PORT": str(self.port),
            "LIAISON_RATE_LIMIT_PER_MINUTE": "0",
        }
        for service in SERVICES:
            self.start_service(service)
        self._spawn("gateway", "gateway", ["-m", "liaison_gateway"])
        self.api = Api(self.port)
        wait = wait_until(self._answers, seconds=60, every=0.2)
        if not wait:
            raise RuntimeError(f"Liaison did not come up; see {self.folder}")
        # What is told of it reaches every service's queues now.
        self._begin_tenant()
        signed_in = self.api.call("POST", "/sign-in", {"email": EMAIL, "password": PASSWORD})
        self.api.token = signed_in["token"]

    def _begin_tenant(self) -> None:
        subprocess.run(
            [
                *(sys.executable, "-W", "ignore", "-m", "liaison_identity.create_tenant"),
                *("--name", "Bench", "--email", EMAIL, "--password", PASSWORD),
            ],
            env=self.environment | self._ground.environment("identity"),
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with self.sql("identity").cursor() as cursor:
            cursor.execute("SELECT id::text FROM tenants")
            self.tenant: str = cursor.fetchone()[0]

    def _answers(self) -> bool:
        ready = all(
            _get(f"http://127.0.0.1:{port}/health/ready") == 200 for port in self.ops_ports.values()
        )
        if not ready:
            return False
        document = f"http://127.0.0.1:{self.port}/api/v1/openapi.json"
        try:
            with urllib.request.urlopen(document, timeout=5) as answer:
                paths = json.load(answer)["paths"]
        except (OSError, ValueError):
            return False
        return all(
            any(path.endswith(wanted) for path in paths)
            for wanted in ("/sign-in", "/contacts", "/sales/summary")
        )

    def start_service(
        self, service: str, roles: str | None = None, name: str | None = None
    ) -> None:
        """Start a process of a service; `name` tells it from others of the same service."""
        more = ["--roles", roles] if roles else []
        self._spawn(name or service, service, ["-m", "liaison_kit.serve", service, *more])

    def _spawn(self, name: str, party: str, arguments: Sequence[str]) -> None:
        port = free_port()
        self.ops_ports[name] = port
        child = spawn(
            [sys.executable, *arguments],
            log=self.folder / f"{name}.log",
            env=self.environment
            | self._ground.environment(party)
            | {"LIAISON_OPS_PORT": str(port)},
        )
        self.processes.setdefault(name, []).append(child)
        self._ending.callback(stop, child)

    def stop_process(self, name: str) -> None:
        """Stop a process started earlier."""
        for child in self.processes.pop(name):
            stop(child)
        self.ops_ports.pop(name, None)

    def is_ready(self, name: str) -> bool:
        """Whether a process says that it can work."""
        return _get(f"http://127.0.0.1:{self.ops_ports[name]}/health/ready") == 200

    def start_floor(self, read_sql: str, create_sql: str) -> None:
        """Start the floor's worker and its route."""
        url = self.owner("contacts").set(drivername="postgresql")
        environment = {
            **os.environ,
            "FLOOR_READ": read_sql,
            "FLOOR_CREATE": create_sql,
            "FLOOR_DATABASE": url.render_as_string(hide_password=False),
            "FLOOR_BROKER": self.rabbitmq.url,
            "FLOOR_PORT": str(self.floor_port),
        }
        for part in ("worker", "route"):
            child = spawn(
                [sys.executable, "-m", "bench.floor", part],
                log=self.folder / f"floor-{part}.log",
                env=environment,
            )
            self.processes[f"floor {part}"] = [child]
            self._ending.callback(stop, child)
        address = f"http://127.0.0.1:{self.floor_port}/nowhere"
        if not wait_until(lambda: _get(address) == 404, seconds=20):
            raise RuntimeError(f"The floor did not come up; see {self.folder}")

    def groups(self) -> dict[str, list[int]]:
        """The root processes of each group, for counting what they use."""
        assert self.postgres.pid is not None
        assert self.rabbitmq.pid is not None
        found = {name: [p.pid for p in started] for name, started in self.processes.items()}
        return found | {"postgresql": [self.postgres.pid], "rabbitmq": [self.rabbitmq.pid]}

    def sql(self, service: str) -> Any:
        """A connection of the tables' owner, whom no policy binds; autocommit."""
        if service not in self._databases:
            self._databases[service] = connection = psycopg2.connect(_plain(self.owner(service)))
            connection.autocommit = True
            self._ending.callback(connection.close)
        return self._databases[service]

    def owner(self, service: str) -> URL:
        """Where the tables' owner connects."""
        return self.roles(service).owner

    def roles(self, service: str) -> Roles:
        """The roles of a service's database."""
        return self._ground.credentials.roles(service, self._ground.server)

    def superuser(self, service: str) -> Any:
        """A connection that may ask for commit times; autocommit, closed by the caller."""
        url = make_url(self.postgres.url).set(database=f"liaison_{service}")
        connection = psycopg2.connect(_plain(url))
        connection.autocommit = True
        return connection

    def rows(self, service: str, statement: str, values: Any = None) -> list[Any]:
        """Run a statement as the owner."""
        with self.sql(service).cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def waiting_events(self) -> int:
        """Events that are not on their way yet."""
        return sum(self.rows(service, "SELECT count(*) FROM outbox")[0][0] for service in SERVICES)


def _plain(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def _get(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError:
        return 0
