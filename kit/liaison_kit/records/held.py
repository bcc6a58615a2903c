"""Records in hand: what is held of a record is a frozen copy of its row, as it was read or written.

SQLAlchemy does not know of it, nothing writes it back, and setting a field fails: only `change`
changes a record, and hands back another copy.
"""

from collections import namedtuple
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, TypeVar, cast

from liaison_kit.database.tables import Record
from liaison_kit.records.recordtype import RecordType

R = TypeVar("R", bound=Record)

Held = Annotated[R, "a frozen copy of its row"]
"""A record in hand: `Held[Company]` has the columns of `Company` as its attributes.

To a type checker it is therefore its model; it is no instance of it.
"""


@cache
def _copies_of(kind: RecordType) -> Any:
    """The type of the copies: a named tuple of the columns, and of what readers get last of all."""
    return namedtuple(kind.model.__name__, (*kind.column_names, "as_answered"))


def held(
    kind: RecordType, model: type[R], row: Sequence[Any], answer: bytes | None = None
) -> Held[R]:
    """A copy of a row, and what readers get of the record, if that is known."""
    return cast(R, _copies_of(kind)._make((*row, answer)))


def values_of(row: Held[Record]) -> dict[str, Any]:
    """The record's values by column."""
    values: dict[str, Any] = cast(Any, row)._asdict()
    del values["as_answered"]
    return values


def answer_of(row: Held[Record]) -> bytes | None:
    """What readers get of the record, if this copy is of what has just been written."""
    answer: bytes | None = cast(Any, row).as_answered
    return answer
