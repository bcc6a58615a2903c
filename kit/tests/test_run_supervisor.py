"""`make run` as a whole: it starts in order, repairs what dies, and leaves nothing behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from liaison_kit.run.process import free_port, wait_until

SECRET_FILES = {"admin_password", "broker", "database", "database-owner", "password", "secret"}

# A program as small as can be: it serves its health check and notes what it was told.
PROGRAM = """
import http.server, json, os, pathlib, sys
folder = pathlib.Path(os.environ["LIAISON_RUN_DIR"])
(folder / f"{sys.argv[1]}.new").write_text(str(os.getpid()))
(folder / f"{sys.argv[1]}.new").rename(folder / f"{sys.argv[1]}.pid")
(folder / f"{sys.argv[1]}.told").write_text(json.dumps(dict(os.environ)))
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health/ready" else 404)
        self.end_headers()
    def log_message(self, *args): pass
port = int(os.environ["LIAISON_OPS_PORT"])
http.server.HTTPServer(("127.0.0.1", port), Health).serve_forever()
"""

RUN = """
import sys
from liaison_kit.run.process import CannotStart
from liaison_kit.run.supervisor import Program, Supervisor
from liaison_kit.settings import Settings
program = open(sys.argv[1]).read()
try:
    Supervisor(
        Settings(),
        [Program(name, [sys.executable, "-c", program, name]) for name in ("gateway", "contacts")],
        migrate=[sys.executable, "-c", "print('migrated')"],
        first_start={"contacts": [sys.executable, "-c", "print('set up')"]},
        demo=[sys.executable, "-c", "print('filled')"],
    ).run()
except CannotStart as reason:
    print(reason)
    sys.exit(1)
"""


@dataclass
class Liaison:
    process: subprocess.Popen[str]
    folder: Path
    out: Path
    env: dict[str, str]

    def pid(self, name: str) -> int:
        return int((self.folder / f"{name}.pid").read_text())

    def says(self, words: str) -> bool:
        return words in self.out.read_text()

    def tree(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def still_alive(tree: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; the dead that wait for init to notice do not count."""
    return [p for p in tree if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def begin(tmp: Path, **more: str) -> Liaison:
    folder = tmp / "run"
    (tmp / "program.py").write_text(PROGRAM)
    given = {
        name: value
        for name, value in os.environ.items()
        if name not in {"DATABASE_URL", "AMQP_URL", "DEMO"} and not name.startswith("LIAISON_")
    }
    # A broker that this machine may run must not be picked up: the node here is a private one.
    (folder / "rabbitmq").mkdir(parents=True, exist_ok=True)
    env = {
        **given,
        "LIAISON_RUN_DIR": str(folder),
        "LIAISON_HTTP_PORT": str(free_port()),
        **more,
    }
    out = tmp / f"out-{time.monotonic_ns()}"
    with out.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(tmp / "program.py")],
            env=env,
            stdout=sink,
            stderr=subprocess.STDOUT,
            text=True,
        )
    return Liaison(process, folder, out, env)


@pytest.fixture(scope="module")
def liaison(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Liaison]:
    running = begin(tmp_path_factory.mktemp("liaison"))
    try:
        wait_until(
            lambda: running.says("Ctrl-C stops it") or running.process.poll() is not None,
            seconds=60,
        )
        assert running.says("Ctrl-C stops it"), running.out.read_text()
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGKILL)
        running.process.wait()


def test_it_says_where_it_is_and_how_to_sign_in(liaison: Liaison) -> None:
    said = liaison.out.read_text()

    assert f"http://127.0.0.1:{liaison.env['LIAISON_HTTP_PORT']}" in said
    assert re.search(r"sign-in +\S+@\S+ +\S{16,}", said)


def told(liaison: Liaison, name: str) -> dict[str, str]:
    found: dict[str, str] = json.loads((liaison.folder / f"{name}.told").read_text())
    return found


def test_a_program_is_told_its_own_role_and_its_own_broker_user(liaison: Liaison) -> None:
    contacts, gateway = told(liaison, "contacts"), told(liaison, "gateway")

    assert re.fullmatch(
        r"postgresql://liaison_contacts:\w+@/liaison_contacts\?\S+", contacts["DATABASE_URL"]
    )
    assert re.fullmatch(r"amqp://contacts:\w+@127\.0\.0\.1:\d+/%2F", contacts["AMQP_URL"])
    assert re.fullmatch(r"amqp://gateway:\w+@127\.0\.0\.1:\d+/%2F", gateway["AMQP_URL"])
    assert "DATABASE_URL" not in gateway


