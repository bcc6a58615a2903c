"""The SQL of lists: each combination of filters is composed once and run with new values."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ARRAY,
    BindParameter,
    Boolean,
    ColumnElement,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy import column as sql_column
from sqlalchemy import table as named
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from liaison_kit import conditions
from liaison_kit.database.queries import Rows, read_from, stand_in, text_of
from liaison_kit.database.statements import Statement
from liaison_kit.listing.asked import Filter, Plan
from liaison_kit.records import custom
from liaison_kit.records.recordtype import RecordType, as_json
from liaison_kit.sight import Seen
from liaison_kit.sight import everything as everything_of

if TYPE_CHECKING:
    from liaison_kit.conditions import Condition


class Composed:
    """The statement of one shape of list.

    What is prepared is planned for any value. A search is not, nor is a condition: how rare its
    words and values are decides how it is best done. And a search reads from the `_found` view, for
    an index that row-level security would hide: LIKE and array operators are not leakproof, so
    PostgreSQL will not run them inside an index before the policy. The view belongs to the owner
    and has the tenant's condition itself.
    """

    def __init__(self, rows: Rows, searched: RecordType | None, prepared: bool) -> None:
        self._prepared: Statement | None = None
        self._text = ""
        if searched is not None:
            table = searched.table
            rows = read_from(rows, table, stand_in(f"{table.name}_found", table))
        if prepared and searched is None:
            self._prepared = Statement(rows)
        else:
            self._text = text_of(rows)

    def run(self, session: Session, values: dict[str, Any]) -> Sequence[Sequence[Any]]:
        """The rows for these values."""
        if self._prepared is not None:
            return self._prepared.run(session, values)
        return session.connection().exec_driver_sql(self._text, values).fetchall()


_statements: OrderedDict[tuple[Any, ...], Composed] = OrderedDict()
_REMEMBERED_RULES = 20
"""Conditions of more rules are composed each time: their texts are long, and hardly two alike."""


def statement_of(
    shape: tuple[Any, ...],
    compose: Callable[[], Rows],
    searched: RecordType | None = None,
    where: "Condition | None" = None,
) -> Composed:
    """The statement of a shape, composed once: SQLAlchemy's own cache walks it each time."""
    if where is not None and sum(1 for _ in where.rules) > _REMEMBERED_RULES:
        return Composed(compose(), searched, prepared=False)
    found = _statements.get(shape)
    if found is None:
        found = Composed(compose(), searched, prepared=where is None)
        _statements[shape] = found
        if len(_statements) > 1000:
            _statements.popitem(last=False)
    return found


def one_record(kind: RecordType, rule: tuple[str, Any]) -> Rows:
    """The record of an id, if its row is one that may be seen."""
    rows = kind.select().where(kind.model.id == bindparam("id", type_=kind.model.id.type))
    if rule[1] is not None:
        assert kind.owner is not None
        rows = rows.where(any_of(kind.owner, "peers"))
    return as_json(rows, "version")


def conditions_of(
    kind: RecordType, plan: Plan, rule: tuple[str, Any], extra: Sequence[ColumnElement[bool]]
) -> list[ColumnElement[bool]]:
    """What narrows a list: filters, condition, search, row rule, and what the caller adds."""
    found = [_condition(kind, f, i) for i, f in enumerate(plan.filters)] + list(extra)
    if plan.where is not None:
        found.append(conditions.sql(plan.where))
    if plan.terms:
        assert kind.search is not None
        found += [kind.search.like(bindparam(f"t{i}")) for i in range(len(plan.terms))]
    if rule[1] is not None:
        assert kind.owner is not None
        found.append(any_of(kind.owner, "peers"))
    return found


