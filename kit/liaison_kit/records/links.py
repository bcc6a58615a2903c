"""Links: what becomes of a reference when what it points at is deleted, as its column says.

    product_id: Mapped[UUID | None] = refers_to("products", deleted="refuse")
    company_id: Mapped[UUID | None] = points_at("companies", deleted="unlink")
    about_id: Mapped[UUID] = points_at("contacts", "companies", goes_with=True, deleted="follow")
    owner_id: Mapped[UUID | None] = refers_to("users", deleted="stays")

`refuse`: what is pointed at can't be deleted; the answer says what is in the way. `unlink`: the
column is emptied, which history tells, and is filled again if what it named comes back and nothing
else has taken its place. `follow`: the row goes to the trash with it (`RecordType.follows`) and
comes back with it. `stays`: the id stands for something that happened, and is still named where
names are kept.

`unlink` works across services too, by what their owner tells (`Others`). `gone_records` are the
deleted ones, with what came back. What would point at a deleted one by a late write points at
nothing, and is remembered as well (the triggers of `privacy.tables`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.database.migrations import Op, application_role, enable_tenancy
from liaison_kit.database.tables import DELETED, INSTEAD, REFERS_TO, Deleted
from liaison_kit.ids import uuid7
from liaison_kit.listing.row_rules import row_rule
from liaison_kit.privacy.moved import wait_for_writers
from liaison_sdk.errors import Conflict
from liaison_sdk.events import Event

if TYPE_CHECKING:
    from liaison_kit.records.recordtype import RecordType

_COUNTED = 1000

# A day longer than the trash keeps what may come back.
_TABLES = """
CREATE TABLE gone_records (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    version bigint NOT NULL,
    gone boolean NOT NULL
);

CREATE TABLE unlinked_records (
    tenant_id uuid NOT NULL,
    place text NOT NULL,
    row_id uuid NOT NULL,
    gone_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (place, row_id)
);

CREATE INDEX ix_unlinked_records_gone ON unlinked_records (gone_id);

CREATE INDEX ix_unlinked_records_at ON unlinked_records (at);

CREATE FUNCTION forget_unlinked() RETURNS void LANGUAGE sql
SECURITY DEFINER SET search_path = public
AS $$
    DELETE FROM unlinked_records WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM unlinked_records
        WHERE at < now() - interval '31 days' LIMIT 1000))
$$;

