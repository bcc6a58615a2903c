"""Conditions in Python: whether a record is as they want it, as its readers get it."""

import datetime as dt
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from liaison_kit.conditions import moments
from liaison_kit.conditions.folding import folded
from liaison_kit.conditions.tree import Amount, Condition, Group, Rule

DATE: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
"""How a custom field holds a day; a field of this name that was of another kind left others."""

_CUSTOM: Final[Mapping[str, Any]] = {
    "text": str,
    "decimal": (int, float, Decimal),
    "date": str,
    "boolean": bool,
}


def matches(
    condition: Condition,
    record: Mapping[str, Any],
    now: dt.datetime,
    zone: dt.tzinfo = dt.UTC,
) -> bool:
    """Whether the condition holds for a record as its readers get it.

    What the record does not have is empty. It says what `sql` says of the same record.
    """
    return _holds(condition.root, record, now, zone)


def _holds(
    part: Rule | Group, record: Mapping[str, Any], now: dt.datetime, zone: dt.tzinfo
) -> bool:
    if isinstance(part, Rule):
        return _is_so(part, record, now, zone) == part.wanted
    found = (_holds(inner, record, now, zone) for inner in part.parts)
    return (all(found) if part.combinator == "and" else any(found)) != part.negated


def _is_so(rule: Rule, record: Mapping[str, Any], now: dt.datetime, zone: dt.tzinfo) -> bool:
    held = _held(rule, record)
    if rule.test == "empty":
        return held is None
    if held is None:
        return False
    values: Any = rule.values
    match rule.field.kind:
        case "list" if rule.field.part:
            sought = [folded(value) for value in values]
            return any(_compares(rule.test, folded(each), sought) for each in held)
        case "list":
            return any(value in held for value in values)
        case "datetime":
            return _is_then(rule.test, held, [moments.span(v, now, zone) for v in values])
        case "money":
            values = [v.amount for v in values if v.currency in (None, held.currency)]
            held = held.amount
        case "date":
            values = [moments.day(value, now, zone) for value in values]
            if rule.custom is not None:
                values = [value.isoformat() for value in values]
    return bool(values) and _compares(rule.test, held, values)


def _compares(test: str, held: Any, values: Any) -> bool:
    match test:
        case "among":
            return held in values
        case "under":
            return bool(held < values[0])
        case "most":
            return bool(held <= values[0])
        case "over":
            return bool(held > values[0])
        case "least":
            return bool(held >= values[0])
        case "within":
            return bool(values[0] <= held <= values[1])
        case "begins":
            return folded(held).startswith(folded(values[0]))
        case "ends":
            return folded(held).endswith(folded(values[0]))
    return folded(values[0]) in folded(held)


def _is_then(test: str, held: dt.datetime, spans: list[moments.Span]) -> bool:
    first, last = spans[0][0], spans[-1][1]
    match test:
        case "under":
            return held < first
        case "most":
            return held < last
        case "over":
            return held >= last
        case "least":
            return held >= first
        case "within":
            return first <= held < last
    return any(begin <= held < end for begin, end in spans)


def _held(rule: Rule, record: Mapping[str, Any]) -> Any:
    """What the record has there, to be compared; None for nothing."""
    kind = rule.field.kind
    if rule.custom is not None:
        held = (record.get("custom") or {}).get(rule.custom)
        if not isinstance(held, _CUSTOM[kind]) or (isinstance(held, bool) and kind != "boolean"):
            return None
        if kind == "date" and not re.fullmatch(DATE, held):
            return None
    else:
        held = record.get(rule.field.name)
    # An empty text or list has nothing in it.
    if held is None or held == "" or held == []:
        return None
    if rule.field.part:
        return [each[rule.field.part] for each in held if each[rule.field.part]] or None
    match kind:
        case "decimal":
            return Decimal(str(held))
        case "money":
            return Amount(Decimal(held["amount"]), held["currency"])
        case "date" if rule.custom is None:
            return dt.date.fromisoformat(held)
        case "datetime":
            return dt.datetime.fromisoformat(held)
    return held
