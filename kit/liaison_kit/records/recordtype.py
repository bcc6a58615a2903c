"""What a kind of record is: its table, the shape that readers get, and how the two meet.

Records are read as JSON that PostgreSQL builds. A list of 50 costs a quarter of the CPU of loading
rows into objects and writing those out again (docs/decisions/json-from-postgresql.md), and the
shape stays declared once, as the Pydantic model that the OpenAPI document shows.
"""

import datetime as dt
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Table,
    Text,
    and_,
    case,
    func,
    inspect,
    literal_column,
    select,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import InstrumentedAttribute

from liaison_kit.database.queries import Rows
from liaison_kit.database.tables import ORDER, Owned, Record, Searched
from liaison_kit.records.operators import operators_of
from liaison_kit.sight import Seen
from liaison_sdk.labels import Label
from liaison_sdk.money import USUAL, by_decimals
from liaison_sdk.records import KeptRecord, OwnedRecord
from liaison_sdk.types import Money

if TYPE_CHECKING:
    # It needs nothing of the kind at run time, where this room is still being opened.
    from liaison_kit.copies import KeptCopy
    from liaison_kit.records.links import Referrer

FieldKind = Literal[
    "text", "integer", "decimal", "money", "date", "datetime", "boolean", "id", "list", "object"
]

_KINDS: dict[Any, FieldKind] = {
    str: "text",
    int: "integer",
    float: "decimal",
    Decimal: "decimal",
    dt.date: "date",
    dt.datetime: "datetime",
    bool: "boolean",
    UUID: "id",
    Money: "money",
}

_REMOVED = (
    "ARRAY(SELECT name FROM custom_fields WHERE record = '{record}' AND removed_at IS NOT NULL)"
)
"""SQL of the tenant's fields that have been taken away, whose values some records may still hold:
looked up once for a statement."""

