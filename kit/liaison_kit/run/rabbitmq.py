"""A RabbitMQ node of our own: private name, ports, password and folders, kept small.

The programs are the machine's (`rabbitmq-server`, from the system's packages). The node and its
port mapper (epmd) run as children of this process, listen on the loopback address only, and never
meet another node or the system's own RabbitMQ service.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import pika
from pika.exceptions import AMQPError

from liaison_kit.run import broker_users
from liaison_kit.run.broker_users import Needs
from liaison_kit.run.process import (
    CannotStart,
    kept_port,
    kept_secret,
    spawn,
    stop,
    tail,
    wait_until,
)

# Erlang sizes itself for a server: these sizes fit one machine with a handful of processes, and an
# idle scheduler sleeps instead of spinning.
_SMALL_MACHINE = (
    "+P 65536 +t 1048576 +stbt db +zdbbl 32000 +S {schedulers}:{schedulers} +SDcpu 1:1"
    " +sbwt none +sbwtdcpu none +sbwtdio none"
)

_CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
load_definitions = {definitions}
log.console = true
log.console.level = warning
log.file = false
num_acceptors.tcp = 2
collect_statistics = none
management_agent.disable_metrics_collector = true
vm_memory_high_watermark.absolute = 512MB
disk_free_limit.absolute = 64MB
"""


