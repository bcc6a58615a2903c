"""Chunks are written side by side and kept in the order of the file, whatever happens."""

import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.database.database import Database
from liaison_kit.imports import engine, overlap
from liaison_kit.imports.overlap import Turn, ahead, in_turn
from liaison_kit.imports.planning import Options
from liaison_kit.imports.reading import open_table
from liaison_kit.run.process import wait_until

from .book import PEOPLE, TENANT, Steps, about, csv_file


def numbers(count: int) -> Generator[str, None, None]:
    yield from map(str, range(count))


def test_two_are_worked_on_at_a_time_and_end_in_their_order() -> None:
    both = threading.Barrier(2, timeout=10)
    ended = []

    def work(item: str, turn: Turn) -> None:
        both.wait()
        turn.come()
        ended.append(item)

    in_turn(numbers(6), work)

    assert ended == ["0", "1", "2", "3", "4", "5"]


def test_an_error_counts_when_its_turn_has_come() -> None:
    failed = threading.Event()
    ended = []

    def work(item: str, turn: Turn) -> None:
        if item == "1":
            failed.set()
            raise ValueError(item)
        assert failed.wait(10)
        turn.come()
        ended.append(item)

    with pytest.raises(ValueError, match="1"):
        in_turn(numbers(9), work)

    assert ended == ["0"]


def test_nothing_is_kept_behind_an_error() -> None:
    second = threading.Event()
    ended = []

    def work(item: str, turn: Turn) -> None:
        if item == "0":
            assert second.wait(10)
            raise ValueError(item)
        second.set()
        turn.come()
        ended.append(item)

    with pytest.raises(ValueError, match="0"):
        in_turn(numbers(9), work)

    assert ended == []


def test_what_fails_while_it_is_converted_ahead_comes_after_what_was_in_front() -> None:
    read = threading.Event()
    ended = []

    def items() -> Generator[str, None, None]:
        yield from numbers(2)
        read.set()
        raise ValueError("unreadable")

    def work(item: str, turn: Turn) -> None:
        assert item == "0" or read.wait(10)
        time.sleep(0.1)
        turn.come()
        ended.append(item)

    with pytest.raises(ValueError, match="unreadable"):
        in_turn(ahead(items(), str), work)

    assert ended == ["0", "1"]


def test_what_stands_in_the_way_of_those_in_front_is_undone_and_done_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overlap, "PATIENCE_S", 0.05)
    held = threading.Event()
    free = threading.Event()
    tries: list[str] = []
    ended = []

    def work(item: str, turn: Turn) -> None:
        tries.append(item)
        if item == "0":
            assert held.wait(10)
            assert free.wait(10)
        held.set()
        try:
            turn.come()
        except Exception:
            free.set()
            raise
        ended.append(item)

    in_turn(numbers(4), work)

    assert ended == ["0", "1", "2", "3"]
    assert sorted(tries) == ["0", "1", "1", "2", "3"]


def test_somebody_who_waits_for_a_chunk_and_lets_the_one_before_wait_stops_nothing(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlap, "PATIENCE_S", 2)
    rows = [["id", "Nom"], *([str(i), f"N{i}"] for i in range(8000))]
    table = open_table(csv_file(tmp_path, rows))
    id = uuid4()

    def load() -> Any:
        mapping = {"id": "external_id", "Nom": "last_name"}
        return engine.run(Steps(db), PEOPLE, table, mapping, {}, Options(), id, id)

    def waits_in_turn() -> bool:
        with db.reading(about()) as session:
            written = "state = 'idle in transaction' AND query LIKE 'RELEASE SAVEPOINT%'"
            waiting = text(f"SELECT count(*) FROM pg_stat_activity WHERE {written}")
            return session.scalar(waiting) == 1

    with ThreadPoolExecutor() as pool:
        with db.writing(about()) as somebody:
            add(somebody, "5")
            loading = pool.submit(load)
            assert wait_until(waits_in_turn, seconds=20)
            add(somebody, "4005")
        _, tally = loading.result(timeout=60)

    # Both rows were on their way when somebody added theirs; written again, they met what is there.
    assert dict(tally.counts) == {"created": 7998, "updated": 2, "unchanged": 0, "failed": 0}
    with db.reading(about()) as session:
        kept = text("SELECT count(*), count(DISTINCT external_id) FROM book_people")
        assert session.execute(kept).one() == (8000, 8000)


def add(session: Session, external_id: str) -> None:
    session.execute(
        text(
            "INSERT INTO book_people (id, tenant_id, version, created_at, updated_at, last_name,"
            " external_id) VALUES (gen_random_uuid(), :tenant, 1, now(), now(), 'Else', :id)"
        ),
        {"tenant": TENANT, "id": external_id},
    )
