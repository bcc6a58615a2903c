"""The statements that write a kind of record and answer with what readers get of it then.

Each is planned once per connection and therefore of all columns. SQL that belongs to a write may
ride along: it sees the row as it has become as `written`, and the row's values as its own places.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, bindparam, cast, func, or_, select
from sqlalchemy.dialects.postgresql import JSONB

from liaison_kit.database.queries import read_from, stand_in, text_of
from liaison_kit.database.statements import Statement
from liaison_kit.records.recordtype import RecordType, as_json

_STAYS = {"id", "tenant_id", "created_at", "created_by"}
KEEP = """
INSERT INTO history (id, tenant_id, record, record_id, version, action, at, by, changes)
VALUES (%(kept_id)s, %(kept_tenant)s, %(kept_record)s, %(id)s, %(kept_version)s, %(kept_action)s,
        %(kept_at)s, %(kept_by)s, %(kept_changes)s)
"""


@cache
def json_columns(kind: RecordType) -> frozenset[str]:
    """The columns that hold JSON, which the driver does not make of values by itself."""
    return frozenset(column.name for column in kind.table.c if isinstance(column.type, JSONB))


@cache
def lock(kind: RecordType, also: Sequence[ColumnElement[Any]] = ()) -> Statement:
    """The row of an id, nobody else changing it, and what is to be looked up with it.

    `peers` are the owners whose rows are seen; NULL stands for everybody.
    """
    rows = select(*kind.table.c, *also).where(kind.table.c.id == bindparam("id"))
    if kind.owner is not None:
        peers = cast(bindparam("peers"), ARRAY(kind.owner.type))
        rows = rows.where(or_(peers.is_(None), kind.owner == func.any(peers)))
    return Statement(rows.with_for_update(key_share=True, of=kind.table))


@cache
def insert(kind: RecordType, along: str | None = None) -> Statement:
    """A new row."""
    names = kind.column_names
    places = ", ".join(f"%({name})s" for name in names)
    write = f"INSERT INTO {kind.table.name} ({', '.join(names)}) VALUES ({places})"
    return Statement(_written(kind, write, along))


@cache
def update(kind: RecordType, along: str | None = None) -> Statement:
    """The row as it has become, if it is the one that was taken in hand, and its history."""
    changing = ", ".join(f"{name} = %({name})s" for name in kind.column_names if name not in _STAYS)
    write = (
        f"UPDATE {kind.table.name} SET {changing} WHERE id = %(id)s AND version = %(version)s - 1"
    )
    return Statement(_written(kind, write, KEEP, along))


@cache
def discard(kind: RecordType) -> Statement:
    """No row any more; it and what follows it are in the trash, and its history is kept."""
    table = kind.table.name
    owner = kind.owner.key if kind.owner is not None else "NULL::uuid"
    gone = "".join(
        f", gone_{follower} AS (DELETE FROM {follower} WHERE {column} = %(id)s RETURNING *)"
        for follower, column in kind.follows.items()
    )
    beside = ", ".join(
        f"'{follower}', (SELECT coalesce(jsonb_agg(to_jsonb(g)), '[]') FROM gone_{follower} g)"
        for follower in kind.follows
    )
    return Statement(f"""
        WITH kept AS ({KEEP}){gone},
            gone AS (DELETE FROM {table} WHERE id = %(id)s RETURNING *)
        INSERT INTO trash (id, tenant_id, record, record_id, owner_id, version, deleted_at,
            deleted_by, held, beside)
        SELECT %(trash_id)s, tenant_id, %(kept_record)s, id, {owner}, %(kept_version)s, %(kept_at)s,
            %(kept_by)s, to_jsonb(gone), jsonb_build_object({beside})
        FROM gone
    """)


@cache
def delete(kind: RecordType) -> Statement:
    """No row any more; its history."""
    return Statement(f"WITH kept AS ({KEEP}) DELETE FROM {kind.table.name} WHERE id = %(id)s")


def _written(kind: RecordType, write: str, *along: str | None) -> str:
    """What writes a row, what is written beside it, and the answer.

    The answer is followed by whether each of the row's references points at something: they are
    looked up here because a round trip costs more than the look does.
    """
    parts = [f"written AS ({write} RETURNING *)"]
    parts += [f"beside_{n} AS ({sql})" for n, sql in enumerate(filter(None, along))]
    written = read_from(kind.select(), kind.table, stand_in("written", kind.table))
    answer = text_of(as_json(written, "version"))
    looks = "".join(
        f", %({name})s IS NULL OR EXISTS (SELECT FROM {table} WHERE id = %({name})s)"
        for name, table in kind.references.items()
    )
    return f"WITH {', '.join(parts)} SELECT answer.*{looks} FROM ({answer}) answer"