def page_of(
    kind: RecordType, plan: Plan, rule: tuple[str, Any], extra: Sequence[ColumnElement[bool]]
) -> Rows:
    """One page, each record as JSON with the value that it is sorted by."""
    rows = kind.select().where(*conditions_of(kind, plan, rule, extra))
    if plan.after is not None:
        rows = rows.where(_beyond(kind, plan, kind.order(plan.sort)))
    order = order_of(kind, plan)
    rows = rows.order_by(*order).limit(cast(bindparam("limit"), postgresql.BIGINT))
    if kind.fields[plan.sort].kind == "money":
        # No index keeps amounts in order, and PostgreSQL would sort what it has built the JSON of:
        # the page's rows are picked first.
        picked = rows.with_only_columns(*kind.table.c).subquery(kind.table.name)
        rows = read_from(kind.select().order_by(*order), kind.table, picked)
    return as_json(rows, plan.sort, "id")


def order_of(kind: RecordType, plan: Plan) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """What a list is sorted by: its field and, of those that are alike, the id."""
    key, id = kind.order(plan.sort), kind.model.id
    way = key.desc() if plan.descending else key.asc()
    return (
        way.nulls_last() if _nullable(kind, plan.sort) else way,
        id.desc() if plan.descending else id.asc(),
    )


def some_records(kind: RecordType, rule: tuple[str, Any]) -> Rows:
    """The records of these `ids`, as far as their rows may be seen, each as JSON with its id."""
    rows = kind.select().where(any_of(kind.model.id, "ids"))
    if rule[1] is not None:
        assert kind.owner is not None
        rows = rows.where(any_of(kind.owner, "peers"))
    return as_json(rows, "id")


def board_of(kind: RecordType, plan: Plan, rule: tuple[str, Any], by: str, unset: bool) -> Rows:
    """The first page of each of the `keys` of a field, with the key's place; `unset`: of none."""

    def page_where(condition: ColumnElement[bool]) -> Any:
        return page_of(kind, plan, rule, [condition]).lateral("p")

    return _each_key(kind, by, unset, page_where)


def board_counts_of(
    kind: RecordType, plan: Plan, rule: tuple[str, Any], by: str, unset: bool, most: int
) -> Rows:
    """How many records have each of the `keys` of a field, counted up to one more than `most`."""

    def counted_where(condition: ColumnElement[bool]) -> Any:
        some: Any = select(literal_column("1")).select_from(kind.model)
        some = some.where(*conditions_of(kind, plan, rule, [condition])).limit(most + 1)
        return select(func.count().label("n")).select_from(some.subquery("some")).lateral("c")

    return _each_key(kind, by, unset, counted_where)


UNSET = 0
"""The place of the column of records whose field is not set; keys count from 1."""


def _each_key(
    kind: RecordType, by: str, unset: bool, part: Callable[[ColumnElement[bool]], Any]
) -> Rows:
    """What `part` finds for each of the keys, behind the key's place."""
    column = kind.compared(by)
    given = func.unnest(cast(bindparam("keys"), ARRAY(column.type)))
    keys = given.table_valued("key", with_ordinality="place").render_derived(name="k")
    # By its name: it stands in a part of the query that is not of its making.
    found = part(column == literal_column("k.key", column.type))
    rows: Any = select(keys.c.place, found).select_from(keys.join(found, true()))
    if unset:
        none = part(column.is_(None))
        rows = union_all(rows, select(literal_column(str(UNSET)), none))
    return rows  # type: ignore[no-any-return]


def count_of(
    kind: RecordType, plan: Plan, rule: tuple[str, Any], extra: Sequence[ColumnElement[bool]]
) -> Rows:
    """How many records there are on all pages."""
    rows = select(func.count()).select_from(kind.model)
    return rows.where(*conditions_of(kind, plan, rule, extra))


def is_search(kind: RecordType, plan: Plan) -> bool:
    """Whether it is answered by an index that row-level security would hide (`Composed`)."""
    asked = {f.field for f in plan.filters}
    if plan.where is not None:
        asked |= {rule.field.name for rule in plan.where.rules}
    return bool(plan.terms) or not asked.isdisjoint(kind.indexed_filters)


