"""A condition that has been checked: groups of rules about the fields of a kind of record."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from liaison_kit.conditions.moments import Relative
from liaison_kit.records.recordtype import FieldInfo, RecordType

Test = Literal[
    "among", "under", "most", "over", "least", "within", "contains", "begins", "ends", "empty"
]

TESTS: Final[dict[str, tuple[Test, bool]]] = {
    "=": ("among", True),
    "!=": ("among", False),
    "in": ("among", True),
    "notIn": ("among", False),
    "<": ("under", True),
    "<=": ("most", True),
    ">": ("over", True),
    ">=": ("least", True),
    "between": ("within", True),
    "notBetween": ("within", False),
    "contains": ("contains", True),
    "doesNotContain": ("contains", False),
    "beginsWith": ("begins", True),
    "doesNotBeginWith": ("begins", False),
    "endsWith": ("ends", True),
    "doesNotEndWith": ("ends", False),
    "null": ("empty", True),
    "notNull": ("empty", False),
}
"""What each operator looks at, and whether it wants it so; otherwise it is the exact opposite."""


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount, of one currency or of any."""

    amount: Decimal
    currency: str | None


Value = str | int | bool | Decimal | Amount | dt.date | dt.datetime | Relative


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that is asked of one field."""

    field: FieldInfo
    operator: str
    values: tuple[Value, ...]

    @property
    def test(self) -> Test:
        """What is looked at."""
        # A list contains what is one of its elements.
        is_list = self.field.kind == "list" and not self.field.part
        return "among" if is_list and self.values else TESTS[self.operator][0]

    @property
    def wanted(self) -> bool:
        """Whether the record shall be so; else it shall not."""
        return TESTS[self.operator][1]

    @property
    def custom(self) -> str | None:
        """The name of the tenant's own field that this is about."""
        return self.field.name[7:] if self.field.name.startswith("custom.") else None

    @property
    def shape(self) -> tuple[Any, ...]:
        """What its SQL depends on."""
        currencies = [isinstance(v, Amount) and v.currency is not None for v in self.values]
        return self.field.name, self.field.kind, self.operator, tuple(currencies)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What makes it another rule."""
        return self.field.name, self.field.kind, self.operator, tuple(map(str, self.values))


@dataclass(frozen=True, slots=True)
class Group:
    """Rules and groups of which all, or one at least, hold; `negated` turns that round."""

    combinator: Literal["and", "or"]
    negated: bool
    parts: tuple["Rule | Group", ...]

    @property
    def shape(self) -> tuple[Any, ...]:
        """What its SQL depends on."""
        return self.combinator, self.negated, tuple(part.shape for part in self.parts)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What makes it another group."""
        return self.combinator, self.negated, tuple(part.identity for part in self.parts)


@dataclass(frozen=True, slots=True)
class Condition:
    """What is asked of the records of a kind."""

    kind: RecordType
    root: Group

    @property
    def shape(self) -> tuple[Any, ...]:
        """What its SQL depends on."""
        return self.root.shape

    @property
    def identity(self) -> tuple[Any, ...]:
        """What makes it another condition; its relative days and moments stay relative in it."""
        return self.root.identity

    @property
    def dated(self) -> bool:
        """Whether it depends on where a day begins."""
        return any(rule.field.kind in ("date", "datetime") for rule in self.rules)

    @property
    def rules(self) -> Iterator[Rule]:
        """Its rules, in their order."""
        return _rules(self.root)


def _rules(part: Rule | Group) -> Iterator[Rule]:
    if isinstance(part, Rule):
        yield part
    else:
        for inner in part.parts:
            yield from _rules(inner)
