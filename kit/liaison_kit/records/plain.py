"""Plain records: the rules of a kind of record that has none of its own.

    PRODUCTS = RecordType("products", …)
    products = Plain(PRODUCTS, told_by(PRODUCTS, ProductsSaved, ProductRemoved))

What is sent is what is stored: money as its amount and its currency. What the record is found by
the database makes, of the fields that the shape marks as searchable (`searched` of the migrations).
Others' records that it points at and that have not been told of yet are asked for. Where a kind has
rules, it overrides the one act that they are about.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from liaison_kit.database.tables import Record
from liaison_kit.events.resend import Told
from liaison_kit.privacy.moved import where_it_is
from liaison_kit.records.held import Held, values_of
from liaison_kit.records.recordtype import RecordType
from liaison_kit.records.writing import change, create, load, remove
from liaison_sdk.errors import InvalidInput
from liaison_sdk.types import Closed, Money


class Plain:
    """Adds, changes and deletes records of a kind, and tells the other services of it."""

    def __init__(self, kind: RecordType, told: Told | None = None) -> None:
        self.kind = kind
        self.told = told

    def create(self, session: Session, new: Closed) -> Held[Record]:
        """Add a record."""
        values = self.stored(new, type(new).model_fields)
        self._look_up(session, values)
        row = create(session, self.kind, self.kind.model, **values)
        self._tell(session, row)
        return row

    def change(self, session: Session, id: UUID, version: int, changes: Closed) -> Held[Record]:
        """Change what was sent, and nothing else."""
        row = load(session, self.kind, self.kind.model, id, version)
        values = self.stored(changes, changes.model_fields_set)
        before = values_of(row)
        self._look_up(session, {n: v for n, v in values.items() if before[n] != v})
        row, changed = change(session, self.kind, row, values)
        if changed:
            self._tell(session, row)
        return row

    def remove(self, session: Session, id: UUID, version: int) -> None:
        """Delete a record."""
        remove(session, self.kind, load(session, self.kind, self.kind.model, id, version))
        if self.told is not None:
            self.told.removed(session, [id])

    def stored(self, given: Closed, names: Iterable[str]) -> dict[str, Any]:
        """The named fields of what was sent, as the table holds them."""
        values: dict[str, Any] = {}
        for name in names:
            value = getattr(given, name)
            if f"{name}_amount" in self.kind.table.c:
                values |= self._money(name, value)
                continue
            if value is None and not self.kind.table.c[name].nullable:
                # Null clears a field; this one can't be clear.
                raise InvalidInput.field(name, "missing", f"{name} can't be empty")
            values[name] = value
        if "custom" in values:
            values["custom"] = values["custom"] or None
        return values

    def _tell(self, session: Session, row: Held[Record]) -> None:
        if self.told is None:
            return
        if self.told.one is not None:
            self.told.one(session, row)
        else:
            self.told.saved(session, [row.id])

    def _money(self, name: str, value: Money | None) -> dict[str, Any]:
        own = f"{name}_currency"
        currency = own if own in self.kind.table.c else "currency"
        if value is None:
            return {f"{name}_amount": None, currency: None}
        return {f"{name}_amount": value.amount, currency: str(value.currency)}

    def _look_up(self, session: Session, values: Mapping[str, Any]) -> None:
        for column, copy in self.kind.copies.items():
            id = values.get(column)
            if id is None or copy.has(session, id):
                continue
            # One that was merged is known by another id, which the database writes in its place.
            now = where_it_is(session, id)
            if now in (None, id) or not copy.has(session, now):
                copy.look_up(session, id)


def refuse_nulls(changes: Closed, *names: str) -> None:
    """Null clears a field; these can't be clear."""
    for name in names:
        if name in changes.model_fields_set and getattr(changes, name) is None:
            raise InvalidInput.field(name, "missing", f"{name} can't be empty")
