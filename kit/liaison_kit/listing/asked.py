"""What a list is asked for: filters, search, sort and cursor, checked against the fields."""

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy.orm import Session

from liaison_kit import conditions
from liaison_kit.context import context
from liaison_kit.database.tables import ORDER
from liaison_kit.listing import cursors
from liaison_kit.records import custom
from liaison_kit.records.recordtype import FieldInfo, RecordType
from liaison_kit.records.search import patterns
from liaison_kit.records.values import ME, TEXT_LENGTH, boolean, convert, day_of, span
from liaison_kit.tenants import tenant_settings
from liaison_sdk.errors import FieldError, InvalidInput

if TYPE_CHECKING:
    from liaison_kit.conditions import Condition

MAX_LIMIT = 200

DEFAULT_LIMIT = 50

MOST_VALUES = 20
"""How many values a filter that is no field may be asked with at once: each is a condition."""

PAGING = {"sort", "limit", "cursor", "count"}

WHERE = "where"
"""The parameter that takes a condition, as JSON."""

T = TypeVar("T", bound=BaseModel)


class Page(BaseModel, Generic[T]):
    """One page of a list; `next` is the cursor of the following page, or null at the end."""

    items: list[T]
    next: str | None
    count: int | None = None


class ListQuery(Generic[T]):
    """A list's query parameters, as they came."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self.pairs = pairs


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition of a list: `amount[gte]=100`.

    A filter that is no field has its values as a tuple: each becomes a condition of its own. So has
    one by days, which is `within` (or `outside`) what they are: the begin and the end of each.
    """

    field: str
    operator: str
    value: Any

    @property
    def shape(self) -> tuple[str, str, int]:
        """What the SQL of the condition depends on."""
        return self.field, self.operator, len(self.value) if isinstance(self.value, tuple) else 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A list as it is asked for, checked: what it shows, in which order, from where on.

    `where` is a condition beside the filters; what in it is relative is so to `now`, and its days
    are those of `zone`, the tenant's.
    """

    filters: tuple[Filter, ...]
    where: "Condition | None"
    now: dt.datetime
    zone: dt.tzinfo
    terms: tuple[str, ...]
    sort: str
    descending: bool
    limit: int
    after: tuple[str | None, UUID] | None
    count: bool
    identity: tuple[Any, ...]
    """What makes it another list: its cursors are of no use to any other."""

    def narrowed(self, by: Filter) -> "Plan":
        """The same list with one filter more."""
        filters = _in_order((*self.filters, by))
        list_of, _filters, *others = self.identity
        return replace(self, filters=filters, identity=(list_of, _told(filters), *others))

    @property
    def narrowing(self) -> tuple[Any, ...]:
        """What the SQL of its filters and its condition depends on."""
        where = None if self.where is None else self.where.shape
        return tuple(f.shape for f in self.filters), where


_NAME = re.compile(r"^([a-z_][a-z0-9_.]*)(?:\[(eq|ne|gt|gte|lt|lte|in|null)\])?$")


def parse(session: Session, kind: RecordType, query: ListQuery[Any], paged: bool = True) -> Plan:
    """What a query's parameters ask for; every bad one is named."""
    errors: list[FieldError] = []
    filters: list[Filter] = []
    given: dict[str, str] = {}
    for name, raw in query.pairs:
        if name in ("q", WHERE) or (paged and name in PAGING):
            if name == WHERE and name in given:
                said = "A list takes one condition; join them with and"
                errors.append(FieldError(name, "repeated", said))
            given[name] = raw
            continue
        try:
            filters.append(_filter(session, kind, name, raw))
        except InvalidInput as error:
            errors += error.errors
    sort, descending = _sort(kind, given.get("sort"), errors)
    where = _where(session, kind, given.get(WHERE), errors)
    terms = _terms(kind, given.get("q"), errors)
    limit = _limit(given.get("limit"), errors)
    count = given.get("count", "false").lower()
    if count not in ("true", "false"):
        errors.append(FieldError("count", "boolean", "count is true or false"))
    ordered = _in_order(filters)
    # The release before sorts texts otherwise: its cursors are of no use here.
    order = f"{sort}{ORDER}" if sort in kind.sorted_texts else sort
    list_of = (str(context(session).tenant), kind.name, order, descending)
    identity = (list_of, _told(ordered), None if where is None else where.identity, terms)
    after = None
    if "cursor" in given:
        try:
            value, id = cursors.read(identity, given["cursor"])
            after = (value, UUID(id))
        except cursors.ForeignCursor:
            errors.append(
                FieldError("cursor", "cursor", "This cursor does not belong to this list")
            )
    if errors:
        raise InvalidInput("Some list parameters need another look", errors)
    return Plan(
        filters=ordered,
        where=where,
        now=context(session).now,
        zone=tenant_settings(session).zone if where is not None and where.dated else dt.UTC,
        terms=terms,
        sort=sort,
        descending=descending,
        limit=limit,
        after=after,
        count=count == "true",
        identity=identity,
    )


def _in_order(filters: Iterable[Filter]) -> tuple[Filter, ...]:
    return tuple(sorted(filters, key=lambda f: (f.field, f.operator)))


