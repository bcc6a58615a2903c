"""The outbox: events are written in the transaction of the change that they tell of.

`emit` only collects. Everything is written in one statement together with the commit, after all
other changes have been flushed: the rows' locks are taken by then, so two transactions that change
the same record number their events in the order of their commits.
"""

import zlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

import pydantic_core
from sqlalchemy import event as sa_event
from sqlalchemy.orm import Session, SessionTransaction

from liaison_kit.context import context
from liaison_kit.database.prepared import Prepared
from liaison_kit.database.sessions import WritingSession
from liaison_kit.database.transactions import AND_COMMIT
from liaison_kit.ids import uuid7
from liaison_sdk.events import Event

SLOTS = 16
"""Into how many slots the keys of a service's events fall; queues are shared out by slot."""

CHANNEL = "outbox"
_CHUNK = 1000
_PENDING, _MARKS, _KEPT = "outbox", "outbox_marks", "outbox_kept"


class LocalRelay(Protocol):
    """The relay of this process: while it leads it is told here, which spares PostgreSQL a notice.

    A notice costs 0.15 ms of CPU and more, and transactions that send one commit one by one.
    """

    leads: bool

    def ring(self) -> None:
        """There is something to send, and it is committed."""


class Row(NamedTuple):
    """One message to be: an event, or a failed one on its way back to its handler's queue."""

    event_id: str
    to_queue: str | None
    routing_key: str
    body: str
    turn: int
    traceparent: str | None
    key: str | None
    """Of an event: those of one key are sent one after the other."""


def emit(session: Session, event: Event, *, source: str | None = None) -> UUID:
    """Tell the other services a fact, if this transaction commits; returns the event's id.

    `source` is for what several services tell, each in its own name.
    """
    return _emit(session, type(event), event.key, pydantic_core.to_json(event), source)


def emit_json(session: Session, kind: type[Event], data: str) -> UUID:
    """Tell a fact about many records whose JSON PostgreSQL has built."""
    assert kind.key_field is None, "only an event about one record has its key"
    return _emit(session, kind, None, data.encode())


def _emit(
    session: Session, kind: type[Event], key: str | None, data: bytes, source: str | None = None
) -> UUID:
    about = context(session)
    identifier = uuid7()
    key = key or str(identifier)
    envelope = pydantic_core.to_json(
        {
            "id": identifier,
            "type": kind.type,
            "version": kind.version,
            "source": source or kind.source,
            "tenant": about.tenant,
            "actor": about.user,
            "occurred_at": about.now,
            "key": key,
            "correlation_id": about.correlation_id,
            "causation_id": about.causation_id,
            "traceparent": about.traceparent,
        }
    )
    body = (envelope[:-1] + b',"data":' + data + b"}").decode()
    routing_key = f"{kind.type}.{slot(key)}"
    _add(session, Row(str(identifier), None, routing_key, body, 0, about.traceparent, key))
    return identifier


def send_to_queue(session: Session, queue: str, event_id: UUID, body: str, turn: int) -> None:
    """Put an event that has travelled already into a queue, if this transaction commits."""
    _add(session, Row(str(event_id), queue, queue, body, turn, None, None))


def slot(key: str) -> int:
    """Where a key falls; stable for ever, since bindings of queues depend on it."""
    return zlib.crc32(key.encode()) % SLOTS


def pending(session: Session) -> Sequence[Row]:
    """What this transaction would send if it committed now."""
    return tuple(session.info.get(_PENDING, ()))


def _add(session: Session, row: Row) -> None:
    session.info.setdefault(_PENDING, []).append(row)


@sa_event.listens_for(Session, "before_commit")
def _write(session: Session) -> None:
    if _PENDING not in session.info or session.in_nested_transaction():
        return
    # Flushing first takes the locks, and lets listeners of the flush tell their own facts. What
    # they add to the session has to be written before the commit, too.
    while session.new or session.dirty or session.deleted:
        session.flush()
    rows: list[Row] = session.info.pop(_PENDING)
    relay: LocalRelay | None = session.info.get("relay")
    here = relay is not None and relay.leads
    if len(rows) == 1 and isinstance(session, WritingSession):
        session.fetch(_ONE if here else _ONE_WITH_NOTICE, rows[0], AND_COMMIT)
    else:
        _write_many(session, rows, "" if here else _NOTICE)
    if here and relay is not None:
        relay.ring()


def _write_many(session: Session, rows: list[Row], notice: str) -> None:
    connection = session.connection()
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        end = notice + AND_COMMIT if start + _CHUNK >= len(rows) else ""
        values = tuple(value for row in chunk for value in row)
        places = ", ".join(["(%s::uuid, %s, %s, %s, %s, %s, %s)"] * len(chunk))
        connection.exec_driver_sql(_INSERT + places + end, values)


_INSERT = (
    "INSERT INTO outbox (event_id, to_queue, routing_key, body, turn, traceparent, key) VALUES "
)
_NOTICE = f"; SELECT pg_notify('{CHANNEL}', '')"
_PLACES = "($1, $2, $3, $4, $5, $6, $7)"
_ONE = Prepared(_INSERT + _PLACES, 7)
_ONE_WITH_NOTICE = Prepared(
    f"WITH written AS ({_INSERT}{_PLACES}) SELECT pg_notify('{CHANNEL}', '')", 7
)


@sa_event.listens_for(Session, "after_transaction_create")
def _mark_savepoint(session: Session, transaction: SessionTransaction) -> None:
    if transaction.nested:
        session.info.setdefault(_MARKS, []).append(len(session.info.get(_PENDING, ())))


@sa_event.listens_for(Session, "after_commit")
def _mark_kept(session: Session) -> None:
    # Its end is told right after this, as is that of a savepoint that was rolled back.
    session.info[_KEPT] = session.get_nested_transaction()


@sa_event.listens_for(Session, "after_rollback")
def _forget(session: Session) -> None:
    # Where SQLAlchemy has a part in the transaction, it tells of the end of each level of it.
    if not session.in_transaction():
        session.info.pop(_PENDING, None)


@sa_event.listens_for(Session, "after_transaction_end")
def _end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.nested:
        mark = session.info[_MARKS].pop()
        if session.info.pop(_KEPT, None) is not transaction and _PENDING in session.info:
            del session.info[_PENDING][mark:]
    elif transaction.parent is None:
        session.info.pop(_PENDING, None)
        session.info.pop(_KEPT, None)