class RabbitMQ:
    """One broker whose data lives in `folder`; start, stop and kill it as often as you like.

    `url`, which is an administrator's, stays the same from start to start, and durable queues and
    messages survive. `users` has the passwords of the services' users, which may do what `needs`
    say.
    """

    def __init__(
        self,
        folder: Path,
        *,
        schedulers: int | None = None,
        log: Path | None = None,
        users: Mapping[str, str] | None = None,
        needs: Sequence[Needs] = (),
    ) -> None:
        self.folder = folder.resolve()
        self.log = log or self.folder / "rabbitmq.log"
        self._schedulers = schedulers or max(1, min(4, (os.cpu_count() or 2) // 2))
        self._node: subprocess.Popen[bytes] | None = None
        self._port_mapper: subprocess.Popen[bytes] | None = None
        self._ports: tuple[int, int, int] | None = None
        self._password = ""
        self._users = dict(users or {})
        self._needs = needs

    @property
    def pid(self) -> int | None:
        """The node's process, None while it is down."""
        running = self._node is not None and self._node.poll() is None
        return self._node.pid if running and self._node else None

    @property
    def url(self) -> str:
        """Where clients connect."""
        if self._ports is None:
            raise CannotStart("This RabbitMQ node has not been started yet.")
        return f"amqp://liaison:{quote(self._password)}@127.0.0.1:{self._ports[0]}/%2F"

    def start(self) -> Self:
        """Bring the node up and wait until it speaks AMQP."""
        self.launch()
        return self.wait()

    def launch(self) -> None:
        """Begin to bring the node up, which takes seconds; `wait` sees the end of it."""
        if self.pid is not None:
            return
        # Where it has to be installed first, the port mapper comes with it.
        program = str(_server_program())
        # Its journals hold what is said on the bus.
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self._password = kept_secret(self.folder / "password")
        if self._ports is None:
            self._ports = (
                kept_port(self.folder / "port"),
                kept_port(self.folder / "dist-port"),
                kept_port(self.folder / "epmd-port"),
            )
        kept_secret(self.folder / ".erlang.cookie")
        env = self._environment()
        if self._port_mapper is None or self._port_mapper.poll() is not None:
            self._port_mapper = spawn(
                ["epmd", "-address", "127.0.0.1", "-port", env["ERL_EPMD_PORT"]],
                log=self.log,
                env=env,
            )
        self._node = spawn([program], log=self.log, env=env, cwd=self.folder)

    def wait(self) -> Self:
        """Wait until a launched node speaks AMQP."""
        answered = wait_until(lambda: self.pid is None or answers(self.url), seconds=90, every=0.1)
        if self.pid is None or not answered:
            self.kill()
            raise CannotStart(f"RabbitMQ did not start; {self.log} ends with:\n{tail(self.log)}")
        return self

    def stop(self) -> None:
        """Close all connections, write everything out, and stop."""
        self._end(lambda node: stop(node, signal.SIGTERM, seconds=30))

    def kill(self) -> None:
        """Die at once, as in a power cut."""
        self._end(lambda node: stop(node, signal.SIGKILL))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.stop()

    def _end(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        if self._node is not None:
            how(self._node)
            self._node = None
        # The port mapper refuses to go while a node is registered, so it goes last.
        if self._port_mapper is not None:
            stop(self._port_mapper, signal.SIGKILL)
            self._port_mapper = None

    def _environment(self) -> dict[str, str]:
        """What the node is told; the machine's own RabbitMQ configuration is left out."""
        assert self._ports is not None
        amqp, distribution, port_mapper = self._ports
        definitions = self.folder / "definitions.json"
        told = broker_users.definitions(self._needs, self._users, self._password)
        definitions.write_text(json.dumps(told))
        config = self.folder / "rabbitmq.conf"
        config.write_text(_CONFIG.format(port=amqp, definitions=definitions))
        for file in (definitions, config):
            file.chmod(0o600)
        (self.folder / "enabled_plugins").write_text("[].\n")
        # The node's name uses `localhost`, which a container keeps when its host name changes.
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RABBITMQ_", "ERL_"))
        }
        return inherited | {
            "HOME": str(self.folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(port_mapper),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_NODENAME": "liaison@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_LOG": "-color",
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_SERVER_ERL_ARGS": _SMALL_MACHINE.format(schedulers=self._schedulers),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}"
            " -noinput",
            # Lets the start script become the node itself, so that our child is the node and a
            # signal needs no shell in between to pass it on.
            "RUNNING_UNDER_SYSTEMD": "true",
        }


def answers(url: str) -> bool:
    """Whether a broker at `url` lets us in."""
    try:
        parameters = pika.URLParameters(url)
        parameters.connection_attempts = 1
        parameters.socket_timeout = parameters.stack_timeout = 5
        pika.BlockingConnection(parameters).close()
    except (AMQPError, OSError):
        return False
    return True


def is_installed() -> bool:
    """Whether this machine has RabbitMQ's programs."""
    return _find_server_program() is not None


def install(policy: Path = Path("/usr/sbin/policy-rc.d")) -> None:
    """Install the system's RabbitMQ package where we may, without starting its own service."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise CannotStart(
            "Liaison needs RabbitMQ. Install it (Debian and Ubuntu: `sudo apt-get install"
            " rabbitmq-server`, Fedora: `sudo dnf install rabbitmq-server`, macOS: `brew install"
            " rabbitmq`), or set AMQP_URL to a broker you have."
        )
    # Debian's way to install a service without starting it: this file answers 101, "not allowed".
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        _apt("update")
        _apt("install", "--yes", "--no-install-recommends", "rabbitmq-server")
    finally:
        if ours:
            policy.unlink()
    # Nor should it start with the machine: Liaison runs a node of its own.
    if Path("/run/systemd/system").exists():
        subprocess.run(
            ["systemctl", "disable", "rabbitmq-server"], capture_output=True, check=False
        )


def _apt(*arguments: str) -> None:
    done = subprocess.run(
        ["apt-get", "-q", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise CannotStart(
            f"`apt-get {' '.join(arguments)}` failed:\n{done.stderr.strip()}\n"
            "Install rabbitmq-server by hand, or set AMQP_URL to a broker you have."
        )


def _find_server_program() -> Path | None:
    # The packaged command in the PATH switches to the user `rabbitmq`; the program behind it runs
    # as whoever starts it, which is what a private node wants.
    for folder in ("/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/opt/homebrew/sbin"):
        program = Path(folder) / "rabbitmq-server"
        if program.exists():
            return program
    found = shutil.which("rabbitmq-server")
    return Path(found) if found else None


def _server_program() -> Path:
    program = _find_server_program()
    if program is None:
        install()
        program = _find_server_program()
    if program is None:
        raise CannotStart("RabbitMQ was installed, but there is no `rabbitmq-server` program.")
    return program
