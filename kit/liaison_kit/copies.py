"""Kept copies: what a service keeps of another's records, to name them, join them, point at them.

    ACCOUNTS = KeptCopy(
        "companies", Account, saved=CompaniesSaved, removed=CompanyRemoved, known=KnownCompanies,
        found_by=("name", "external_id"),
    )

    class Sales(Service):
        copies = (ACCOUNTS,)

The table's columns say what is kept of what the event tells. The service hears of its copies by
itself; one that has more to do declares the handler (`on_companies_saved`) and calls `keep`. As a
`Reference` of an import it finds records by what a file calls them. What was told a moment ago and
has not come yet is asked of its owner.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import to_json
from sqlalchemy import Column, ColumnElement, Select, Table, func, inspect, or_, select, table
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from liaison_kit.calls.outside import answer_if_any, answer_to
from liaison_kit.context import context
from liaison_kit.database.statements import Statement
from liaison_kit.database.tables import TenantRow
from liaison_kit.events.saved import records_told
from liaison_kit.imports.references import SEVERAL, CannotCreate
from liaison_kit.records.search import fold
from liaison_kit.sight import Seen
from liaison_sdk.contracts.questions import FoundIds, Ids, Names
from liaison_sdk.events import Event

# Higher than any version that an owner will ever tell. An earlier release did not tell at which
# version something was removed, and nothing came back.
_LAST = 2**62

MOST_NAMES = 5000
"""How many names are looked through for what a misspelt one may have meant."""


class KeptRow(TenantRow):
    """The table of a kept copy; `folded` is its name as searches compare it."""

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    folded: Mapped[str]
    removed: Mapped[bool]
    version: Mapped[int]


@dataclass(frozen=True, eq=False)
class KeptCopy:
    """One kind of another service's records, as this service keeps it.

    `saved` tells some of them, newest version first heard or not; `removed` that one is gone.
    `known` is what their owner answers to `known_<record>`. `found_by` are the columns that a file
    may name one by, the best first. `seen` is the view of those that are there and that the person
    who asks may see, where rules are about their rows. `gone` is what the columns hold of one that
    is removed.
    """

    record: str
    model: type[KeptRow]
    saved: type[Event]
    removed: type[Event]
    known: type[BaseModel]
    found_by: tuple[str, ...] = ("name",)
    seen: Seen | None = None
    gone: Mapping[str, Any] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """The service whose records these are."""
        return self.saved.source

    @cached_property
    def table(self) -> Table:
        """Where they are kept."""
        found = inspect(self.model).local_table
        assert isinstance(found, Table)
        return found

    @property
    def view(self) -> str:
        """Where those are that are there and that the person who asks may see."""
        return f"present_{self.table.name}" if self.seen is None else self.seen.view

    def name_of(self, id: ColumnElement[Any]) -> ColumnElement[Any]:
        """SQL of what one is called, for who may see it; also of one that is gone, if it has it."""
        source = self.visible.c
        return select(source.name).where(source.id == id).scalar_subquery()

    def has(self, session: Session, id: UUID) -> bool:
        """Whether it may be pointed at, as far as is known here."""
        return bool(self._has.run(session, {"id": id}))

    @cached_property
    def _has(self) -> Statement:
        return Statement(f"SELECT 1 FROM {self.view} WHERE id = %(id)s")

    @cached_property
    def visible(self) -> Any:
        """Those that the person who asks may see, as SQL reads from it."""
        if self.seen is None:
            return self.table
        columns = (Column(c.name, c.type) for c in self.table.c if c.name != "removed")
        return table(self.seen.view, *columns)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """What is kept of what the event tells."""
        ours = {"tenant_id", "folded", "removed"}
        kept = tuple(name for name in self.table.c.keys() if name not in ours)  # noqa: SIM118
        _, told = records_told(self.saved)
        if strangers := set(kept) - set(told.model_fields):
            raise TypeError(f"{self.saved.__name__} tells nothing of {', '.join(strangers)}")
        return kept

    # --- what is told -----------------------------------------------------------------------------

    def keep(self, session: Session, event: Event) -> None:
        """Keep what was told, unless as much or more is known."""
        self.learn(session, getattr(event, records_told(self.saved)[0]))

    def learn(self, session: Session, records: Sequence[BaseModel]) -> None:
        """Keep these records; what is not newer than what is known is left out."""
        rows = [
            record.model_dump(include=set(self.fields)) | {"folded": fold(record.name)}  # type: ignore[attr-defined]
            for record in records
        ]
        told = {"tenant": context(session).tenant, "rows": to_json(rows).decode()}
        self._keep.run(session, told)

    def drop(self, session: Session, event: Event) -> None:
        """One is gone, whatever is told late of what it was; if it is restored, it is told anew."""
        assert self.removed.key_field is not None
        told = {
            "id": getattr(event, self.removed.key_field),
            "tenant": context(session).tenant,
            "version": getattr(event, "record_version", None) or _LAST,
        }
        self._drop.run(session, told | dict(self.gone))

    @cached_property
    def _keep(self) -> Statement:
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        types = {name: self.table.c[name].type.compile(dialect) for name in self.fields}
        columns = ", ".join((*self.fields, "folded"))
        told = ", ".join(f"{name} {type}" for name, type in (types | {"folded": "text"}).items())
        changes = [f"{name} = excluded.{name}" for name in (*self.fields, "folded", "removed")]
        # In the same order everywhere, so that two batches never wait for each other in a circle.
        return Statement(f"""
            INSERT INTO {self.table.name} AS kept (tenant_id, removed, {columns})
            SELECT DISTINCT ON (id) %(tenant)s::uuid, false, {columns}
              FROM jsonb_to_recordset(%(rows)s) AS told ({told})
             ORDER BY id, version DESC
            ON CONFLICT (id) DO UPDATE SET {", ".join(changes)}
            WHERE kept.version < excluded.version
        """)

    @cached_property
    def _drop(self) -> Statement:
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        others = [name for name in self.gone if name not in ("name", "folded")]
        columns = "".join(f", {name}" for name in others)
        values = "".join(
            f", %({name})s::{self.table.c[name].type.compile(dialect)}" for name in others
        )
        changes = "".join(f", {name} = excluded.{name}" for name in self.gone)
        return Statement(f"""
            INSERT INTO {self.table.name} AS kept
                (id, tenant_id, name, folded, removed, version{columns})
            VALUES (%(id)s, %(tenant)s, '', '', true, %(version)s{values})
            ON CONFLICT (id) DO UPDATE
                SET removed = true, version = excluded.version{changes}
            WHERE kept.version < excluded.version
        """)

    # --- what is asked ----------------------------------------------------------------------------

    def look_up(self, session: Session, id: UUID) -> None:
        """Have their owner tell of one that is not known; `Unavailable` when it does not answer.

        One that is hidden from the caller is answered like one that never was.
        """
        question = Ids(ids=[id]).model_dump_json().encode()
        answer = answer_to(session, self.owner, f"known_{self.record}", question)
        known = self.known.model_validate_json(answer)
        self.learn(session, getattr(known, self.record))

    def resolve(self, session: Session, values: Sequence[str]) -> dict[str, str]:
        """The ids of the records that are called so, or have this id; of several, `SEVERAL`.

        Unknown names are asked of their owner, once for all; if it is down, they stay unknown.
        """
        found = self._found(session, values) | ids_among(
            session, self._present(self.visible.c.id), values
        )
        unknown = [value for value in values if value not in found]
        if not unknown:
            return found
        question = Names(names=unknown).model_dump_json().encode()
        answer = answer_if_any(session, self.owner, f"resolve_{self.record}", question)
        if answer is None:
            return found
        asked = FoundIds.model_validate_json(answer).found
        self._learn_names(session, asked)
        return found | {name: str(id) for name, id in asked.items()}

    def names(self, session: Session, near: Sequence[str]) -> list[str]:
        """What misspelt names may have meant: all of few records, else likely ones."""
        named = self._present(self.visible.c.name)
        some = list(session.scalars(named.limit(MOST_NAMES + 1)))
        if len(some) <= MOST_NAMES:
            return some
        starts = {fold(value)[:3] for value in near[:200]}
        likely = (self.visible.c.folded.startswith(start, autoescape=True) for start in starts)
        return list(session.scalars(named.where(or_(*likely)).limit(MOST_NAMES)))

    def create(self, session: Session, values: Sequence[str]) -> NoReturn:
        """Another service's records aren't made by naming them."""
        raise CannotCreate(f"New {self.record} are made in {self.owner}")

    def _found(self, session: Session, values: Sequence[str]) -> dict[str, str]:
        """The first way of naming by which a value means one record, of several the active one.

        What none makes out of several is `SEVERAL`.
        """
        keys = {column: _Key(column) for column in self.found_by}
        spelt = {column: {value: key.of(value) for value in values} for column, key in keys.items()}
        active = self.visible.c.get("active")
        rows = self._present(
            self.visible.c.id,
            active if active is not None else self.visible.c.id.is_not(None),
            *(key.sql(self.visible) for key in keys.values()),
        ).where(
            or_(
                *(
                    key.sql(self.visible).in_(sorted(set(spelt[column].values())))
                    for column, key in keys.items()
                )
            )
        )
        known: dict[tuple[str, str], list[tuple[str, bool]]] = {}
        for id, is_active, *found in session.execute(rows):
            for column, name in zip(keys, found, strict=True):
                known.setdefault((column, name), []).append((str(id), is_active))
        picked = {key: id for key, those in known.items() if (id := _only_one(those)) is not None}
        meant = {
            value: next(
                (picked[at] for column in keys if (at := (column, spelt[column][value])) in picked),
                SEVERAL if any((c, spelt[c][value]) in known for c in keys) else None,
            )
            for value in values
        }
        return {value: id for value, id in meant.items() if id is not None}

    def _present(self, *columns: Any) -> Select[Any]:
        found = select(*columns)
        return found if self.seen is not None else found.where(~self.table.c.removed)

    def _learn_names(self, session: Session, found: Mapping[str, UUID]) -> None:
        """Keep what is known of a name; its owner's events, when they come, are newer than this."""
        tenant = context(session).tenant
        rows = [
            {"id": id, "tenant_id": tenant, "name": name, "folded": fold(name), "removed": False}
            | {"version": 0}
            | ({"active": True} if "active" in self.table.c else {})
            for name, id in sorted(found.items(), key=lambda pair: pair[1])
        ]
        if rows:
            session.execute(insert(self.table).on_conflict_do_nothing(), rows)


def ids_among(session: Session, ids: Select[Any], values: Sequence[str]) -> dict[str, str]:
    """Those values that are ids of the records that these are the ids of, as files have them."""
    meant = {value: str(UUID(value)) for value in values if _UUID.fullmatch(value)}
    if not meant:
        return {}
    (id,) = ids.selected_columns
    found = {str(one) for one in session.scalars(ids.where(id.in_(map(UUID, meant.values()))))}
    return {value: one for value, one in meant.items() if one in found}


_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class _Key:
    """A column that records are named by: ids as they are, addresses in any case, names folded."""

    column: str

    def of(self, value: str) -> str:
        if self.column == "name":
            return fold(value)
        return value.lower() if self.column == "email" else value

    def sql(self, source: Any) -> Any:
        if self.column == "name":
            return source.c.folded
        column = source.c[self.column]
        return func.lower(column) if self.column == "email" else column


def _only_one(those: Sequence[tuple[str, bool]]) -> str | None:
    active = [id for id, is_active in those if is_active]
    ids = active or [id for id, _ in those]
    return ids[0] if len(ids) == 1 else None