def _told(filters: Iterable[Filter]) -> list[tuple[str, str, Any]]:
    return [(f.field, f.operator, f.value) for f in filters]


def _filter(session: Session, kind: RecordType, name: str, raw: str) -> Filter:
    matched = _NAME.match(name)
    field = matched[1] if matched else name
    operator = (matched[2] if matched else None) or "eq"
    values = raw.split(",") if operator == "in" else [raw]
    if any(len(value) > TEXT_LENGTH for value in values):
        raise InvalidInput.field(name, "too_long", f"At most {TEXT_LENGTH} characters a value")
    if matched and field in kind.filters:
        spelt = kind.spelt.get(field, str)
        checked = _checked_values(name, field, operator, values)
        return Filter(field, operator, tuple(map(spelt, checked)))
    if matched and field.startswith("custom."):
        return Filter(field, *custom.filter_value(session, kind, field[7:], operator, raw))
    info = kind.fields.get(field)
    if not matched or info is None or not info.filterable:
        raise InvalidInput.field(name, "unknown_parameter", f"There is no parameter {name}")
    if operator == "null":
        return Filter(field, operator, boolean(name, raw))
    if info.user and ME in values:
        me = str(_me(session, name))
        values = [me if value == ME else value for value in values]
        raw = values[0]
    if info.kind == "datetime" and any(day_of(value) for value in values):
        return _dated(session, info, name, field, operator, values)
    if operator == "in":
        return Filter(field, operator, [convert(info, name, value) for value in values])
    if info.kind == "list":
        if operator != "eq":
            raise InvalidInput.field(name, "operator", f"{field} has no operator {operator}")
        return Filter(field, operator, [raw])
    return Filter(field, operator, convert(info, name, raw))


def _dated(
    session: Session, info: FieldInfo, name: str, field: str, operator: str, values: list[str]
) -> Filter:
    """A filter of moments by days, each from its midnight to the next where the tenant is."""
    there = tenant_settings(session).zone
    spans: list[dt.datetime] = []
    for value in values:
        day = day_of(value)
        if day is None:
            at = convert(info, name, value)
            spans += (at, at + _INSTANT)
        else:
            spans += span(name, day, there)
    match operator:
        case "gt" | "lte":
            # Behind a day is from the next one on, and up to a day is until then.
            return Filter(field, {"gt": "gte", "lte": "lt"}[operator], spans[1])
        case "gte" | "lt":
            return Filter(field, operator, spans[0])
    return Filter(field, "outside" if operator == "ne" else "within", tuple(spans))


_INSTANT = dt.timedelta(microseconds=1)
"""What is between two moments of PostgreSQL."""


def _me(session: Session, name: str) -> UUID:
    user = context(session).user
    if user is None:
        raise InvalidInput.field(name, "nobody_asks", f"Nobody asks, so {name} can't be {ME}")
    return user


def _checked_values(name: str, field: str, operator: str, values: list[str]) -> tuple[str, ...]:
    """The values of a filter that is no field; `in` finds what any of them finds."""
    if operator not in ("eq", "ne", "in"):
        said = f"{field} has no operator {operator}, only eq, ne and in"
        raise InvalidInput.field(name, "operator", said)
    if len(values) > MOST_VALUES:
        raise InvalidInput.field(name, "too_many", f"At most {MOST_VALUES} values")
    return tuple(values)


def _where(
    session: Session, kind: RecordType, raw: str | None, errors: list[FieldError]
) -> "Condition | None":
    if raw is None:
        return None
    try:
        me = context(session).user
        return conditions.parse(session, kind, conditions.read(raw, WHERE), WHERE, me)
    except InvalidInput as error:
        errors += error.errors
        return None


def _sort(kind: RecordType, raw: str | None, errors: list[FieldError]) -> tuple[str, bool]:
    asked = kind.default_sort if raw is None else raw
    name = asked.removeprefix("-")
    info = kind.fields.get(name)
    if info is None or not (info.sortable or name in ("id", "updated_at", "created_at")):
        errors.append(FieldError("sort", "sort", f"This list can't be sorted by {name[:80]}"))
        return "id", True
    return name, asked.startswith("-")


def _terms(kind: RecordType, raw: str | None, errors: list[FieldError]) -> tuple[str, ...]:
    if raw is None or not raw.strip():
        return ()
    if kind.search is None:
        errors.append(FieldError("q", "unknown_parameter", "This list has no search"))
        return ()
    if len(raw) > TEXT_LENGTH:
        errors.append(FieldError("q", "too_long", f"At most {TEXT_LENGTH} characters"))
        return ()
    return tuple(patterns(raw))


def _limit(raw: str | None, errors: list[FieldError]) -> int:
    if raw is None:
        return DEFAULT_LIMIT
    if raw.isascii() and raw.isdigit() and len(raw) < 6 and 1 <= int(raw) <= MAX_LIMIT:
        return int(raw)
    errors.append(FieldError("limit", "limit", f"limit is a number from 1 to {MAX_LIMIT}"))
    return DEFAULT_LIMIT


def cursor_at(plan: Plan, value: str | None, id: str) -> str:
    """Where the next page starts: behind the row of this value and id."""
    return cursors.written(plan.identity, (value, id))
