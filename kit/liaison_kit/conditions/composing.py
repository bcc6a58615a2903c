"""Conditions in SQL: composed once for all conditions of a shape, with the values as parameters.

What is asked of a field is asked of the SQL that its readers' value comes from: nobody finds by a
condition what a record does not show. A rule that says no is the opposite of the one that says
yes, also where there is nothing. A group that is turned round turns its rules round instead: what
is left are rules that hold, or don't, joined by `and` and `or`, and indexes may answer those.
"""

import datetime as dt
import itertools
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Date,
    DateTime,
    Float,
    Numeric,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    collate,
    func,
    literal_column,
    or_,
    select,
)

from liaison_kit.conditions import moments
from liaison_kit.conditions.folding import folded, folded_column
from liaison_kit.conditions.matching import DATE
from liaison_kit.conditions.tree import Amount, Condition, Group, Rule
from liaison_kit.records.recordtype import RecordType

MOST_LOOKUPS: Final = 20
"""So many values are looked up by a list's own filter; for more, each record is looked at."""

_TYPES: Final[dict[str, Any]] = {
    "text": Text(),
    "integer": BigInteger(),
    "decimal": Numeric(),
    "money": Numeric(),
    "date": Date(),
    "datetime": DateTime(timezone=True),
    "boolean": Boolean(),
    "id": Uuid(),
    "list": Text(),
}
_GIVEN: Final = {"id": Text()}
"""Ids come as texts."""


def sql(condition: Condition) -> ColumnElement[bool]:
    """The condition on a row of the kind's table; where it does not hold, false or NULL.

    It takes the values that `values` gives for any condition of the same shape.
    """
    kind = condition.kind
    numbers = itertools.count()

    def holds(part: Rule | Group, wanted: bool) -> ColumnElement[bool]:
        if isinstance(part, Rule):
            found = _is_so(kind, part, f"where_{next(numbers)}")
            return found if part.wanted == wanted else found.is_not(True)
        wanted = wanted != part.negated
        parts = [holds(inner, wanted) for inner in part.parts]
        return and_(*parts) if (part.combinator == "and") == wanted else or_(*parts)

    return holds(condition.root, True)


def values(condition: Condition, now: dt.datetime, zone: dt.tzinfo = dt.UTC) -> dict[str, Any]:
    """The values of its places, relative days and moments as they are now in a time zone."""
    found: dict[str, Any] = {}
    for number, rule in enumerate(condition.rules):
        found |= _values(condition.kind, rule, f"where_{number}", now, zone)
    return found


def _values(
    kind: RecordType, rule: Rule, name: str, now: dt.datetime, zone: dt.tzinfo
) -> dict[str, Any]:
    given: list[Any] = list(rule.values)
    match rule.field.kind:
        case "datetime":
            spans = [moments.span(value, now, zone) for value in given]
            begins = {f"{name}_{i}": begin for i, (begin, _) in enumerate(spans)}
            return begins | {f"{name}_{i}_end": end for i, (_, end) in enumerate(spans)}
        case "money":
            amounts = {f"{name}_{i}": value.amount for i, value in enumerate(given)}
            return amounts | {f"{name}_{i}_in": value.currency for i, value in enumerate(given)}
        case "date":
            given = [moments.day(value, now, zone) for value in given]
            if rule.custom is not None:
                given = [value.isoformat() for value in given]
    if rule.test in ("contains", "begins", "ends") or rule.field.part:
        given = [folded(value) for value in given]
    if _is_one_of(kind, rule):
        return {name: given}
    return {f"{name}_{i}": value for i, value in enumerate(given)}


def _is_so(kind: RecordType, rule: Rule, name: str) -> ColumnElement[bool]:
    """What a rule looks at is so; else it is false or NULL."""
    column = _column(kind, rule)
    if rule.field.part:
        return _has(rule, column, name)
    if rule.test == "empty":
        return _is_empty(rule, column)
    if _is_looked_up(kind, rule):
        look = kind.filters[rule.field.name]
        return or_(*(look(_place(f"{name}_{i}", "text")) for i in range(len(rule.values))))
    if _is_one_of(kind, rule):
        several = _places(name, _type_of(rule))
        if rule.field.kind == "list":
            return column.bool_op("&&")(several)
        among: ColumnElement[bool] = column == func.any(several)
        return among
    match rule.field.kind:
        case "datetime":
            return _is_then(rule.test, column, name, len(rule.values))
        case "money":
            return _is_worth(kind, rule, column, name)
    places = [_place(f"{name}_{i}", _type_of(rule)) for i in range(len(rule.values))]
    return _compares(rule.test, column, places)


def _is_one_of(kind: RecordType, rule: Rule) -> bool:
    """Whether its values are compared all at once."""
    if rule.test != "among" or rule.field.kind in ("datetime", "money"):
        return False
    return rule.field.kind == "list" or (len(rule.values) > 1 and not _is_looked_up(kind, rule))


def _is_looked_up(kind: RecordType, rule: Rule) -> bool:
    """Whether the service has a quicker way to those that have a value than to look at each."""
    few = len(rule.values) <= MOST_LOOKUPS and not rule.field.part
    return rule.test == "among" and rule.field.name in kind.filters and few