def test_no_program_is_told_a_secret_that_is_not_its_own(liaison: Liaison) -> None:
    secrets = {
        file: file.read_text().strip()
        for file in liaison.folder.rglob("*")
        if file.is_file() and file.stat().st_size < 100 and file.name in SECRET_FILES
    }

    for name in ("contacts", "gateway"):
        environment = " ".join(told(liaison, name).values())
        seen = {file for file, secret in secrets.items() if secret in environment}

        assert {file.parent.name for file in seen} == {name}, seen
        assert {file.name for file in seen} <= {"database", "broker", "secret"}
    assert {file.name for file in secrets} == SECRET_FILES


def test_nobody_else_may_read_what_is_kept(liaison: Liaison) -> None:
    open_to_all = [
        file
        for file in liaison.folder.rglob("*")
        if file.is_file() and file.stat().st_mode & 0o077 and not _passed_by(file, liaison.folder)
    ]

    assert [file for file in open_to_all if file.parent.name != "trusted"] == []


def _passed_by(file: Path, top: Path) -> bool:
    """Whether a folder on the way to it lets nobody through."""
    folders = [folder for folder in file.parents if folder.is_relative_to(top) and folder != top]
    return any(not folder.stat().st_mode & 0o011 for folder in folders)


def test_the_first_start_loads_the_demo_once(liaison: Liaison) -> None:
    assert wait_until(lambda: liaison.says("The demo company is in."), seconds=10)
    assert (liaison.folder / "logs" / "demo.log").read_text() == "filled\n"


def test_each_program_has_a_log_of_its_own(liaison: Liaison) -> None:
    names = {log.name for log in (liaison.folder / "logs").iterdir()}

    assert {"gateway.log", "contacts.log", "postgres.log", "rabbitmq.log", "migrate.log"} <= names


def test_a_second_run_in_the_same_folder_says_who_is_running(liaison: Liaison) -> None:
    second = begin(liaison.folder.parent)

    assert second.process.wait(20) == 1
    assert second.says(f"already running from {liaison.folder} (process {liaison.process.pid}")


def test_a_killed_program_comes_back(liaison: Liaison) -> None:
    before = liaison.pid("contacts")

    os.kill(before, signal.SIGKILL)

    assert wait_until(lambda: liaison.pid("contacts") != before, seconds=10)
    assert liaison.says("contacts ended with code -9; starting it again in 0.5 s")


def test_a_killed_database_comes_back(liaison: Liaison) -> None:
    children = psutil.Process(liaison.process.pid).children()
    (before,) = [child for child in children if child.name() == "postgres"]

    before.kill()

    assert wait_until(lambda: liaison.says("PostgreSQL died; starting it again."), seconds=10)
    assert wait_until(lambda: any(p.name() == "postgres" for p in liaison.tree()), seconds=10)


def test_one_signal_stops_everything_and_the_next_start_is_as_before(liaison: Liaison) -> None:
    wait_until(lambda: len([p for p in liaison.tree() if p.name() == "postgres"]) > 3, seconds=10)
    tree = liaison.tree()
    began = time.monotonic()

    liaison.process.send_signal(signal.SIGINT)

    assert liaison.process.wait(20) == 0
    assert time.monotonic() - began < 10
    assert still_alive(tree) == []
    again = begin(liaison.folder.parent)
    assert wait_until(lambda: again.says("Ctrl-C stops it"), seconds=60), again.out.read_text()
    assert not again.says("Filling it")
    tree = again.tree()
    again.process.kill()
    again.process.wait()
    assert wait_until(lambda: not still_alive(tree), seconds=15), tree


def test_a_taken_port_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        running = begin(tmp_path, LIAISON_HTTP_PORT=str(port))

        assert running.process.wait(20) == 1

    assert running.says(f"Port {port} of 127.0.0.1 is taken")
    assert running.says("LIAISON_HTTP_PORT=")


def test_a_stop_while_starting_leaves_nothing_behind(tmp_path: Path) -> None:
    running = begin(tmp_path)
    wait_until(lambda: (running.folder / "rabbitmq" / "rabbitmq.conf").exists(), seconds=20)
    time.sleep(0.5)
    tree = running.tree()

    running.process.send_signal(signal.SIGTERM)

    assert running.process.wait(40) == 0
    assert still_alive(tree) == []
