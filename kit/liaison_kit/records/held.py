"""Records in hand: what is held of a record is a frozen copy of its row, as it was read or written.

SQLAlchemy does not know of it, nothing writes it back, and setting a field fails: only `change`
changes a record, and hands back another copy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar, cast

from liaison_kit.database.tables import Record
from liaison_kit.records.recordtype import RecordType

R = TypeVar("R", bound=Record)

Held = Annotated[R, "a frozen copy of its row"]
"""A record in hand: `Held[Company]` has the columns of `Company` as its attributes.

To a type checker it is therefore its model; it is no instance of it.
"""


@dataclass(frozen=True, slots=True)
class _Copy:
    """What the copies of all kinds of record have beside their columns."""

    _columns: ClassVar[tuple[str, ...]]
    _answer: bytes | None


@cache
def _copies_of(kind: RecordType) -> type[_Copy]:
    columns = tuple(kind.table.c.keys())
    return make_dataclass(
        kind.model.__name__,
        [(name, Any) for name in columns],
        bases=(_Copy,),
        namespace={"_columns": columns},
        frozen=True,
        slots=True,
    )


def held(
    kind: RecordType, model: type[R], values: Mapping[str, Any], answer: bytes | None = None
) -> Held[R]:
    """A copy of the row of these values, and what readers get of the record, if that is known."""
    copies = _copies_of(kind)
    if unknown := values.keys() - set(copies._columns):
        raise TypeError(f"{model.__name__} has no {', '.join(sorted(unknown))}")
    return cast(R, copies(answer, *(values[name] for name in copies._columns)))


def values_of(row: Held[Record]) -> dict[str, Any]:
    """The record's values by column."""
    return {name: getattr(row, name) for name in cast(_Copy, row)._columns}


def answer_of(row: Held[Record]) -> bytes | None:
    """What readers get of the record, if this copy is of what has just been written."""
    return cast(_Copy, row)._answer
