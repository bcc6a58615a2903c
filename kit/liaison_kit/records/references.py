"""References: what a record points at has to be a row of the same tenant."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import inspect
from sqlalchemy.orm import Session

from liaison_kit.calls.outside import may_ask
from liaison_kit.database.statements import Statement
from liaison_kit.database.tables import TenantRow
from liaison_kit.privacy.moved import where_now
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.errors import FieldError, InvalidInput


def demand(session: Session, **references: tuple[type[TenantRow], UUID | None]) -> None:
    """References must point at rows of this tenant; every one that does not is a bad field.

    `company_id=(Company, id)`; nobody is pointed at by None. For what has to be known before
    writing, as where foreign keys would name only the first; see `RecordType.references`.
    """
    given = {path: id for path, (_, id) in references.items() if id is not None}
    if not given:
        return
    tables = tuple((path, inspect(references[path][0]).local_table.name) for path in given)
    (found,) = _look_up(tables).run(session, given)
    missing = [path for path, exists in zip(given, found, strict=True) if not exists]
    if missing:
        raise unknown(missing)


def unknown(paths: Iterable[str]) -> InvalidInput:
    """These fields point at nothing."""
    return InvalidInput(
        "Some references point at nothing",
        [
            FieldError(path, "unknown_reference", f"{path} names no record of yours")
            for path in paths
        ],
    )


def is_told_now(session: Session, kind: RecordType, pointed: Mapping[str, UUID]) -> bool:
    """Whether all that these columns name is there after its owners were asked.

    What was made a moment ago has perhaps not been told yet.
    """
    if not may_ask(session) or not pointed.keys() <= kind.copies.keys():
        return False
    for name, id in pointed.items():
        kind.copies[name].look_up(session, id)
    return _all_there(session, kind, pointed)


def has_moved(session: Session, kind: RecordType, pointed: Mapping[str, UUID]) -> bool:
    """Whether all that these columns name was merged into records that are there.

    The database has written those in their place (`liaison_kit.privacy`).
    """
    moved = where_now(session, list(pointed.values()))
    if any(moved.get(id) is None for id in pointed.values()):
        return False
    return _all_there(session, kind, {name: moved[id] for name, id in pointed.items()})


def _all_there(session: Session, kind: RecordType, pointed: Mapping[str, Any]) -> bool:
    tables = tuple((name, kind.references[name]) for name in pointed)
    (found,) = _look_up(tables).run(session, pointed)
    return all(found)


@cache
def _look_up(tables: tuple[tuple[str, str], ...]) -> Statement:
    looks = (f"EXISTS (SELECT FROM {table} WHERE id = %({path})s)" for path, table in tables)
    return Statement("SELECT " + ", ".join(looks))
