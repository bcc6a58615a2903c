"""Marks on columns: what points at a record that may be merged or erased, and what is personal.

    class Opportunity(Record, Base):
        contact_id: Mapped[UUID | None] = points_at("contacts", deleted="unlink")

    class Note(Record, Base):
        about_id: Mapped[UUID] = points_at(
            "contacts", "companies", goes_with=True, deleted="follow"
        )

    class Message(Record, Base):
        to_address: Mapped[str | None] = personal(address=True)

A row that goes with what it points at is deleted when that is erased; any other stays, points at
nothing, and its personal columns are emptied. `deleted` says what becomes of the column when what
it points at is deleted (`liaison_kit.records.links`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Table, inspect
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

from liaison_kit.database.tables import DELETED, REFERS_TO, Deleted
from liaison_kit.records.recordtype import RecordType

_AT, _GOES, _PERSONAL, _ADDRESS, _FILE = "points_at", "goes_with", "personal", "address", "file"


def points_at(*records: str, deleted: Deleted, goes_with: bool = False, **options: Any) -> Any:
    """A column that names a record of one of these kinds; without any, of any kind."""
    said = {_AT: records, _GOES: goes_with, REFERS_TO: records, DELETED: deleted}
    return mapped_column(info=said, **options)


def personal(*types: Any, address: bool = False, **options: Any) -> Any:
    """A column with personal data; rows are also found by one that is an e-mail `address`."""
    return mapped_column(*types, info={_PERSONAL: True, _ADDRESS: address}, **options)


def names_a_file(**options: Any) -> Any:
    """A primary key that is a stored file's as well, which is deleted with the row."""
    return mapped_column(info={_FILE: True}, **options)


@dataclass(frozen=True, slots=True)
class Pointer:
    """A column that points at records, and its table; `kind` where its rows are told of."""

    table: Table
    column: str
    at: tuple[str, ...]
    goes_with: bool
    kind: RecordType | None

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns of the table's primary key."""
        return tuple(column.name for column in self.table.primary_key)

    @property
    def personal(self) -> tuple[str, ...]:
        """The columns that are emptied when what it points at is erased."""
        return tuple(c.name for c in self.table.c if c.info.get(_PERSONAL))

    @property
    def addresses(self) -> tuple[str, ...]:
        """The columns by whose e-mail address rows are found, too."""
        return tuple(c.name for c in self.table.c if c.info.get(_ADDRESS))

    @property
    def has_file(self) -> bool:
        """Whether a stored file is called as the row is."""
        return any(column.info.get(_FILE) for column in self.table.primary_key)


class Follower(Protocol):
    """What is about records and more than rows that point at them: a module, as a rule.

    Each tells how many rows of which tables it has changed.
    """

    @property
    def merged(self) -> Callable[[Session, str, UUID, UUID, UUID], Mapping[str, int]]:
        """Follow a record of a kind into another, for a request."""

    @property
    def unmerged(self) -> Callable[[Session, str, UUID, UUID, UUID], Mapping[str, int]]:
        """Follow it back, when the request is undone."""

    @property
    def erased(self) -> Callable[[Session, Sequence[UUID]], Mapping[str, int]]:
        """Forget what is held of records."""

    @property
    def held(self) -> Callable[[Session, Sequence[UUID]], Mapping[str, list[Any]]]:
        """What is held of records, by table."""


@dataclass(frozen=True)
class Holdings:
    """What a service holds of others' or its own records that may be merged or erased.

    `unsearched` are the tables in whose texts nobody is looked for, and why.
    """

    pointers: Sequence[Pointer]
    kinds: Mapping[str, RecordType]
    unsearched: Mapping[str, str]
    followers: Sequence[Follower] = ()

    @classmethod
    def of(
        cls,
        models: Iterable[type[DeclarativeBase]],
        kinds: Sequence[RecordType],
        unsearched: Mapping[str, str],
        followers: Sequence[Follower] = (),
    ) -> "Holdings":
        """What the marks of these models say."""
        by_table = {kind.table.name: kind for kind in kinds}
        own = {kind.name: kind for kind in kinds}
        return cls(tuple(pointers_of(models, by_table)), own, unsearched, followers)

    def at(self, record: str) -> list[Pointer]:
        """What points at records of a kind; what names none may point at any."""
        return [pointer for pointer in self.pointers if record in pointer.at or not pointer.at]


def pointers_of(
    models: Iterable[type[DeclarativeBase]], kinds: Mapping[str, RecordType] | None = None
) -> Iterator[Pointer]:
    """The columns of these models that point at records; `kinds` are the service's own by table."""
    known = kinds or {}
    for model in models:
        table = inspect(model).local_table
        assert isinstance(table, Table)
        for column in table.c:
            if _AT in column.info:
                info = column.info
                yield Pointer(table, column.name, info[_AT], info[_GOES], known.get(table.name))
