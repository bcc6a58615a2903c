"""Every column that points at a record says what becomes of it when that is deleted."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from sqlalchemy import Column, Uuid

from liaison_kit.database.migrations import services
from liaison_kit.database.tables import DELETED, REFERS_TO
from liaison_kit.records.recordtype import RecordType

ELSEWHERE = {
    "stages": "a pipeline's own rows, which `pipelines` keeps from going while something is there",
}
"""What columns point at that is no kind of record, and who sees to it."""

UNDECLARED = {
    "seen_messages.intent_id": "what a module asked for, which is no record",
}
"""Ids that point at no record, each with what they are."""


def service(name: str) -> Any:
    place, _, class_name = services()[name].partition(":")
    return getattr(import_module(place), class_name)


ALL = {name: service(name) for name in sorted(services())}
KINDS = {kind.name for each in ALL.values() for kind in each.records} | ELSEWHERE.keys()


def pointing(kind: RecordType) -> Iterator[Column[Any]]:
    for column in kind.table.c:
        named = column.name.endswith("_id") and column.name != "tenant_id"
        if named and isinstance(column.type, Uuid):
            yield column


def followers(kind: RecordType) -> Iterator[tuple[str, Column[Any]]]:
    for table, column in kind.follows.items():
        yield table, kind.table.metadata.tables[table].c[column]


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_reference_says_what_becomes_of_it(name: str) -> None:
    silent = {
        f"{kind.table.name}.{column.name}"
        for kind in ALL[name].records
        for column in pointing(kind)
        if DELETED not in column.info
    }

    assert silent - UNDECLARED.keys() == set()


def test_what_need_not_say_so_is_there_and_silent() -> None:
    silent = {
        f"{kind.table.name}.{column.name}"
        for found in ALL.values()
        for kind in found.records
        for column in pointing(kind)
        if DELETED not in column.info
    }

    assert UNDECLARED.keys() - silent == set()


@pytest.mark.parametrize("name", sorted(ALL))
def test_what_is_said_can_be_done(name: str) -> None:
    found: Any = ALL[name]
    own = {kind.name for kind in found.records}
    told = {each.record for each in found.points_to}
    told |= {copy.record for copy in found.copies if copy.others is not None}

    for kind in found.records:
        for column in pointing(kind):
            at, said = column.info.get(REFERS_TO, ()), column.info.get(DELETED)
            assert set(at) <= KINDS, column
            if said == "unlink":
                assert column.nullable, column
                assert set(at) <= own | told, f"nobody tells {name} that {at} are gone"
            if said == "refuse":
                assert set(at) <= own | ELSEWHERE.keys(), f"{at} are not {name}'s to refuse"
        for table, column in followers(kind):
            assert column.info.get(DELETED) == "follow", table
            assert not column.info[REFERS_TO] or kind.name in column.info[REFERS_TO], table


@pytest.mark.parametrize("name", sorted(ALL))
def test_what_says_that_it_follows_is_followed(name: str) -> None:
    found: Any = ALL[name]
    models = {mapper.class_ for mapper in found.records[0].model.registry.mappers}
    package = found.__module__.partition(".")[0]
    own = {kind.name: kind for kind in found.records}

    for model in models:
        if model.__module__.partition(".")[0] != package:
            continue
        for column in model.__table__.c:
            if column.info.get(DELETED) == "follow":
                for at in column.info[REFERS_TO]:
                    assert own[at].follows[model.__tablename__] == column.name