def _is_empty(rule: Rule, column: ColumnElement[Any]) -> ColumnElement[bool]:
    match rule.field.kind:
        case "text":
            return or_(column.is_(None), column == literal_column("''", Text))
        case "list":
            return or_(column.is_(None), func.cardinality(column) == literal_column("0"))
    return column.is_(None)


def _has(rule: Rule, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """One of a list's objects has a part that is so; of an empty list, none has one."""
    each = func.jsonb_array_elements(column).column_valued(f"{name}_each")
    part = cast(each.op("->>")(literal_column(f"'{rule.field.part}'")), Text)
    there = part != literal_column("''", Text)
    found: Select[Any] = select(literal_column("1"))
    if rule.test == "empty":
        return ~found.where(there).exists()
    if rule.test == "among":
        so: ColumnElement[bool] = folded_column(part) == func.any(_places(name, "text"))
    else:
        so = _compares(rule.test, part, [_place(f"{name}_0", "text")])
    return found.where(there, so).exists()


def _is_then(test: str, column: ColumnElement[Any], name: str, count: int) -> ColumnElement[bool]:
    begins = [_place(f"{name}_{i}", "datetime") for i in range(count)]
    ends = [_place(f"{name}_{i}_end", "datetime") for i in range(count)]
    match test:
        case "under":
            return column < begins[0]
        case "most":
            return column < ends[0]
        case "over":
            return column >= ends[0]
        case "least":
            return column >= begins[0]
        case "within":
            return and_(column >= begins[0], column < ends[1])
    spans = zip(begins, ends, strict=True)
    return or_(*(and_(column >= begin, column < end) for begin, end in spans))


def _is_worth(
    kind: RecordType, rule: Rule, column: ColumnElement[Any], name: str
) -> ColumnElement[bool]:
    shown = kind.expression(rule.field.name)
    currency = cast(shown.op("->>")(literal_column("'currency'")), Text)
    places = [_place(f"{name}_{i}", "money") for i in range(len(rule.values))]
    if rule.test == "within":
        found = [_compares("within", column, places)]
    else:
        found = [_compares(rule.test, column, [place]) for place in places]
    for i, value in enumerate(rule.values[: len(found)]):
        if isinstance(value, Amount) and value.currency is not None:
            found[i] = and_(found[i], currency == _place(f"{name}_{i}_in", "text"))
    return or_(*found)


def _compares(
    test: str, column: ColumnElement[Any], places: list[ColumnElement[Any]]
) -> ColumnElement[bool]:
    first = places[0]
    match test:
        case "among":
            return column == first
        case "under":
            return column < first
        case "most":
            return column <= first
        case "over":
            return column > first
        case "least":
            return column >= first
        case "within":
            return and_(column >= first, column <= places[1])
    text = folded_column(column)
    found: ColumnElement[bool]
    match test:
        case "begins":
            found = func.starts_with(text, first)
        case "ends":
            found = func.right(text, func.char_length(first)) == first
        case _:
            found = func.strpos(text, first) > literal_column("0")
    return found


# --- what is compared, with what ------------------------------------------------------------------


def _column(kind: RecordType, rule: Rule) -> ColumnElement[Any]:
    """SQL of what the record's readers get there, as it is compared."""
    if rule.custom is not None:
        return _custom_column(kind, rule.field.kind, rule.custom)
    found = kind.expression(rule.field.name)
    match rule.field.kind:
        case "money":
            # An amount without a currency is not shown.
            return case((found.is_not(None), kind.compared(rule.field.name)))
        case "decimal" if isinstance(found.type, Float) or not isinstance(found.type, Numeric):
            # As its readers see it: as a number it is another one in its last digits.
            return cast(cast(found, Text), Numeric)
    return found


def _custom_column(kind: RecordType, of: str, name: str) -> ColumnElement[Any]:
    """A tenant's own field; a value that one of another kind has left there is none."""
    # It has been found among the tenant's fields: it is a lower-case identifier.
    key = literal_column(f"'{name}'", Text)
    json_type = func.jsonb_typeof(kind.model.custom.op("->")(key))
    text = cast(kind.model.custom.op("->>")(key), Text)

    def held(type: str) -> ColumnElement[bool]:
        return json_type == literal_column(f"'{type}'", Text)

    match of:
        case "decimal":
            return case((held("number"), cast(text, Numeric)))
        case "boolean":
            return case((held("boolean"), cast(text, Boolean)))
        case "date":
            # As ISO writes them, their order is that of their text.
            is_date = text.op("~")(literal_column(f"'^{DATE}$'", Text))
            return collate(case((and_(held("string"), is_date), text)), "C")
    return case((held("string"), text))


def _type_of(rule: Rule) -> str:
    # A tenant's own days are kept as text.
    return "text" if rule.custom is not None and rule.field.kind == "date" else rule.field.kind


def _place(name: str, of: str) -> ColumnElement[Any]:
    return cast(bindparam(name, type_=_GIVEN.get(of, _TYPES[of])), _TYPES[of])


def _places(name: str, of: str) -> ColumnElement[Any]:
    return cast(bindparam(name, type_=ARRAY(_GIVEN.get(of, _TYPES[of]))), ARRAY(_TYPES[of]))
