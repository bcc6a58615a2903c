"""What `make run` keeps in memory and how long it takes to be up, on data of its own."""

import json
import os
import re
import signal
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from bench import cpu
from liaison_kit.run.process import free_port, spawn, stop, wait_until

_PROGRAMS = {
    "postgresql": re.compile(r"bin/postgres\b.* -D "),
    "rabbitmq": re.compile(r"beam\.smp|rabbitmq-server|epmd"),
    "gateway": re.compile(r"-m liaison_gateway"),
    "identity": re.compile(r"liaison_kit\.serve identity"),
    "contacts": re.compile(r"liaison_kit\.serve contacts"),
    "sales": re.compile(r"liaison_kit\.serve sales"),
}


@dataclass(slots=True)
class Running:
    """Memory in MiB by group of processes, seconds until the first answer."""

    first_start: float
    second_start: float
    demo: bool
    groups: dict[str, cpu.Memory] = field(default_factory=dict)

    @property
    def pss(self) -> float:
        """All together; pages that processes share count once."""
        return sum(group.pss for group in self.groups.values())

    @property
    def rss(self) -> float:
        """All together; pages that processes share count for each."""
        return sum(group.rss for group in self.groups.values())


def measure(*, demo: bool, idle: float) -> Running:
    """Run Liaison twice as `make run` does; weigh it the first time."""
    with tempfile.TemporaryDirectory(prefix="liaison-run-", ignore_cleanup_errors=True) as folder:
        run = Path(folder)
        # A broker that happens to run on this machine is not to be used: it would not be weighed.
        (run / "rabbitmq").mkdir()
        first, found = _run(run, demo=demo, idle=idle)
        second, _ = _run(run, demo=False, idle=0)
    return Running(first, second, demo and (found is not None), found or {})


def _run(folder: Path, *, demo: bool, idle: float) -> tuple[float, dict[str, cpu.Memory] | None]:
    port = free_port()
    log = folder / "bench-run.log"
    environment = {
        **os.environ,
        "LIAISON_RUN_DIR": str(folder),
        "LIAISON_HTTP_PORT": str(port),
        "LIAISON_RATE_LIMIT_PER_MINUTE": "0",
    }
    if not demo:
        environment["DEMO"] = "0"
    environment.pop("DATABASE_URL", None)
    environment.pop("AMQP_URL", None)
    began = time.monotonic()
    child = spawn([sys.executable, "-m", "liaison_kit.run"], log=log, env=environment)
    try:
        if not wait_until(lambda: _answers(port) or child.poll() is not None, seconds=180):
            raise RuntimeError("`make run` did not come up")
        if child.poll() is not None:
            raise RuntimeError(f"`make run` ended:\n{log.read_text()[-2000:]}")
        took = time.monotonic() - began
        if not idle:
            return took, None
        if demo and not wait_until(
            lambda: (folder / "demo-loaded").exists() or _demo_failed(log), seconds=400, every=1
        ):
            raise RuntimeError("the demo company did not come in")
        if demo and _demo_failed(log):
            raise RuntimeError(f"the demo company could not be loaded:\n{log.read_text()[-2000:]}")
        time.sleep(idle)
        return took, _weigh(child.pid)
    finally:
        stop(child, signal.SIGINT, seconds=60)


def _demo_failed(log: Path) -> bool:
    return "could not be loaded" in log.read_text(errors="replace")


def _answers(port: int) -> bool:
    try:
        address = f"http://127.0.0.1:{port}/api/v1/openapi.json"
        with urllib.request.urlopen(address, timeout=2) as answer:
            paths = json.load(answer)["paths"]
    except (OSError, ValueError):
        return False
    wanted = ("/sign-in", "/contacts", "/sales/summary")
    return all(any(path.endswith(end) for path in paths) for end in wanted)


def _weigh(supervisor: int) -> dict[str, cpu.Memory]:
    groups: dict[str, list[int]] = {"supervisor": []}
    roots: dict[int, str] = {}
    for pid in cpu.family([supervisor]):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except FileNotFoundError:
            continue
        name = next((n for n, known in _PROGRAMS.items() if known.search(command)), None)
        if name is not None:
            roots[pid] = name
    placed: set[int] = set()
    for pid, name in roots.items():
        members = [member for member in cpu.family([pid]) if member not in placed]
        placed.update(members)
        groups.setdefault(name, []).extend(members)
    groups["supervisor"] = [pid for pid in cpu.family([supervisor]) if pid not in placed]
    return {name: cpu.memory_of(members) for name, members in groups.items()}