REVOKE EXECUTE ON FUNCTION forget_unlinked() FROM public
"""


def link_tables(op: Op) -> None:
    """What a service remembers of deleted records, as one of its migrations makes it."""
    for statement in _TABLES.split(";\n\n"):
        op.execute(statement)
    for table in ("gone_records", "unlinked_records"):
        enable_tenancy(op, table)
    op.execute(f"GRANT EXECUTE ON FUNCTION forget_unlinked() TO {application_role(op)}")


class InUse(Conflict):
    """Something points at what was to be deleted, and says that it has to stay."""

    code, title = "in_use", "Something still points at this record"

    def __init__(self, detail: str, in_the_way: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(detail)
        self.in_the_way = in_the_way

    def problem(self) -> dict[str, Any]:
        """The problem, with how many records of which kinds are in the way.

        Those that the caller may not see are not counted: `hidden` says that there are some.
        """
        return super().problem() | {"in_the_way": list(self.in_the_way)}


@dataclass(frozen=True, eq=False)
class Referrer:
    """A column by which records of a kind point at others; `saved` tells of some that changed."""

    kind: "RecordType"
    column: str
    at: tuple[str, ...]
    deleted: Deleted
    instead: str | None = None
    saved: Callable[[Session, Sequence[UUID]], None] | None = None

    @property
    def place(self) -> str:
        """What it is called where it is remembered, as triggers do."""
        return f"{self.kind.table.name}.{self.column}"


@dataclass(frozen=True, eq=False)
class Others:
    """A kind of another service's records that columns point at, and what tells of its deletions.

    `drop` has a kept copy know of it in the same transaction.
    """

    record: str
    removed: type[Event]
    restored: type[Event]
    drop: Callable[[Session, Event], None] | None = None

    def heard(self, session: Session, event: Event, referrers: Iterable[Referrer]) -> None:
        """One is gone, or back again: who pointed at it doesn't, or does again.

        One that was merged or erased is said to be, and is another event's matter.
        """
        assert event.key_field is not None
        id = getattr(event, event.key_field)
        versions = {id: getattr(event, "record_version", None) or NEVER_BACK}
        pointing = [each for each in referrers if self.record in each.at]
        if isinstance(event, self.restored):
            link_again(session, came_back(session, versions), pointing)
        elif getattr(event, "because", None) == "deleted":
            if self.drop is not None:
                self.drop(session, event)
            unlink(session, versions, pointing)


def referrers_of(
    kinds: Sequence["RecordType"],
    saved: Mapping[str, Callable[[Session, Sequence[UUID]], None]] | None = None,
) -> list[Referrer]:
    """The columns of these kinds that say what becomes of them; `saved` tells of a kind by name."""
    return [
        Referrer(
            kind,
            column.name,
            column.info[REFERS_TO],
            column.info[DELETED],
            column.info.get(INSTEAD),
            (saved or {}).get(kind.name),
        )
        for kind in kinds
        for column in kind.table.c
        if DELETED in column.info
    ]


def join(
    kinds: Sequence["RecordType"],
    saved: Mapping[str, Callable[[Session, Sequence[UUID]], None]] | None = None,
) -> list[Referrer]:
    """Have the kinds of a service know which of them point at which; all that point anywhere."""
    referrers = referrers_of(kinds, saved)
    tables = {kind.name: kind.table.name for kind in kinds}
    for kind in kinds:
        kind.referrers = tuple(each for each in referrers if kind.name in each.at)
        kind.homes = {
            each.column: tables[each.at[0]]
            for each in referrers
            if each.kind is kind and len(each.at) == 1 and each.at[0] in tables
        }
    return referrers


# --- refusing -------------------------------------------------------------------------------------


def refuse(session: Session, kind: "RecordType", id: UUID) -> None:
    """`InUse` where something points at the record that has to be changed first."""
    found = [
        (each, *_in_the_way(session, each, id))
        for each in kind.referrers
        if each.deleted == "refuse"
    ]
    found = [(each, count, hidden) for each, count, hidden in found if count or hidden]
    if not found:
        return
    said = [_counted(count, each.kind.name) for each, count, _ in found if count]
    if any(hidden for *_, hidden in found):
        said.append("records that you may not see")
    instead = next((each.instead for each, *_ in found if each.instead), None)
    raise InUse(
        f"{' and '.join(said).capitalize()} point at it; {instead or 'change those first'}",
        [
            {"record": each.kind.name, "count": count, "hidden": hidden}
            for each, count, hidden in found
            if count
        ],
    )


def _counted(count: int, name: str) -> str:
    return f"more than {_COUNTED:,} {name}" if count > _COUNTED else f"{count} {name}"


def _in_the_way(session: Session, referrer: Referrer, id: UUID) -> tuple[int, bool]:
    """How many rows point at it that the caller may see, and whether others do."""
    kind = referrer.kind
    principal = context(session).principal
    _, peers = row_rule(session, kind)
    seen = "true"
    values: dict[str, Any] = {"id": id}
    if principal is not None and not principal.may(kind.permission):
        seen = "false"
    elif peers is not None:
        assert kind.owner is not None
        seen = f"coalesce({kind.owner.key} = ANY(CAST(:peers AS uuid[])), false)"
        values["peers"] = list(peers)
    count, hidden = session.execute(
        text(
            "SELECT count(*) FILTER (WHERE seen), coalesce(bool_or(NOT seen), false)"
            f" FROM (SELECT {seen} AS seen FROM {kind.table.name}"
            f" WHERE {referrer.column} = :id LIMIT {_COUNTED + 1}) found"
        ),
        values,
    ).one()
    return count, hidden


# --- unlinking ------------------------------------------------------------------------------------

# Entries that are written together keep their order by their ids, which are made here.
_SAY = """
INSERT INTO history (id, tenant_id, record, record_id, version, action, at, by, changes)
SELECT given.entry, :tenant, :record, t.id, t.version, :action, :now, :by,
       jsonb_build_object(CAST(:column AS text), CASE WHEN :action = 'unlinked'
           THEN jsonb_build_array(given.other, NULL) ELSE jsonb_build_array(NULL, given.other) END)
  FROM unnest(CAST(:entries AS uuid[]), CAST(:rows AS uuid[]), CAST(:others AS uuid[]))
       AS given (entry, id, other)
  JOIN {table} t ON t.id = given.id
