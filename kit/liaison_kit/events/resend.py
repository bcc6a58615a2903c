"""Telling of records what other services keep of them, and telling it again.

    tells = (Told(COMPANIES, companies.tell, companies.tell_removed),)

Who is installed later, or was restored from a backup, has not heard what was told before. A job
walks through the records that are there and those that are gone, and tells of them by the same
events as when they were changed; receivers know by the versions what is new to them
(docs/decisions/telling-again.md).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session

from liaison_kit.database.tables import Record
from liaison_kit.events.outbox import emit
from liaison_kit.events.saved import records_told
from liaison_kit.jobs import Run
from liaison_kit.records.held import Held, values_of
from liaison_kit.records.history import History, removals
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.events import Event

BATCH = 500
"""Of how many records one event tells."""

Tell = Callable[[Session, Sequence[UUID]], None]


@dataclass(frozen=True, slots=True)
class Told:
    """A kind of record of which others keep something, and how they are told of some of them.

    `saved` tells what there is of them now; `removed` tells that they are gone. `one` tells of a
    record in hand, where that needs no looking up. `restored` tells that deleted ones are back,
    beside what there is of them. `types` are the types of the events.
    """

    kind: RecordType
    saved: Tell
    removed: Tell
    one: Callable[[Session, Held[Record]], None] | None = None
    types: tuple[str, ...] = ()
    restored: Tell | None = None


def told_by(kind: RecordType, saved: type[Event], removed: type[Event]) -> Told:
    """How records are told of by events whose fields are called like the table's columns."""
    field, shape = records_told(saved)
    key = removed.key_field
    assert key is not None
    kept = [kind.table.c[name] for name in shape.model_fields]

    def tell_of(session: Session, row: Held[Record]) -> None:
        known = values_of(row)
        ref = shape.model_validate({name: known[name] for name in shape.model_fields})
        emit(session, saved.model_validate({field: [ref]}))

    def tell(session: Session, ids: Sequence[UUID]) -> None:
        for some in batches(ids):
            rows = session.execute(select(*kept).where(kind.table.c.id == func.any(list(some))))
            refs = [shape.model_construct(**row._mapping) for row in rows]
            emit(session, saved.model_validate({field: refs}))

    def tell_removed(session: Session, ids: Sequence[UUID]) -> None:
        versions = removals(session, kind, ids)
        for id in ids:
            emit(session, removed.model_validate({key: id, "record_version": versions.get(id)}))

    return Told(kind, tell, tell_removed, tell_of, (saved.type, removed.type))


def batches(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    """As many at a time as one event tells of."""
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def tell_again(run: Run, tells: Sequence[Told]) -> None:
    """Tell of every record, a batch per transaction, in the order of their ids.

    What is changed meanwhile is told by whoever changes it. Of two tellings the one with the higher
    version counts, whichever comes first, so no row has to be locked.
    """
    walks = [
        walk
        for told in tells
        for walk in (
            _Walk(told.kind.name, _present(told.kind), told.saved),
            _Walk(f"{told.kind.name} removed", _removed(told.kind), told.removed),
        )
    ]
    if run.total is None:
        with run.step() as session:
            run.total = sum(walk.count(session) for walk in walks)
    for walk in walks:
        more = True
        while more:
            with run.step() as session:
                ids = walk.after(session, run.checkpoint.get(walk.name))
                walk.tell(session, ids)
                if ids:
                    run.checkpoint[walk.name] = str(ids[-1])
                run.done += len(ids)
                more = len(ids) == BATCH


@dataclass(frozen=True, slots=True)
class _Walk:
    """Ids to go through, by a name under which the job's checkpoint keeps the last one."""

    name: str
    ids: Select[Any]
    tell: Tell

    def count(self, session: Session) -> int:
        return session.scalar(select(func.count()).select_from(self.ids.subquery())) or 0

    def after(self, session: Session, last: str | None) -> Sequence[UUID]:
        (id,) = self.ids.selected_columns
        wanted = self.ids if last is None else self.ids.where(id > UUID(last))
        return session.scalars(wanted.order_by(id).limit(BATCH)).all()


def _present(kind: RecordType) -> Select[Any]:
    return select(kind.table.c.id)


def _removed(kind: RecordType) -> Select[Any]:
    # The history of a record outlives it; `ix_history_removed` finds its end. It may be back.
    there = exists().where(kind.table.c.id == History.record_id)
    gone = History.record == kind.name, History.action == "removed", ~there
    return select(History.record_id).distinct().where(*gone)
