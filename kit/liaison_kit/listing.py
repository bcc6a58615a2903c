"""Lists: filters, search, sort, keyset cursors and counts, written once for every record.

`GET /contacts?stage=won&amount[gte]=100&q=dupont&sort=-updated_at&limit=50&cursor=…&count=true`

A page starts where the last one ended (keyset), so page 1,000 costs what page 1 costs. The SQL of
each combination of filters is composed once per process and run with new values after that.
"""

import base64
import binascii
import datetime as dt
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import (
    ARRAY,
    BindParameter,
    ColumnElement,
    Text,
    bindparam,
    cast,
    func,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from liaison_kit import custom
from liaison_kit.context import context
from liaison_kit.recordtype import FieldInfo, RecordType, Rows, as_json
from liaison_kit.search import patterns
from liaison_kit.statements import Statement, read_from, text_of
from liaison_sdk.errors import FieldError, InvalidInput

MAX_LIMIT = 200
DEFAULT_LIMIT = 50
TEXT_LENGTH = 200
"""The longest text that lists are filtered or searched by."""
MOST_VALUES = 20
"""How many values a filter that is no field may be asked with at once: each is a condition."""
PAGING = {"sort", "limit", "cursor", "count"}

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

    A filter that is no field has its values as a tuple: each becomes a condition of its own.
    """

    field: str
    operator: str
    value: Any

    @property
    def shape(self) -> tuple[str, str, int]:
        """What the SQL of the condition depends on."""
        return self.field, self.operator, len(self.value) if isinstance(self.value, tuple) else 0


@dataclass(frozen=True, slots=True)
class _Plan:
    filters: tuple[Filter, ...]
    terms: tuple[str, ...]
    sort: str
    descending: bool
    limit: int
    after: tuple[str | None, UUID] | None
    count: bool


def page(
    session: Session,
    kind: RecordType,
    query: ListQuery[Any],
    *where: tuple[str, ColumnElement[bool], Any],
) -> bytes:
    """One page of records as JSON, narrowed to the rows that the caller's role may see.

    `where` adds fixed conditions: a name that tells its shape, the clause with a bind parameter of
    that name, and the value.
    """
    plan = _parse(session, kind, query)
    rule = row_rule(session, kind)
    shape = (
        "page",
        kind.name,
        tuple(f.shape for f in plan.filters),
        len(plan.terms),
        plan.sort,
        plan.descending,
        None if plan.after is None else plan.after[0] is None,
        rule[0],
        tuple(name for name, _, _ in where),
    )
    values = _values(plan, rule) | {name: value for name, _, value in where}
    conditions = [clause for _, clause, _ in where]
    searched = kind if _is_search(kind, plan) else None
    composed = _composed(shape, lambda: _page(kind, plan, rule, conditions), searched)
    rows = composed.run(session, values)
    after = None
    if len(rows) > plan.limit:
        rows = rows[: plan.limit]
        last = rows[-1][1]
        if last is not None and kind.fields[plan.sort].kind == "money":
            last = json.loads(last)["amount"]
        after = _cursor(plan, last, rows[-1][2])
    counted = b""
    if plan.count:
        composed = _composed(
            ("count", *shape), lambda: _count(kind, plan, rule, conditions), searched
        )
        counted = b',"count":%d' % composed.run(session, values)[0][0]
    items = ",".join([row[0] for row in rows])
    return b'{"items":[%b],"next":%b%b}' % (items.encode(), json.dumps(after).encode(), counted)


Build = Callable[[Sequence[ColumnElement[bool]]], Rows]


def aggregate(
    session: Session, kind: RecordType, query: ListQuery[Any], name: str, build: Build
) -> Sequence[Sequence[Any]]:
    """Figures over the very rows that a list would show: the same filters, the same row rules.

    `build` makes the statement of the list's conditions; `name` tells its shape. There is no page,
    so nothing that a page is asked for by.
    """
    plan = _parse(session, kind, query, paged=False)
    rule = row_rule(session, kind)
    shape = (name, kind.name, tuple(f.shape for f in plan.filters), rule[0])
    composed = _composed(shape, lambda: text_of(build(_conditions(kind, plan, rule, []))))
    return composed.run(session, _values(plan, rule))


def read(session: Session, kind: RecordType, id: UUID) -> tuple[str, int] | None:
    """One record as JSON and its version, or nothing when there is none that the caller may see."""
    rule = row_rule(session, kind)
    composed = _composed(("read", kind.name, rule[0]), lambda: _one(kind, rule))
    found = composed.run(session, {"id": str(id), "peers": rule[1]})
    return (found[0][0], int(found[0][1])) if found else None


def row_rule(session: Session, kind: RecordType) -> tuple[str, list[str] | None]:
    """Which owners' rows the caller sees: ("all", None) or ("peers", [ids])."""
    principal = context(session).principal
    if kind.owner is None or principal is None:
        return "all", None
    rule = principal.rows.get(kind.name, "all")
    if rule == "own":
        return "peers", [str(principal.user)]
    if rule == "team":
        return "peers", [str(peer) for peer in principal.peers] or [str(principal.user)]
    return "all", None


# --- composing ---------------------------------------------------------------------------------


class _Composed:
    """The statement of one shape of list.

    What is prepared is planned for any value. A search is not: how rare its words are decides how
    it is best done. And it reads from the `_found` view, for an index that row-level security would
    hide: LIKE and array operators are not leakproof, so PostgreSQL will not run them inside an
    index before the policy. The view belongs to the owner and has the tenant's condition itself.
    """

    def __init__(self, sql: str, searched: RecordType | None) -> None:
        self._search: str | None = None
        if searched is None:
            self._prepared = Statement(sql)
        else:
            table = searched.table.name
            self._search = read_from(f"{table}_found", table, sql)

    def run(self, session: Session, values: dict[str, Any]) -> Sequence[Sequence[Any]]:
        """The rows for these values."""
        if self._search is None:
            return self._prepared.run(session, values)
        return session.connection().exec_driver_sql(self._search, values).fetchall()


_statements: OrderedDict[tuple[Any, ...], _Composed] = OrderedDict()


def _composed(
    shape: tuple[Any, ...], compose: Callable[[], str], searched: RecordType | None = None
) -> _Composed:
    """The statement of a shape, composed once: SQLAlchemy's own cache walks it each time."""
    found = _statements.get(shape)
    if found is None:
        found = _statements[shape] = _Composed(compose(), searched)
        if len(_statements) > 1000:
            _statements.popitem(last=False)
    return found


def _one(kind: RecordType, rule: tuple[str, Any]) -> str:
    rows = kind.select().where(kind.model.id == bindparam("id", type_=kind.model.id.type))
    if rule[1] is not None:
        assert kind.owner is not None
        rows = rows.where(_any_of(kind.owner, "peers"))
    return text_of(as_json(rows, "version"))


def _conditions(
    kind: RecordType, plan: _Plan, rule: tuple[str, Any], extra: Sequence[ColumnElement[bool]]
) -> list[ColumnElement[bool]]:
    found = [_condition(kind, f, i) for i, f in enumerate(plan.filters)] + list(extra)
    if plan.terms:
        assert kind.search is not None
        found += [kind.search.like(bindparam(f"t{i}")) for i in range(len(plan.terms))]
    if rule[1] is not None:
        assert kind.owner is not None
        found.append(_any_of(kind.owner, "peers"))
    return found


def _page(
    kind: RecordType, plan: _Plan, rule: tuple[str, Any], extra: Sequence[ColumnElement[bool]]
) -> str:
    key = kind.order(plan.sort)
    id = kind.model.id
    rows = kind.select().where(*_conditions(kind, plan, rule, extra))
    if plan.after is not None:
        rows = rows.where(_beyond(kind, plan, key))
    nullable = _nullable(kind, plan.sort)
    way = key.desc() if plan.descending else key.asc()
    order = (
        way.nulls_last() if nullable else way,
        id.desc() if plan.descending else id.asc(),
    )
    rows = rows.order_by(*order).limit(cast(bindparam("limit"), postgresql.BIGINT))
    if kind.fields[plan.sort].kind != "money":
        return text_of(as_json(rows, plan.sort, "id"))
    # No index keeps amounts in order, and PostgreSQL would sort what it has built the JSON of: the
    # page's rows are picked first. The backslashes are for `re`, which puts them in.
    picked = text_of(rows.with_only_columns(*kind.table.c)).replace("\\", r"\\")
    shown = as_json(kind.select().order_by(*order), plan.sort, "id")
    return read_from(f"({picked})", kind.table.name, text_of(shown))


def _count(
    kind: RecordType, plan: _Plan, rule: tuple[str, Any], extra: Sequence[ColumnElement[bool]]
) -> str:
    rows = select(func.count()).select_from(kind.model)
    return text_of(rows.where(*_conditions(kind, plan, rule, extra)))


def _is_search(kind: RecordType, plan: _Plan) -> bool:
    return bool(plan.terms) or any(f.field in kind.indexed_filters for f in plan.filters)


def _beyond(kind: RecordType, plan: _Plan, key: ColumnElement[Any]) -> ColumnElement[bool]:
    id = kind.model.id
    last_id = bindparam("after_id", type_=id.type)
    assert plan.after is not None
    if plan.after[0] is None:
        return key.is_(None) & ((id < last_id) if plan.descending else (id > last_id))
    value = cast(bindparam("after"), key.type)
    pair = tuple_(key, id)
    last = tuple_(value, last_id)
    beyond = pair < last if plan.descending else pair > last
    return or_(beyond, key.is_(None)) if _nullable(kind, plan.sort) else beyond


def _nullable(kind: RecordType, name: str) -> bool:
    column = kind.table.c.get(name)
    return column is None or bool(column.nullable)


def _any_of(column: Any, name: str) -> ColumnElement[bool]:
    among: ColumnElement[bool] = column == func.any(cast(bindparam(name), ARRAY(column.type)))
    return among


def _condition(kind: RecordType, f: Filter, i: int) -> ColumnElement[bool]:
    special = kind.filters.get(f.field)
    if special is not None:
        found = or_(*(special(cast(bindparam(f"f{i}_{j}"), Text)) for j in range(len(f.value))))
        return found.is_not(True) if f.operator == "ne" else found
    value: BindParameter[Any] = bindparam(f"f{i}")
    if f.field.startswith("custom."):
        return custom.condition(kind.model.custom, f.field[7:], f.operator, f"f{i}")
    column = kind.order(f.field)
    info = kind.fields[f.field]
    if f.operator == "null":
        return column.is_(None) == cast(value, postgresql.BOOLEAN)
    if info.kind == "list":
        among = cast(value, ARRAY(Text))
        return column.bool_op("&&")(among) if f.operator == "in" else column.contains(among)
    if f.operator == "in":
        return _any_of(column, f"f{i}")
    typed = cast(value, column.type)
    return {
        "eq": column == typed,
        "ne": column.is_distinct_from(typed),
        "gt": column > typed,
        "gte": column >= typed,
        "lt": column < typed,
        "lte": column <= typed,
    }[f.operator]


def _values(plan: _Plan, rule: tuple[str, list[str] | None]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for i, f in enumerate(plan.filters):
        if isinstance(f.value, tuple):
            values |= {f"f{i}_{j}": part for j, part in enumerate(f.value)}
        else:
            values[f"f{i}"] = f.value
    values |= {f"t{i}": term for i, term in enumerate(plan.terms)}
    values["limit"] = plan.limit + 1
    values["peers"] = rule[1]
    if plan.after is not None:
        values["after"], values["after_id"] = plan.after[0], str(plan.after[1])
    return values


# --- parsing -----------------------------------------------------------------------------------

_NAME = re.compile(r"^([a-z_][a-z0-9_.]*)(?:\[(eq|ne|gt|gte|lt|lte|in|null)\])?$")


def _parse(session: Session, kind: RecordType, query: ListQuery[Any], paged: bool = True) -> _Plan:
    errors: list[FieldError] = []
    filters: list[Filter] = []
    given: dict[str, str] = {}
    for name, raw in query.pairs:
        if name == "q" or (paged and name in PAGING):
            given[name] = raw
            continue
        try:
            filters.append(_filter(session, kind, name, raw))
        except InvalidInput as error:
            errors += error.errors
    sort, descending = _sort(kind, given.get("sort"), errors)
    terms = _terms(kind, given.get("q"), errors)
    limit = _limit(given.get("limit"), errors)
    count = given.get("count", "false").lower()
    if count not in ("true", "false"):
        errors.append(FieldError("count", "boolean", "count is true or false"))
    after = None
    if "cursor" in given:
        try:
            after = _position(given["cursor"], sort, descending)
        except ValueError:
            errors.append(
                FieldError("cursor", "cursor", "This cursor does not belong to this list")
            )
    if errors:
        raise InvalidInput("Some list parameters need another look", errors)
    filters.sort(key=lambda f: (f.field, f.operator))
    return _Plan(tuple(filters), terms, sort, descending, limit, after, count == "true")


def _filter(session: Session, kind: RecordType, name: str, raw: str) -> Filter:
    matched = _NAME.match(name)
    field = matched[1] if matched else name
    operator = (matched[2] if matched else None) or "eq"
    if len(raw) > TEXT_LENGTH and operator != "in":
        raise InvalidInput.field(name, "too_long", f"At most {TEXT_LENGTH} characters")
    if matched and field in kind.filters:
        return Filter(field, operator, _parts(name, field, operator, raw))
    if matched and field.startswith("custom."):
        return Filter(field, operator, custom.filter_value(session, kind, field[7:], operator, raw))
    info = kind.fields.get(field)
    if not matched or info is None or not info.filterable:
        raise InvalidInput.field(name, "unknown_parameter", f"There is no parameter {name}")
    if operator == "null":
        return Filter(field, operator, _boolean(name, raw))
    if operator == "in":
        return Filter(field, operator, [convert(info, name, part) for part in raw.split(",")])
    if info.kind == "list":
        if operator != "eq":
            raise InvalidInput.field(name, "operator", f"{field} has no operator {operator}")
        return Filter(field, operator, [raw])
    return Filter(field, operator, convert(info, name, raw))


def _parts(name: str, field: str, operator: str, raw: str) -> tuple[str, ...]:
    """The values of a filter that is no field; `in` finds what any of them finds."""
    if operator not in ("eq", "ne", "in"):
        said = f"{field} has no operator {operator}, only eq, ne and in"
        raise InvalidInput.field(name, "operator", said)
    parts = tuple(raw.split(",")) if operator == "in" else (raw,)
    if len(parts) > MOST_VALUES:
        raise InvalidInput.field(name, "too_many", f"At most {MOST_VALUES} values")
    if any(len(part) > TEXT_LENGTH for part in parts):
        raise InvalidInput.field(name, "too_long", f"At most {TEXT_LENGTH} characters a value")
    return parts


def convert(info: FieldInfo, path: str, raw: str) -> Any:
    """A filter's text as a value that PostgreSQL can compare with the field."""
    try:
        match info.kind:
            case "integer":
                number = int(raw)
                if not -(2**63) <= number < 2**63:
                    raise ValueError
                return number
            case "decimal" | "money":
                amount = Decimal(raw)
                if not amount.is_finite() or abs(amount) >= Decimal(10) ** 30:
                    raise ValueError
                return amount
            case "date":
                return dt.date.fromisoformat(raw)
            case "datetime":
                moment = dt.datetime.fromisoformat(raw)
                return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
            case "boolean":
                return _boolean(path, raw)
            case "id":
                return str(UUID(raw))
    except (ValueError, InvalidOperation):
        raise InvalidInput.field(
            path, f"{info.kind}_parsing", f"{raw[:80]!r} is not a valid {info.kind}"
        ) from None
    if info.choices and raw not in info.choices:
        raise InvalidInput.field(path, "choice", f"{path} is one of {', '.join(info.choices)}")
    return raw


def _boolean(path: str, raw: str) -> bool:
    if raw.lower() in ("true", "false"):
        return raw.lower() == "true"
    raise InvalidInput.field(path, "boolean", f"{path} is true or false")


def _sort(kind: RecordType, raw: str | None, errors: list[FieldError]) -> tuple[str, bool]:
    asked = raw or kind.default_sort
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


def _cursor(plan: _Plan, value: str | None, id: str) -> str:
    text = json.dumps([("-" if plan.descending else "") + plan.sort, value, id])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(cursor: str, sort: str, descending: bool) -> tuple[str | None, UUID]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        asked, value, id = json.loads(text)
    except (binascii.Error, ValueError, TypeError):
        raise ValueError(cursor) from None
    if asked != ("-" if descending else "") + sort or not isinstance(value, str | None):
        raise ValueError(cursor)
    if value is not None and "\x00" in value:
        raise ValueError(cursor)
    return value, UUID(id)
