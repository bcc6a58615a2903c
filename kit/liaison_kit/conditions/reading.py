"""Conditions as they come: React Query Builder's tree, read and checked against a kind of record.

Every bad rule is named by its path, as `rules[2].rules[0].field`. How many rules there are and how
deep they lie is looked at on the way down, so that a tree that is too large costs nothing.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Uuid, select
from sqlalchemy import column as sql_column
from sqlalchemy import table as named
from sqlalchemy.orm import Session

from liaison_kit.conditions.giving import given_values
from liaison_kit.conditions.tree import TESTS, Condition, Group, Rule
from liaison_kit.context import NOBODY, context
from liaison_kit.records import custom
from liaison_kit.records.operators import operators_of
from liaison_kit.records.recordtype import FieldInfo, RecordType
from liaison_kit.sight import Seen, peers_of
from liaison_sdk.errors import FieldError, InvalidInput
from liaison_sdk.labels import Label

MOST_RULES: Final = 500
MOST_VALUES: Final = 5000
DEEPEST: Final = 10
"""How many groups a rule may lie in."""

LONGEST: Final = 100_000
"""How many characters a condition may have where it comes as text."""

_OF_A_RULE: Final = {"field", "operator", "value"}
_OF_A_GROUP: Final = {"combinator", "not", "rules"}
_THE_BUILDERS: Final = {"id", "path", "disabled", "meta"}
"""What the builder keeps for itself in every rule and group; it says nothing about records."""


def read(text: str, path: str = "") -> Any:
    """A condition's JSON text as a tree that has yet to be checked."""
    if len(text) > LONGEST:
        raise InvalidInput.field(path, "too_long", f"A condition has at most {LONGEST} characters")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        said = "It is a condition as JSON: " + '{"combinator": "and", "rules": […]}'
        raise InvalidInput.field(path, "json", said) from None


def parse(
    session: Session, kind: RecordType, tree: Any, path: str = "", me: UUID | None = None
) -> Condition:
    """A tree as a condition on records of a kind; whatever is wrong with it is named at once.

    `path` is where the tree stands in what was sent, `me` who asks: a condition that is kept, to be
    asked when nobody does, has none.
    """
    reader = _Reader(session, kind, me)
    root = reader.group(tree, path, 1)
    if reader.errors or root is None:
        raise InvalidInput("Some rules need another look", reader.errors)
    return _as_seen(session, Condition(kind, root))


def raw_rules(tree: Any) -> Iterator[dict[str, Any]]:
    """The rules of a tree that has yet to be checked, as far down as one may be."""
    level = [tree]
    for _ in range(DEEPEST + 1):
        below: list[Any] = []
        for part in level:
            if isinstance(part, dict):
                inner = part.get("rules")
                if isinstance(inner, list):
                    below += inner
                else:
                    yield part
        level = below