_SIGNED = frozenset({"created_by", "updated_by"})


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """A field as lists, conditions, screens and the manifest know it.

    `operators` are what a condition may ask of it. A list of objects is asked for their `part`, as
    e-mails for their addresses: a text, of which one at least has to be so. One that holds a `user`
    takes `me` in lists. Who asks for a choice by the name that it had before (`renamed`) gets it.
    """

    name: str
    kind: FieldKind
    label: Label
    personal: bool
    searchable: bool
    filterable: bool
    sortable: bool
    required: bool
    choices: tuple[str, ...] = ()
    choice_labels: Mapping[str, Label] = field(default_factory=dict)
    operators: tuple[str, ...] = ()
    part: str = ""
    user: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class RecordType:
    """A kind of record: `contacts` are rows of `Person`, read as `Contact`.

    `columns` gives the SQL of the fields that are not a column of the same name. `filters` adds
    list filters that are not fields. `indexed_filters` are those of them that need an index whose
    operators row-level security would keep from being used; they read through the table's `_found`
    view, and `spelt` is how their values are spelt in the database. `references` are the columns
    that must point at a row of the tenant, and in which table or view. `seen` are those that point
    at records under a row rule: a filter by one that the caller may not see finds what a filter by
    none would. `copies` are the columns that point at others' records, by the copy that is kept of
    those: it is in `references` and `seen` by that, and the name of what `driver_id` points at is
    read as `driver_name`. `derived` are the columns that follow from others: history does not tell
    of them. `history` is where its history is read: a view, where some of it tells of others'
    records. What is `restorable` goes to the trash when it is deleted, and with it the rows of the
    tables in `follows` whose column there names it. `referrers` are the columns that point at such
    records, `homes` the tables of what its own columns point at in the same service, whoever may
    see it: both are found by the service (`links`). `attachments` says that files may belong to a
    record. `title` are the fields that people know a record by, its name if nothing else is said,
    `subtitle` those that tell it from its like; a search text begins with the title.
    """

    name: str
    label: Label
    model: type[Record]
    shape: type[BaseModel]
    columns: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    filters: Mapping[str, Callable[[ColumnElement[Any]], ColumnElement[bool]]] = field(
        default_factory=dict
    )
    indexed_filters: frozenset[str] = frozenset()
    spelt: Mapping[str, Callable[[str], str]] = field(default_factory=dict)
    search: InstrumentedAttribute[Any] | None = None
    owner: InstrumentedAttribute[Any] | None = None
    references: Mapping[str, str] = field(default_factory=dict)
    derived: frozenset[str] = frozenset({"search", "keys"})
    seen: Mapping[str, Seen] = field(default_factory=dict)
    copies: Mapping[str, "KeptCopy"] = field(default_factory=dict)
    history: str = "history"
    restorable: bool = False
    follows: Mapping[str, str] = field(default_factory=dict)
    referrers: tuple["Referrer", ...] = ()
    homes: Mapping[str, str] = field(default_factory=dict)
    attachments: bool = False
    default_sort: str = "-updated_at"
    title: tuple[str, ...] = ()
    subtitle: tuple[str, ...] = ()

    @property
    def permission(self) -> str:
        """What a role has to grant to whoever reads these records."""
        return f"{self.name}:read"

    def __post_init__(self) -> None:
        if self.owner is None and self._is(Owned):
            self.owner = cast(Any, self.model).owner_id
        if self.search is None and self._is(Searched):
            self.search = cast(Any, self.model).search
        if self.attachments:
            if not self.restorable:
                raise TypeError(f"{self.name} have files, which go to the trash: restorable=True")
            self.follows = {**self.follows, "attachments": "about_id"}
        for column, copy in self.copies.items():
            self.references = {**self.references, column: copy.view}
            if copy.seen is not None:
                self.seen = {**self.seen, column: copy.seen}
            name = f"{column.removesuffix('_id')}_name"
            if name in self.shape.model_fields:
                self.columns = {name: copy.name_of(self.table.c[column]), **self.columns}
        if not self.title and "name" in self.shape.model_fields:
            self.title = ("name",)
        self._check_title()

    def _check_title(self) -> None:
        for name in (*self.title, *self.subtitle):
            if name not in self.shape.model_fields or self.fields[name].kind != "text":
                raise ValueError(f"{self.name} has no text {name} to be known by")
        if self.search is not None and not self.title:
            raise ValueError(f"{self.name} can be searched: say what the title of a record is")

    def _is(self, base: type[Record]) -> bool:
        return base in getattr(self.model, "__mro__", ())

    @cached_property
    def fields(self) -> dict[str, FieldInfo]:
        """The shape's fields, with what may be done with each; what every record has comes last."""
        usual = OwnedRecord.model_fields if issubclass(self.shape, KeptRecord) else {}
        names = sorted(self.shape.model_fields, key=lambda name: name in usual and name != "id")
        return {name: self._field(name) for name in names}

    def _field(self, name: str) -> FieldInfo:
        declared = self.shape.model_fields[name]
        extra = declared.json_schema_extra
        marks: dict[str, Any] = extra.get("x-liaison", {}) if isinstance(extra, dict) else {}  # type: ignore[assignment]
        kind, choices = _kind_of(declared.annotation)
        filterable = marks.get("filterable", False) and kind not in ("object",)
        part = marks.get("part", "")
        # A list of anything but texts has nothing that could be given as a value, or a part of it.
        asked = filterable and (kind != "list" or _is_of_texts(declared.annotation))
        return FieldInfo(
            name=name,
            kind=kind,
            label=Label(**marks["label"]) if "label" in marks else Label(en=name, fr=name),
            personal=marks.get("personal", False),
            searchable=marks.get("searchable", False),
            filterable=filterable,
            sortable=marks.get("sortable", False),
            required=declared.is_required(),
            choices=choices,
            choice_labels={n: Label(**said) for n, said in marks.get("choices", {}).items()},
            operators=operators_of("text" if part else kind, bool(choices))
            if asked or part
            else (),
            part=part,
            renamed=marks.get("renamed", {}),
            user=marks.get("user", False) or name in _SIGNED or self._is_owner(name),
        )

    def _is_owner(self, name: str) -> bool:
        return self.owner is not None and self.owner.key == name

    def expression(self, name: str) -> ColumnElement[Any]:
        """The SQL of one field."""
        found = self.columns.get(name)
        if found is None:
            found = getattr(self.model, name)
            if name == "custom":
                gone = literal_column(_REMOVED.format(record=self.name), ARRAY(Text))
                return cast("ColumnElement[Any]", found.op("-", return_type=JSONB())(gone))
        return found

    def compared(self, name: str) -> ColumnElement[Any]:
        """The SQL that a field is compared by: of money it is the amount."""
        if self.fields[name].kind == "money":
            return cast("ColumnElement[Any]", getattr(self.model, f"{name}_amount"))
        return self.expression(name)

    def order(self, name: str) -> ColumnElement[Any]:
        """The SQL that a field is sorted by.

        Texts are in the order in which people look for them, `adam` before `Étienne` before `Zola`.
        """
        if name in self.sorted_texts:
            return literal_column(f"{name}{ORDER}", Text)
        return self.compared(name)

    def in_order(self, name: str, value: ColumnElement[Any]) -> ColumnElement[Any]:
        """A field's value as it is sorted."""
        return func.fold_text(value) if name in self.sorted_texts else value

    @cached_property
    def sorted_texts(self) -> tuple[str, ...]:
        """The texts that lists are sorted by, of which the database keeps an order."""
        return tuple(
            name
            for name, info in self.fields.items()
            if info.sortable and info.kind == "text" and not info.choices and self._is_own(name)
        )

    def _is_own(self, name: str) -> bool:
        return name not in self.columns and name in self.table.c

    @property
    def table(self) -> Table:
        """The table that its records are kept in."""
        return cast(Table, inspect(self.model).local_table)

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """The columns of the table, in its order."""
        return tuple(self.table.c.keys())

    @cached_property
    def search_columns(self) -> tuple[str, ...]:
        """The columns that records are found by, and of lists the part of each object."""
        return tuple(
            f"{name}.{info.part}" if info.part else name
            for name, info in self.fields.items()
            if info.searchable
        )

    def unsearched(self) -> "RecordType":
        """The same kind, for lists that take no search."""
        found = replace(self)
        found.search = None
        return found

    def select(self) -> Rows:
        """The rows as the shape's fields, for `as_json` to wrap."""
        return select(*(self.expression(name).label(name) for name in self.fields))


