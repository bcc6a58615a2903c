"""One command runs Liaison: ground, migrations, services, gateway; one signal stops it all."""

import fcntl
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import FrameType
from typing import IO

from liaison_kit.run.ground import Ground
from liaison_kit.run.process import (
    CannotStart,
    free_port,
    kept_port,
    kept_secret,
    port_is_free,
    spawn,
    stop,
    tail,
)
from liaison_kit.settings import Settings

ADMIN_EMAIL = "admin@example.com"

_SECRETS = frozenset(
    {
        "AMQP_URL",
        "DATABASE_URL",
        "LIAISON_ADMIN_PASSWORD",
        "LIAISON_DATABASE_OWNER_URL",
        "LIAISON_DATABASE_SERVER_URL",
        "LIAISON_SECRET_KEY",
        "LIAISON_SMTP_URL",
    }
)
_READY_WITHIN_S = 120.0
_STEADY_AFTER_S = 60.0
_LONGEST_PAUSE_S = 30.0


def say(line: str) -> None:
    """Tell the person at the terminal."""
    print(line, flush=True)


@dataclass
class Program:
    """One process to keep running: a service, or the gateway."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    ops_port: int = 0
    started: float = 0.0
    crashes: int = 0
    restart_at: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def is_ready(self) -> bool:
        """Whether its own health check says that it can work."""
        address = f"http://127.0.0.1:{self.ops_port}/health/ready"
        try:
            with urllib.request.urlopen(address, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def installed_programs() -> list[Program]:
    """The gateway, and every service that is installed, found by its entry point."""
    python = [sys.executable, "-m"]
    names = sorted({entry.name for entry in entry_points(group="liaison.services")})
    services = [Program(name, [*python, "liaison_kit.serve", name]) for name in names]
    return [Program("gateway", [*python, "liaison_gateway"]), *services]


def installed_first_starts() -> dict[str, Sequence[str]]:
    """What sets the installed services up at the very first start, by entry point."""
    found = sorted(entry_points(group="liaison.first_start"))
    return {entry.name: (sys.executable, "-m", entry.value) for entry in found}


class Supervisor:
    """Starts everything in order, starts again what crashes, and stops everything in order."""

    def __init__(
        self,
        settings: Settings,
        programs: Sequence[Program] | None = None,
        *,
        migrate: Sequence[str] | None = (sys.executable, "-m", "liaison_kit.run.migrate"),
        first_start: Mapping[str, Sequence[str]] | None = None,
        demo: Sequence[str] | None = (sys.executable, "-m", "liaison_cli", "demo"),
        say: Callable[[str], None] = say,
    ) -> None:
        self.settings = settings
        self.programs = list(installed_programs() if programs is None else programs)
        self.ground = Ground(settings, [program.name for program in self.programs], say)
        self.folder = self.ground.folder
        self._migrate = migrate
        self._first_start = installed_first_starts() if first_start is None else first_start
        self._demo = demo
        self._demo_run: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._say = say

    @property
    def address(self) -> str:
        """Where people and programs reach Liaison."""
        return f"http://{self.settings.http_host}:{self.settings.http_port}"

    def run(self) -> None:
        """Run until a signal says stop; raises `CannotStart` with what to do about it."""
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, _stop_once) for number in signals}
        # Nobody else reads what is written from here on, by us or by whom we start.
        os.umask(0o077)
        try:
            self.start()
            while True:
                self.look_after()
                time.sleep(0.2)
        except _Stop:
            self._say("\nStopping …")
        finally:
            for number in signals:
                signal.signal(number, signal.SIG_IGN)
            self.stop()
            for number, handler in before.items():
                signal.signal(number, handler)
        self._say("Stopped. The data stays in " + _short(self.folder) + ".")

    def start(self) -> None:
        """Bring everything up, in order, and say where it is."""
        began = time.monotonic()
        self._take_lock()
        if not port_is_free(self.settings.http_port, self.settings.http_host):
            raise CannotStart(
                f"Port {self.settings.http_port} of {self.settings.http_host} is taken by another"
                " program. Choose one with LIAISON_HTTP_PORT, as in:"
                f" LIAISON_HTTP_PORT={self.settings.http_port + 100} make run"
            )
        self._say("Starting Liaison …")
        self._prepare()
        self._choose_ports()
        for program in self.programs:
            self._start(program)
        self._wait_until_ready()
        self._set_up()
        took = time.monotonic() - began
        self._say(f"Liaison is up after {took:.0f} s.\n")
        self._say(f"  address   {self.address}")
        self._say(f"  API docs  {self.address}/docs")
        self._say(f"  sign-in   {ADMIN_EMAIL}  {self._admin_password}")
        if not self.settings.smtp_url.get_secret_value():
            self._say(f"  mail      {_short(self._mail)}/ (LIAISON_SMTP_URL sends it)")
        self._say(f"  logs      {_short(self.ground.logs)}/\n")
        self._begin_demo()
        self._say("Ctrl-C stops it; the data stays.")

    def migrate(self) -> None:
        """Bring the databases to this version, then stop what that needed."""
        self._take_lock()
        try:
            self._prepare(broker=False)
        finally:
            self.stop()

    def look_after(self) -> None:
        """Start again what has died, each time after a longer pause."""
        self.ground.keep_up()
        now = time.monotonic()
        for program in self.programs:
            if program.restart_at is not None:
                if now >= program.restart_at:
                    self._start(program)
            elif program.process is not None and program.process.poll() is not None:
                if now - program.started > _STEADY_AFTER_S:
                    program.crashes = 0
                pause = min(_LONGEST_PAUSE_S, 0.5 * 2**program.crashes)
                program.crashes += 1
                program.restart_at = now + pause
                self._say(
                    f"{program.name} ended with code {program.process.returncode};"
                    f" starting it again in {pause:g} s (log: {_short(self._log(program.name))})"
                )
        self._end_demo()

    def stop(self) -> None:
        """Stop the gateway, then the services, then the ground, so that nothing is cut off."""
        if self._demo_run is not None:
            stop(self._demo_run, seconds=2)
            self._demo_run = None
        running = [program for program in self.programs if program.process is not None]
        doors = [program for program in running if program.name == "gateway"]
        for group in (doors, [program for program in running if program not in doors]):
            # All of a group at once, so that it takes as long as its slowest.
            for program in group:
                if program.process is not None and program.process.poll() is None:
                    program.process.terminate()
            deadline = time.monotonic() + 8
            for program in group:
                if program.process is not None:
                    stop(program.process, seconds=max(0.0, deadline - time.monotonic()))
                    program.process = None
        self.ground.stop()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def environment(self, party: str) -> dict[str, str]:
        """What the process of one service, or of the gateway, is told."""
        known = {**self._everybodys, **self.ground.environment(party)}
        return known | self._senders if party == "connect" else known

    @property
    def _senders(self) -> dict[str, str]:
        """What who sends mail has to know: your server, or else the folder to write it to."""
        url = self.settings.smtp_url.get_secret_value()
        return {"LIAISON_SMTP_URL": url} if url else {"LIAISON_MAIL_FOLDER": str(self._mail)}

    @property
    def _mail(self) -> Path:
        return self.settings.mail_folder or self.folder / "mail"

    @property
    def _everybodys(self) -> dict[str, str]:
        """What any child may know: of this process's own environment all but the secrets."""
        return {
            **{name: value for name, value in os.environ.items() if name not in _SECRETS},
            # glibc gives each thread an arena of its own; two are plenty and save memory.
            "MALLOC_ARENA_MAX": "2",
            "LIAISON_URL": self.address,
        }

    @property
    def _administrators(self) -> dict[str, str]:
        """What sets up the first organisation, and fills it, has to know beside."""
        return {
            "LIAISON_ADMIN_EMAIL": ADMIN_EMAIL,
            "LIAISON_ADMIN_PASSWORD": self._admin_password,
        }

    @property
    def _admin_password(self) -> str:
        return os.environ.get("LIAISON_ADMIN_PASSWORD") or kept_secret(
            self.folder / "admin_password"
        )

    def _log(self, name: str) -> Path:
        return self.ground.logs / f"{name}.log"

    def _take_lock(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # Others may pass through, as PostgreSQL's own user has to, but not look around.
        self.folder.chmod(0o711)
        lock = (self.folder / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip()
            lock.close()
            raise CannotStart(
                f"Liaison is already running from {_short(self.folder)} ({owner}). Stop that one"
                " first, or give this one a folder of its own with LIAISON_RUN_DIR."
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, {self.address}")
        lock.flush()
        self._lock = lock

    def _prepare(self, *, broker: bool = True) -> None:
        """The broker takes longest to start, so the database and migrations run meanwhile."""
        self.ground.credentials.make_keys(program.name for program in self.programs)
        if broker:
            self.ground.launch_broker()
        self.ground.start_database()
        if self._migrate is not None:
            known = {**self._everybodys, **self.ground.migrations_environment()}
            self._finish(self._migrate, "migrate", "The databases could not be migrated", known)
        if broker:
            self.ground.wait_for_broker()

    def _set_up(self) -> None:
        """Once, with everything running: what is told then reaches every service's queues."""
        done = self.folder / "set-up"
        if done.exists():
            return
        for name, command in self._first_start.items():
            known = {**self.environment(name), **self._administrators}
            self._finish(command, "first-start", f"{name} could not be set up", known)
        done.touch()

    def _finish(
        self, command: Sequence[str], name: str, failed: str, known: Mapping[str, str]
    ) -> None:
        """Run something to its end; what fails is told with the end of its log."""
        log = self._log(name)
        child = spawn(command, log=log, env=known)
        try:
            code = child.wait()
        finally:
            stop(child)
        if code:
            raise CannotStart(f"{failed}; {log} ends with:\n{tail(log)}")

    def _choose_ports(self) -> None:
        """Give each program a port for metrics and health, the same as last time where it can."""
        remembered = self.folder / "ports"
        remembered.mkdir(exist_ok=True)
        taken: set[int] = {self.settings.http_port}
        for number, program in enumerate(self.programs, start=1):
            file = remembered / program.name
            port = kept_port(file, prefer=self.settings.http_port + number)
            while port in taken:
                port = free_port()
                file.write_text(f"{port}\n")
            taken.add(port)
            program.ops_port = port

    def _start(self, program: Program) -> None:
        program.restart_at = None
        program.started = time.monotonic()
        program.process = spawn(
            program.command,
            log=self._log(program.name),
            env={
                **self.environment(program.name),
                "LIAISON_OPS_PORT": str(program.ops_port),
                **program.environment,
            },
        )

    def _wait_until_ready(self) -> None:
        """Wait for all at once, so that one that ends at once is told at once."""
        deadline = time.monotonic() + _READY_WITHIN_S
        waiting = list(self.programs)
        while waiting := [program for program in waiting if not program.is_ready()]:
            late = time.monotonic() > deadline
            for program in waiting:
                ended = program.process is None or program.process.poll() is not None
                if ended or late:
                    log = self._log(program.name)
                    what = "ended" if ended else f"was not ready within {_READY_WITHIN_S:.0f} s"
                    raise CannotStart(f"{program.name} {what}; {log} ends with:\n{tail(log)}")
            time.sleep(0.1)

    def _begin_demo(self) -> None:
        if self._demo is None or os.environ.get("DEMO") == "0" or self._demo_mark.exists():
            return
        self._say(
            "Filling it with a demo company; you can sign in meanwhile. (DEMO=0 leaves it out)"
        )
        known = {**self._everybodys, **self._administrators}
        self._demo_run = spawn(self._demo, log=self._log("demo"), env=known)

    def _end_demo(self) -> None:
        if self._demo_run is None or self._demo_run.poll() is None:
            return
        if self._demo_run.returncode == 0:
            self._demo_mark.touch()
            self._say("The demo company is in.")
        else:
            log = self._log("demo")
            self._say(
                f"The demo company could not be loaded; {_short(log)} ends with:\n{tail(log)}"
            )
        self._demo_run = None

    @property
    def _demo_mark(self) -> Path:
        return self.folder / "demo-loaded"


class _Stop(BaseException):
    """A signal said stop."""


def _stop_once(number: int, frame: FrameType | None) -> None:
    for further in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(further, signal.SIG_IGN)
    raise _Stop


def _short(path: Path) -> str:
    """A path as a person at this terminal would name it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