class _Reader:
    """Goes through a tree and remembers what is wrong with it."""

    def __init__(self, session: Session, kind: RecordType, me: UUID | None) -> None:
        self._session = session
        self._kind = kind
        self._me = me
        self._rules = self._values = 0
        self.errors: list[FieldError] = []

    def group(self, raw: Any, path: str, depth: int) -> Group | None:
        """A group, or nothing where something is wrong with it."""
        if depth > DEEPEST:
            said = f"A rule lies in at most {DEEPEST} groups, one in the other"
            raise InvalidInput.field(path, "too_deep", said)
        if not isinstance(raw, dict):
            self._wrong(path, "group", "A condition is a group: a combinator and its rules")
            return None
        self._strangers(raw, path, _OF_A_GROUP)
        combinator, negated, rules = raw.get("combinator"), raw.get("not"), raw.get("rules")
        if combinator not in ("and", "or"):
            self._wrong(_at(path, "combinator"), "choice", "The combinator is and, or it is or")
        if not isinstance(negated, bool | None):
            self._wrong(_at(path, "not"), "boolean", "not is true or false")
        if not isinstance(rules, list) or not rules:
            self._count(path)
            self._wrong(_at(path, "rules"), "no_rules", "A group has a list of rules, one at least")
            return None
        parts = [
            self._part(inner, _at(path, f"rules[{number}]"), depth)
            for number, inner in enumerate(rules)
        ]
        found = tuple(part for part in parts if part is not None)
        return Group("or" if combinator == "or" else "and", bool(negated), found)

    def _part(self, raw: Any, path: str, depth: int) -> Rule | Group | None:
        if isinstance(raw, dict) and "rules" in raw:
            return self.group(raw, path, depth + 1)
        self._count(path)
        try:
            rule = self._rule(raw, path)
        except InvalidInput as error:
            self.errors += error.errors
            return None
        self._values += len(rule.values)
        if self._values > MOST_VALUES:
            said = f"All its rules together have at most {MOST_VALUES} values"
            raise InvalidInput.field(path, "too_many_values", said)
        return rule

    def _rule(self, raw: Any, path: str) -> Rule:
        if isinstance(raw, str):
            said = "A combinator belongs to the group, not between its rules"
            raise InvalidInput.field(path, "rule", said)
        if not isinstance(raw, dict):
            said = "It is a rule: a field, an operator and a value"
            raise InvalidInput.field(path, "rule", said)
        self._strangers(raw, path, _OF_A_RULE)
        info = self._field(raw.get("field"), _at(path, "field"))
        operator = raw.get("operator")
        if not isinstance(operator, str) or operator not in info.operators:
            said = f"{info.name} has no operator {str(operator)[:40]!r}"
            said += f", only {', '.join(info.operators)}"
            raise InvalidInput.field(_at(path, "operator"), "operator", said)
        if TESTS[operator][0] == "empty":
            return Rule(info, operator, ())
        value, at = raw.get("value"), _at(path, "value")
        return Rule(info, operator, given_values(info, operator, value, at, self._me))

    def _field(self, name: Any, path: str) -> FieldInfo:
        if not isinstance(name, str):
            raise InvalidInput.field(path, "missing", "A rule names its field")
        info = self._kind.fields.get(name) or self._customs.get(name)
        if info is None and name in self._kind.filters:
            said = f"{name} is a filter of lists and no field: a record does not show it"
            raise InvalidInput.field(path, "not_filterable", said)
        if info is None:
            said = f"{self._kind.name} have no field {name[:80]!r}"
            raise InvalidInput.field(path, "unknown_field", said)
        if not info.operators:
            said = f"Nothing can be asked of {name}: it is no field that lists are filtered by"
            raise InvalidInput.field(path, "not_filterable", said)
        return info

    @cached_property
    def _customs(self) -> dict[str, FieldInfo]:
        """The tenant's own fields, looked up for the first name that is no other."""
        rows = custom.fields(self._session, self._kind.name)
        return {info.name: info for info in map(_as_field, rows)}

    def _strangers(self, raw: dict[str, Any], path: str, known: set[str]) -> None:
        """What the tree says beside: what would change its meaning is refused by name."""
        for name in raw.keys() - known - _THE_BUILDERS:
            if name == "valueSource" and raw[name] in ("value", None):
                continue
            if name == "muted" and not raw[name]:
                continue
            said = f"{str(name)[:40]} is not understood here"
            if name == "valueSource":
                said = "A field is compared with a value, not with another field"
            elif name == "muted":
                said = "It is muted: take it out"
            self._wrong(_at(path, str(name)[:40]), "unexpected", said)

    def _count(self, path: str) -> None:
        self._rules += 1
        if self._rules > MOST_RULES:
            said = f"A condition has at most {MOST_RULES} rules"
            raise InvalidInput.field(path, "too_many_rules", said)

    def _wrong(self, path: str, code: str, message: str) -> None:
        self.errors.append(FieldError(path, code, message))


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _as_field(row: custom.Known) -> FieldInfo:
    """A tenant's own field like any other."""
    kind = custom.CONDITION_KINDS[row.kind]
    return FieldInfo(
        name=f"custom.{row.name}",
        kind=kind,
        label=Label(en=row.label_en, fr=row.label_fr),
        personal=row.personal,
        searchable=False,
        filterable=True,
        sortable=False,
        required=row.required,
        choices=tuple(row.choices),
        choice_labels=custom.labels_of(row),
        operators=operators_of(kind, bool(row.choices)),
    )


# --- what is out of sight -------------------------------------------------------------------------


def _as_seen(session: Session, condition: Condition) -> Condition:
    """The condition, in which records that the caller may not see are nobody.

    So it says of a hidden record what it would say of none, in SQL and in Python alike.
    """
    asked: dict[Seen, set[str]] = {}
    for rule in condition.rules:
        seen = condition.kind.seen.get(rule.field.name)
        if seen is not None and not _sees_all(session, seen):
            asked.setdefault(seen, set()).update(map(str, rule.values))
    hidden = {seen: ids - _shown(session, seen, ids) for seen, ids in asked.items() if ids}
    if not hidden:
        return condition

    def blurred(part: Rule | Group) -> Any:
        if isinstance(part, Group):
            return replace(part, parts=tuple(blurred(inner) for inner in part.parts))
        unseen = hidden.get(condition.kind.seen.get(part.field.name, _NOTHING), set())
        return replace(part, values=tuple(_NOBODY if v in unseen else v for v in part.values))

    return Condition(condition.kind, blurred(condition.root))


_NOTHING: Final = Seen("", "")
_NOBODY: Final = str(NOBODY)


def _sees_all(session: Session, seen: Seen) -> bool:
    principal = context(session).principal
    if principal is None:
        return True
    return principal.may(f"{seen.kind}:read") and peers_of(principal, seen.kind) is None


def _shown(session: Session, seen: Seen, ids: Iterable[str]) -> set[str]:
    shown = named(seen.view, sql_column("id", Uuid))
    wanted = select(shown.c.id).where(shown.c.id.in_([UUID(id) for id in ids]))
    return {str(id) for id in session.scalars(wanted)}