def _beyond(kind: RecordType, plan: Plan, key: ColumnElement[Any]) -> ColumnElement[bool]:
    id = kind.model.id
    last_id = bindparam("after_id", type_=id.type)
    assert plan.after is not None
    if plan.after[0] is None:
        return key.is_(None) & ((id < last_id) if plan.descending else (id > last_id))
    value = kind.in_order(plan.sort, cast(bindparam("after"), key.type))
    pair = tuple_(key, id)
    last = tuple_(value, last_id)
    beyond = pair < last if plan.descending else pair > last
    return or_(beyond, key.is_(None)) if _nullable(kind, plan.sort) else beyond


def _nullable(kind: RecordType, name: str) -> bool:
    column = kind.table.c.get(name)
    return column is None or bool(column.nullable)


def any_of(column: Any, name: str) -> ColumnElement[bool]:
    """Whether a column has one of the values of the list that is given under a name."""
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
    column = kind.compared(f.field)
    info = kind.fields[f.field]
    if f.operator in ("within", "outside"):
        bounds = [cast(bindparam(f"f{i}_{j}"), column.type) for j in range(len(f.value))]
        within = or_(
            *((column >= a) & (column < b) for a, b in zip(bounds[::2], bounds[1::2], strict=True))
        )
        return within if f.operator == "within" else within.is_not(True)
    if f.operator == "null":
        return column.is_(None) == cast(value, postgresql.BOOLEAN)
    if info.kind == "list":
        among = cast(value, ARRAY(Text))
        return column.bool_op("&&")(among) if f.operator == "in" else column.contains(among)
    if f.field in kind.seen:
        return _among_seen(column, kind.seen[f.field], f.operator, value)
    if f.operator == "in":
        return any_of(column, f"f{i}")
    typed: ColumnElement[Any] = cast(value, column.type)
    if f.field in kind.sorted_texts:
        order, folded = kind.order(f.field), kind.in_order(f.field, typed)
        if f.operator == "eq":
            # The index is of the order.
            return (order == folded) & (column == typed)
        if f.operator != "ne":
            column, typed = order, folded
    return {
        "eq": column == typed,
        "ne": column.is_distinct_from(typed),
        "gt": column > typed,
        "gte": column >= typed,
        "lt": column < typed,
        "lte": column <= typed,
    }[f.operator]


_NOBODY = cast(literal_column("'00000000-0000-0000-0000-000000000000'"), Uuid)


def _among_seen(
    column: Any, seen: Seen, operator: str, value: BindParameter[Any]
) -> ColumnElement[bool]:
    """A filter by records of another kind; one that the caller may not see is like one of none."""
    others = named(seen.view, sql_column("id", Uuid))
    everything: ColumnElement[bool] = literal_column(everything_of(seen.kind), Boolean)
    if operator == "in":
        ids = cast(value, ARRAY(Uuid))
        them = func.array(select(others.c.id).where(others.c.id == func.any(ids)).scalar_subquery())
        among: ColumnElement[bool] = column == func.any(case((everything, ids), else_=them))
        return among
    id = cast(value, Uuid)
    shown = select(others.c.id).where(others.c.id == id).scalar_subquery()
    wanted = func.coalesce(case((everything, id), else_=shown), _NOBODY)
    same: ColumnElement[bool] = column == wanted
    return column.is_distinct_from(wanted) if operator == "ne" else same


def values_of(plan: Plan, rule: tuple[str, list[str] | None]) -> dict[str, Any]:
    """The values of a composed list's places."""
    values: dict[str, Any] = {}
    for i, f in enumerate(plan.filters):
        if isinstance(f.value, tuple):
            values |= {f"f{i}_{j}": part for j, part in enumerate(f.value)}
        else:
            values[f"f{i}"] = f.value
    if plan.where is not None:
        values |= conditions.values(plan.where, plan.now, plan.zone)
    values |= {f"t{i}": term for i, term in enumerate(plan.terms)}
    values["limit"] = plan.limit + 1
    values["peers"] = rule[1]
    if plan.after is not None:
        values["after"], values["after_id"] = plan.after[0], str(plan.after[1])
    return values