"""

_UNLINK = """
WITH those AS (
    SELECT id, {column} AS was FROM {table} WHERE {column} = ANY(:ids) ORDER BY id FOR UPDATE
), moved AS (
    UPDATE {table} t SET {column} = NULL, version = t.version + 1, updated_at = :now,
           updated_by = :by
      FROM those WHERE t.id = those.id RETURNING t.id, t.version, those.was
), remembered AS (
    INSERT INTO unlinked_records (tenant_id, place, row_id, gone_id)
    SELECT :tenant, :place, id, was FROM moved
    ON CONFLICT (place, row_id) DO UPDATE SET gone_id = excluded.gone_id, at = excluded.at
)
SELECT id, was FROM moved
"""

# One that is in the trash itself comes out of it with what it pointed at.
_LINK = """
WITH those AS (
    DELETE FROM unlinked_records WHERE place = :place AND gone_id = ANY(:ids)
    RETURNING row_id, gone_id
), moved AS (
    UPDATE {table} t SET {column} = those.gone_id, version = t.version + 1, updated_at = :now,
           updated_by = :by
      FROM those WHERE t.id = those.row_id AND t.{column} IS NULL
    RETURNING t.id, t.version, those.gone_id
), resting AS (
    UPDATE trash SET held = held || jsonb_build_object(CAST(:column AS text), those.gone_id)
      FROM those
     WHERE trash.record = :record AND trash.record_id = those.row_id
       AND trash.held ->> :column IS NULL
)
SELECT id, gone_id FROM moved
"""


def unlink(session: Session, versions: Mapping[UUID, int], referrers: Iterable[Referrer]) -> None:
    """These are deleted: columns that let go of them point at nothing, and it is remembered.

    The versions are those at which they were deleted: of one that is known to have come back at a
    later one it is old news. Whoever is about to point at one of them is waited for.
    """
    letting_go = _unlinked(referrers)
    if not letting_go or not versions:
        return
    ids = _know(session, versions, gone=True)
    for each in letting_go if ids else ():
        _run(session, _UNLINK, "unlinked", each, ids)


def came_back(session: Session, versions: Mapping[UUID, int]) -> Sequence[UUID]:
    """From now on they may be pointed at again; those of which it was not known."""
    return _know(session, versions, gone=False)


def link_again(session: Session, ids: Sequence[UUID], referrers: Iterable[Referrer]) -> None:
    """These are back: what let go of them and points at nothing still, points at them."""
    for each in _unlinked(referrers):
        _run(session, _LINK, "linked_again", each, ids)


def remember(session: Session, referrer: Referrer, row: UUID, gone: UUID) -> None:
    """A row has come back without what it pointed at, which may come back later."""
    values = {
        "tenant": context(session).tenant,
        "place": referrer.place,
        "row": row,
        "gone": gone,
    }
    session.execute(_REMEMBER, values)


def forget(session: Session, ids: Sequence[UUID]) -> None:
    """These never come back, and nothing is known of who pointed at them."""
    session.execute(text("DELETE FROM unlinked_records WHERE gone_id = ANY(:ids)"), {"ids": ids})
    session.execute(text("DELETE FROM gone_records WHERE id = ANY(:ids)"), {"ids": ids})


NEVER_BACK = 2**62
"""Higher than any version: of what is gone for good, or not told at which."""

_KNOW = text(
    "INSERT INTO gone_records AS known (id, tenant_id, version, gone)"
    " SELECT id, :tenant, version, :gone"
    "   FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS bigint[])) AS told (id, version)"
    " ON CONFLICT (id) DO UPDATE SET version = excluded.version, gone = excluded.gone"
    "  WHERE known.version < excluded.version RETURNING id"
)
_REMEMBER = text(
    "INSERT INTO unlinked_records (tenant_id, place, row_id, gone_id)"
    " VALUES (:tenant, :place, :row, :gone) ON CONFLICT (place, row_id)"
    " DO UPDATE SET gone_id = excluded.gone_id, at = excluded.at"
)


def _unlinked(referrers: Iterable[Referrer]) -> list[Referrer]:
    return [each for each in referrers if each.deleted == "unlink"]


def _know(session: Session, versions: Mapping[UUID, int], gone: bool) -> Sequence[UUID]:
    # In the same order everywhere, so that two batches never wait for each other in a circle.
    for id in sorted(versions):
        wait_for_writers(session, id)
    told = {
        "ids": list(versions),
        "versions": list(versions.values()),
        "tenant": context(session).tenant,
        "gone": gone,
    }
    return session.scalars(_KNOW, told).all()


def _run(
    session: Session, statement: str, action: str, referrer: Referrer, ids: Sequence[UUID]
) -> None:
    about = context(session)
    kind = referrer.kind
    values = {
        "tenant": about.tenant,
        "record": kind.name,
        "column": referrer.column,
        "now": about.now,
        "by": about.user,
    }
    named = text(statement.format(table=kind.table.name, column=referrer.column))
    moved = session.execute(named, values | {"ids": list(ids), "place": referrer.place}).all()
    if not moved:
        return
    rows = [row[0] for row in moved]
    session.execute(
        text(_SAY.format(table=kind.table.name)),
        values
        | {
            "action": action,
            "entries": [uuid7() for _ in rows],
            "rows": rows,
            "others": [row[1] for row in moved],
        },
    )
    if referrer.saved is not None:
        referrer.saved(session, rows)
