"""The embedded PostgreSQL starts, stops, survives a power cut, and dies with its parent."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest

from liaison_kit.run.postgres import Postgres
from liaison_kit.run.process import wait_until


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("postgres")).start()
    yield server
    server.stop()


def ask(url: str, statement: str) -> object:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def test_it_speaks_utc_and_sorts_alike_everywhere(postgres: Postgres) -> None:
    assert ask(postgres.url, "SHOW timezone") == "UTC"
    assert ask(postgres.url, "SELECT 'É' > 'Z'") is True
    assert ask(postgres.url, "SELECT lower('É')") == "é"


def test_it_has_the_extensions_that_search_needs(postgres: Postgres) -> None:
    for name in ("pg_trgm", "unaccent", "citext", "btree_gin"):
        ask(postgres.url, f"CREATE EXTENSION IF NOT EXISTS {name}")


def test_the_loopback_address_asks_for_the_password(postgres: Postgres) -> None:
    assert ask(postgres.tcp_url, "SELECT 1") == 1

    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(postgres.tcp_url.replace("postgres:", "postgres:x", 1))


def test_a_restart_keeps_the_data_and_the_address(postgres: Postgres) -> None:
    ask(postgres.url, "CREATE TABLE kept AS SELECT 42 AS n")
    before = postgres.url

    postgres.stop()
    postgres.start()

    assert postgres.url == before
    assert ask(postgres.url, "SELECT n FROM kept") == 42


def test_a_power_cut_keeps_what_was_committed(postgres: Postgres) -> None:
    ask(postgres.url, "CREATE TABLE survived AS SELECT 7 AS n")
    idle = psycopg2.connect(postgres.url)

    postgres.kill()
    postgres.start()

    assert ask(postgres.url, "SELECT n FROM survived") == 7
    idle.close()


def test_a_deep_folder_gets_a_short_socket(tmp_path: Path) -> None:
    server = Postgres(tmp_path / ("deep" * 30))

    with server:
        assert ask(server.url, "SELECT 1") == 1


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from liaison_kit.run.postgres import Postgres;"
        f"print(Postgres(Path({str(tmp_path)!r})).start().pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.stdout.close()

    parent.kill()
    parent.wait()

    assert wait_until(lambda: not _alive(pid), seconds=10)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
