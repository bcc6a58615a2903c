"""Conditions in words, English and French: what a rule asks, for who reads it and not JSON.

"Stage is customer and (amount is over 10,000 or tags has vip)". Numbers, dates and amounts are
written as the language writes them.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal
from uuid import UUID

from babel.dates import format_date, format_time
from babel.numbers import format_currency, format_decimal

from liaison_kit.conditions.moments import Relative
from liaison_kit.conditions.tree import Amount, Condition, Group, Rule, Value
from liaison_kit.records.recordtype import FieldInfo

Language = Literal["en", "fr"]
_NO_NAMES: Final[Mapping[str, str]] = {}


def said(
    condition: Condition,
    language: Language,
    names: Mapping[str, str] = _NO_NAMES,
    zone: dt.tzinfo = dt.UTC,
    me: UUID | None = None,
) -> str:
    """The condition in words.

    `names` are what people call the ids and the choices that it names, where the caller knows;
    moments are told in a time zone. `me` is who reads it, and is called so.
    """
    known = names if me is None else {**names, str(me): _ME[language]}
    text = _Words(language, known, zone).group(condition.root)
    return text[:1].upper() + text[1:]


class _Words:
    def __init__(self, language: Language, names: Mapping[str, str], zone: dt.tzinfo) -> None:
        self._language: Language = language
        self._names = names
        self._zone = zone

    def group(self, group: Group) -> str:
        """A group; what would be read otherwise stands in brackets."""
        joint = f" {_JOINTS[self._language][group.combinator]} "
        text = joint.join(self._part(part, len(group.parts)) for part in group.parts)
        return f"{_JOINTS[self._language]['not']} ({text})" if group.negated else text

    def _part(self, part: Rule | Group, beside: int) -> str:
        if isinstance(part, Rule):
            return self._rule(part)
        text = self.group(part)
        alone = beside == 1 or len(part.parts) == 1 or part.negated
        return text if alone else f"({text})"

    def _rule(self, rule: Rule) -> str:
        phrase = PHRASES[self._language][_manner(rule.field)][rule.operator]
        label = getattr(rule.field.label, self._language)
        values = [self._value(rule, value) for value in rule.values]
        return phrase.format(
            field=_inside(label),
            value=_listed(values, _JOINTS[self._language]["or"]),
            first=values[0] if values else "",
            last=values[-1] if values else "",
        )

    def _value(self, rule: Rule, value: Value) -> str:
        match value:
            case bool():
                return _TRUTH[self._language][value]
            case int():
                return self._number(Decimal(value))
            case Decimal():
                return self._number(value)
            case Amount():
                return self._amount(value)
            case Relative():
                return self._relative(value, of_days=rule.field.kind == "date")
            case dt.datetime():
                there = value.astimezone(self._zone) if value.tzinfo else value
                time = format_time(there.time(), "short", locale=self._language)
                return f"{self._day(there.date())} {_AT[self._language]} {time}"
            case dt.date():
                return self._day(value)
        return self._names.get(value, value)

    def _number(self, number: Decimal) -> str:
        # A year is no thousands and some.
        return format_decimal(
            number,
            locale=self._language,
            decimal_quantization=False,
            group_separator=abs(number) >= 10_000,
        )

    def _amount(self, amount: Amount) -> str:
        if amount.currency is None:
            return self._number(amount.amount)
        return format_currency(
            amount.amount, amount.currency, locale=self._language, decimal_quantization=False
        )

    def _day(self, day: dt.date) -> str:
        article = "le " if self._language == "fr" else ""
        return article + format_date(day, "long", locale=self._language)

    def _relative(self, value: Relative, of_days: bool) -> str:
        anchor = "startOfDay" if of_days and value.anchor == "now" else value.anchor
        from_there = _ANCHORS[self._language][anchor]
        if not value.offset:
            return from_there
        one, many = _UNITS[self._language][value.unit]
        by = abs(value.offset)
        way = _WAYS[self._language][value.offset > 0]
        return f"{from_there} {way} {self._number(Decimal(by))} {one if by == 1 else many}"


def _manner(info: FieldInfo) -> str:
    return "parts" if info.part else _MANNERS[info.kind]


def _inside(label: str) -> str:
    """A label within a sentence; an abbreviation stays as it is."""
    return label[:1].lower() + label[1:] if label[1:2].islower() else label


def _listed(values: Sequence[str], joint: str) -> str:
    if len(values) < 2:
        return "".join(values)
    return f"{', '.join(values[:-1])} {joint} {values[-1]}"


# --- the words ------------------------------------------------------------------------------------

_MANNERS: Final = {
    "text": "text",
    "id": "text",
    "boolean": "text",
    "integer": "number",
    "decimal": "number",
    "money": "number",
    "date": "time",
    "datetime": "time",
    "list": "list",
}
"""How a field of each kind is spoken of."""

_SAME_EN: Final = {
    "=": "{field} is {value}",
    "!=": "{field} is not {value}",
    "in": "{field} is one of {value}",
    "notIn": "{field} is none of {value}",
    "null": "{field} is empty",
    "notNull": "{field} is not empty",
    "between": "{field} is between {first} and {last}",
    "notBetween": "{field} is not between {first} and {last}",
}
_SAME_FR: Final = {
    "=": "{field} est {value}",
    "!=": "{field} n'est pas {value}",
    "in": "{field} est parmi {value}",
    "notIn": "{field} n'est pas parmi {value}",
    "null": "{field} est vide",
    "notNull": "{field} n'est pas vide",
    "between": "{field} est entre {first} et {last}",
    "notBetween": "{field} n'est pas entre {first} et {last}",
}
PHRASES: Final[dict[Language, dict[str, dict[str, str]]]] = {
    "en": {
        "text": _SAME_EN
        | {
            "contains": "{field} contains {value}",
            "doesNotContain": "{field} does not contain {value}",
            "beginsWith": "{field} begins with {value}",
            "doesNotBeginWith": "{field} does not begin with {value}",
            "endsWith": "{field} ends with {value}",
            "doesNotEndWith": "{field} does not end with {value}",
        },
        "number": _SAME_EN
        | {
            "<": "{field} is under {value}",
            "<=": "{field} is at most {value}",
            ">": "{field} is over {value}",
            ">=": "{field} is at least {value}",
        },
        "time": _SAME_EN
        | {
            "<": "{field} is before {value}",
            "<=": "{field} is not after {value}",
            ">": "{field} is after {value}",
            ">=": "{field} is not before {value}",
        },
        "list": _SAME_EN
        | {
            "=": "{field} has {value}",
            "contains": "{field} has {value}",
            "!=": "{field} has no {value}",
            "doesNotContain": "{field} has no {value}",
            "in": "{field} has one of {value}",
            "notIn": "{field} has none of {value}",
        },
        "parts": _SAME_EN
        | {
            "=": "{field} has {value}",
            "!=": "{field} has no {value}",
            "in": "{field} has one of {value}",
            "notIn": "{field} has none of {value}",
            "contains": "{field} has one that contains {value}",
            "doesNotContain": "{field} has none that contains {value}",
            "beginsWith": "{field} has one that begins with {value}",
            "doesNotBeginWith": "{field} has none that begins with {value}",
            "endsWith": "{field} has one that ends with {value}",
            "doesNotEndWith": "{field} has none that ends with {value}",
        },
    },
    # Nothing here agrees with the label's gender or number.
    "fr": {
        "text": _SAME_FR
        | {
            "contains": "{field} contient {value}",
            "doesNotContain": "{field} ne contient pas {value}",
            "beginsWith": "{field} commence par {value}",
            "doesNotBeginWith": "{field} ne commence pas par {value}",
            "endsWith": "{field} se termine par {value}",
            "doesNotEndWith": "{field} ne se termine pas par {value}",
        },
        "number": _SAME_FR
        | {
            "<": "{field} est en dessous de {value}",
            "<=": "{field} est au plus à {value}",
            ">": "{field} est au-dessus de {value}",
            ">=": "{field} est au moins à {value}",
        },
        "time": _SAME_FR
        | {
            "<": "{field} est avant {value}",
            "<=": "{field} n'est pas après {value}",
            ">": "{field} est après {value}",
            ">=": "{field} n'est pas avant {value}",
        },
        "list": _SAME_FR
        | {
            "=": "{field} : avec {value}",
            "contains": "{field} : avec {value}",
            "!=": "{field} : sans {value}",
            "doesNotContain": "{field} : sans {value}",
            "in": "{field} : avec {value}",
            "notIn": "{field} : sans {value}",
            "null": "{field} : sans aucune valeur",
            "notNull": "{field} : avec une valeur au moins",
        },
        "parts": _SAME_FR
        | {
            "=": "{field} : avec {value}",
            "!=": "{field} : sans {value}",
            "in": "{field} : avec {value}",
            "notIn": "{field} : sans {value}",
            "contains": "{field} : avec une valeur qui contient {value}",
            "doesNotContain": "{field} : sans valeur qui contienne {value}",
            "beginsWith": "{field} : avec une valeur qui commence par {value}",
            "doesNotBeginWith": "{field} : sans valeur qui commence par {value}",
            "endsWith": "{field} : avec une valeur qui se termine par {value}",
            "doesNotEndWith": "{field} : sans valeur qui se termine par {value}",
            "null": "{field} : sans aucune valeur",
            "notNull": "{field} : avec une valeur au moins",
        },
    },
}
_JOINTS: Final[dict[Language, dict[str, str]]] = {
    "en": {"and": "and", "or": "or", "not": "not"},
    "fr": {"and": "et", "or": "ou", "not": "non"},
}
_TRUTH: Final[dict[Language, dict[bool, str]]] = {
    "en": {True: "true", False: "false"},
    "fr": {True: "vrai", False: "faux"},
}
_ME: Final[dict[Language, str]] = {"en": "me", "fr": "moi"}
_AT: Final[dict[Language, str]] = {"en": "at", "fr": "à"}
_WAYS: Final[dict[Language, dict[bool, str]]] = {
    "en": {True: "plus", False: "minus"},
    "fr": {True: "plus", False: "moins"},
}
_ANCHORS: Final[dict[Language, dict[str, str]]] = {
    "en": {
        "now": "now",
        "startOfDay": "today",
        "endOfDay": "today",
        "startOfWeek": "the first day of this week",
        "endOfWeek": "the last day of this week",
        "startOfMonth": "the first day of this month",
        "endOfMonth": "the last day of this month",
        "startOfYear": "the first day of this year",
        "endOfYear": "the last day of this year",
    },
    "fr": {
        "now": "maintenant",
        "startOfDay": "aujourd'hui",
        "endOfDay": "aujourd'hui",
        "startOfWeek": "le premier jour de cette semaine",
        "endOfWeek": "le dernier jour de cette semaine",
        "startOfMonth": "le premier jour de ce mois",
        "endOfMonth": "le dernier jour de ce mois",
        "startOfYear": "le premier jour de cette année",
        "endOfYear": "le dernier jour de cette année",
    },
}
_UNITS: Final[dict[Language, dict[str, tuple[str, str]]]] = {
    "en": {
        "minute": ("minute", "minutes"),
        "hour": ("hour", "hours"),
        "day": ("day", "days"),
        "week": ("week", "weeks"),
        "month": ("month", "months"),
        "year": ("year", "years"),
    },
    "fr": {
        "minute": ("minute", "minutes"),
        "hour": ("heure", "heures"),
        "day": ("jour", "jours"),
        "week": ("semaine", "semaines"),
        "month": ("mois", "mois"),
        "year": ("an", "ans"),
    },
}