def as_json(rows: Rows, *also: str) -> Rows:
    """Each row as one JSON text, followed by the named columns as text."""
    r = rows.subquery("r")
    return select(
        sql_cast(func.row_to_json(literal_column("r")), Text),
        *(sql_cast(r.c[name], Text) for name in also),
    ).select_from(r)


def money(amount: Any, currency: Any) -> ColumnElement[Any]:
    """`{"amount": "12.50", "currency": "EUR"}`, or null where there is no amount.

    It has the decimals of its currency, and those more that an earlier release let it have.
    """
    decimals: ColumnElement[Any] = literal_column(str(USUAL))
    for number, codes in by_decimals().items():
        listed: list[ColumnElement[Any]] = [literal_column(f"'{code}'") for code in codes]
        decimals = case((currency.in_(listed), literal_column(str(number))), else_=decimals)
    shown = func.round(amount, func.greatest(decimals, func.min_scale(amount)))
    built = func.json_build_object(
        literal_column("'amount'"),
        sql_cast(shown, Text),
        literal_column("'currency'"),
        currency,
    )
    return case((and_(amount.is_not(None), currency.is_not(None)), built), else_=None)


def _kind_of(annotation: Any) -> tuple[FieldKind, tuple[str, ...]]:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _kind_of(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        return _kind_of(inner[0])
    if origin is Literal:
        return "text", tuple(typing.get_args(annotation))
    if origin in (list, tuple):
        return "list", ()
    if isinstance(annotation, type):
        for known, kind in _KINDS.items():
            # bool is an int and datetime is a date: look for the very type first.
            if annotation is known:
                return kind, ()
        for known, kind in _KINDS.items():
            if issubclass(annotation, known):
                return kind, ()
    return "object", ()


def _is_of_texts(annotation: Any) -> bool:
    """Whether a list's elements are texts, as those of `list[str] | None` are."""
    if typing.get_origin(annotation) in (list, tuple):
        return _kind_of(typing.get_args(annotation)[0])[0] == "text"
    return any(_is_of_texts(part) for part in typing.get_args(annotation))
