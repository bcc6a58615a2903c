"""Child processes that never outlive their parent, and small facts about ports and secrets."""

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LONGEST_LOG = 16 << 20
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class CannotStart(Exception):
    """Something that Liaison stands on did not come up; the message says what to do."""


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    user: int | None = None,
    group: int | None = None,
    cwd: Path | None = None,
    parent_died: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a child in a group of its own, writing to `log`, that gets a signal if we die.

    The group of its own keeps a Ctrl-C at the terminal from reaching it, so that the supervisor
    alone decides the order in which things stop. Call it from the main thread: Linux ties the
    death signal to the thread that forked.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LONGEST_LOG:
        log.replace(log.with_suffix(".log.1"))
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as sink:
        # One that an earlier version made may be readable by all.
        os.fchmod(sink.fileno(), 0o600)
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            user=user,
            group=group,
            extra_groups=None if user is None else [],
            cwd=cwd,
            process_group=0,
            preexec_fn=_die_with_parent(os.getpid(), parent_died),
            umask=0o077,
        )


def _die_with_parent(parent: int, how: signal.Signals) -> Callable[[], None]:
    def prepare() -> None:
        if _libc is None:
            return
        _libc.prctl(_PR_SET_PDEATHSIG, int(how), 0, 0, 0)
        # The parent may have died between the fork and the line above.
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def stop(
    child: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM, *, seconds: float = 10
) -> None:
    """Ask a child to stop, wait, and kill it if it does not."""
    if child.poll() is None:
        child.send_signal(how)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
    child.wait()


def wait_until(ready: Callable[[], bool], *, seconds: float, every: float = 0.05) -> bool:
    """Ask again and again until the answer is yes; False when the time is over."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


# Below those that systems hand to outgoing connections (from 32768 on Linux, 49152 elsewhere): what
# is free now must not be somebody's by the time that it is listened on.
_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    for _ in range(1000):
        port = secrets.choice(_PORTS)
        if port_is_free(port):
            return port
    raise CannotStart(f"No port between {_PORTS.start} and {_PORTS.stop} is free")


def kept_port(file: Path, *, prefer: int | None = None) -> int:
    """The port that `file` remembers, so that addresses survive a restart; another if taken."""
    wished = int(file.read_text()) if file.exists() else prefer
    port = wished if wished is not None and port_is_free(wished) else free_port()
    file.write_text(f"{port}\n")
    return port


def kept_secret(file: Path) -> str:
    """The random password that `file` holds, made on first use and readable by its owner only."""
    if not file.exists():
        # Whole or not at all: another process may ask at the same moment.
        beside = file.with_name(f"{file.name}.{os.getpid()}")
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as sink:
            sink.write(secrets.token_hex(16))
        with contextlib.suppress(FileExistsError):
            os.link(beside, file)
        beside.unlink()
    return file.read_text().strip()


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
