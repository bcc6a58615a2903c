"""Suggest which column of a file feeds which field, from the header's words and the values.

A field gets at most one column and a column at most one field. A header counts when it is a name of
the field, its words in another order included; what is merely like one names nothing, since a
column that feeds the wrong field is worse than one that is asked about. Each suggestion says how
sure it is and why, so that a person can check it at a glance.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from liaison_kit.exports.columns import LIAISON_ID
from liaison_kit.imports.converting import Formats, converter, fold
from liaison_kit.imports.fields import ImportField
from liaison_kit.imports.matching import Choices

SURE_ENOUGH = 0.6
SAMPLED = 200
LEFT_OUT = "-"
"""In a mapping: the column is left out, in so many words."""
PLAIN = ("text", "tags", "choice", "reference", "phone")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A column and the field it seems to feed; `field` is None when nothing fits."""

    column: str
    field: str | None
    confidence: float
    reason: str


@lru_cache(maxsize=50_000)
def words(name: str) -> str:
    """A header as plain words: `ContactName`, `contact_name` and `Nom du contact :` alike."""
    apart = re.sub(r"(?<=[a-zà-ÿ0-9])(?=[A-ZÀ-Ý])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return " ".join(re.findall(r"[^\W_]+", fold(apart.replace("’", "'"))))


@dataclass(frozen=True, slots=True)
class _Found:
    """A field that a column may feed: how sure that is, and why."""

    rank: int
    score: float
    reason: str


def suggest(
    header: Sequence[str],
    samples: Mapping[str, Sequence[str]],
    fields: Sequence[ImportField],
) -> list[Suggestion]:
    """One suggestion per column, in the header's order."""
    exported = _is_exported(header, fields)
    names = _Names(fields)
    filled = [[v for v in samples.get(c, ())[:SAMPLED] if v.strip()] for c in header]
    found = [
        list(_scored(column, values, fields, names))
        for column, values in zip(header, filled, strict=True)
    ]
    scored = [(each, position) for position, those in enumerate(found) for each in those]
    scored.sort(key=lambda pair: (-pair[0].score, pair[0].rank, pair[1]))
    taken: dict[int, _Found] = {}
    used: set[int] = set()
    for each, position in scored:
        if position not in taken and each.rank not in used:
            used.add(each.rank)
            taken[position] = each
    _next_of_its_kind(fields, found, taken, used)
    return [
        _said(column, taken.get(position), fields, exported)
        for position, column in enumerate(header)
    ]


def _is_exported(header: Sequence[str], fields: Sequence[ImportField]) -> bool:
    """Whether the file is one of Liaison's own: it has a column of its ids."""
    own = {
        _together(name)
        for spec in fields
        if spec.name == LIAISON_ID
        for name in (spec.name, *spec.label.values())
    }
    return any(_together(column) in own for column in header)


def _next_of_its_kind(
    fields: Sequence[ImportField],
    found: Sequence[Sequence[_Found]],
    taken: dict[int, _Found],
    used: set[int],
) -> None:
    """A second column of a name feeds the next of a field's copies: another number is a number."""
    for position, those in enumerate(found):
        for each in those:
            copies = (
                rank
                for rank, spec in enumerate(fields)
                if spec.copy_of == fields[each.rank].name and rank not in used
            )
            free = next(copies, None)
            if position not in taken and free is not None:
                used.add(free)
                taken[position] = _Found(free, each.score * 0.9, f"{each.reason}, as another has")


def _said(
    column: str, found: _Found | None, fields: Sequence[ImportField], exported: bool
) -> Suggestion:
    if found is None:
        return Suggestion(column, None, 0.0, "No field is called so")
    spec = fields[found.rank]
    if not spec.kept:
        return Suggestion(column, spec.name, round(min(found.score, 1.0), 2), found.reason)
    if exported:
        return Suggestion(column, LEFT_OUT, 1.0, "Liaison keeps it by itself")
    return Suggestion(column, None, 0.0, "Liaison keeps such a thing by itself")


@dataclass
class _Names:
    """What all fields are called: as plain words, without spaces, and in any order."""

    fields: Sequence[ImportField]
    exact: dict[str, dict[int, tuple[float, str]]] = field(default_factory=dict)
    sorted: dict[str, dict[int, tuple[float, str]]] = field(default_factory=dict)
    shared: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for rank, spec in enumerate(self.fields):
            self._add(rank, spec.name, 1.0, "The column has the field's name")
            for label in spec.label.values():
                self._add(rank, label, 1.0, "The column has the field's label")
            for alias in spec.aliases:
                self._add(rank, alias, 0.97, f"The column is called {alias}")
            for name in spec.shared:
                self.shared.setdefault(_together(name), []).append(rank)

    def _add(self, rank: int, name: str, score: float, reason: str) -> None:
        if together := _together(name):
            self.exact.setdefault(together, {}).setdefault(rank, (score, reason))
            turned = (score * 0.95, f"The column has the words of {name}")
            self.sorted.setdefault(_in_order(name), {}).setdefault(rank, turned)

    def of(self, column: str) -> dict[int, tuple[float, str]]:
        """The fields that are called so, by rank: how sure that is, and why."""
        return self.sorted.get(_in_order(column), {}) | self.exact.get(_together(column), {})


def _together(name: str) -> str:
    return words(name).replace(" ", "")


def _in_order(name: str) -> str:
    return " ".join(sorted(words(name).split()))


def _scored(
    column: str, values: Sequence[str], fields: Sequence[ImportField], names: _Names
) -> Iterator[_Found]:
    named = names.of(column)
    for rank in names.shared.get(_together(column), ()):
        if values and _told(values, fields[rank]) > 0.8:
            # More than a name: another field has the same, and these values settle it.
            yield _Found(rank, 1.1, f"The values are those of {fields[rank].label['en']}")
    for rank, spec in enumerate(fields):
        if spec.kind == "reference" and _has_ids_of(column, values, spec):
            yield _Found(rank, 1.1, "The values are ids of Liaison's")
    for rank, (score, reason) in named.items():
        fit, why = _with_values(values, fields[rank], score, reason)
        if fit >= SURE_ENOUGH:
            yield _Found(rank, fit, why)
    if named or not values:
        return
    for rank, spec in enumerate(fields):
        # E-mail addresses look like nothing else, so they speak without a name.
        if spec.kind == "email" and not spec.further and (fitting := _fitting(values, spec)) > 0.8:
            reason = f"{round(fitting * 100)}% of the values are of this kind"
            yield _Found(rank, 0.7 * fitting, reason)
            return


def _has_ids_of(column: str, values: Sequence[str], spec: ImportField) -> bool:
    """Whether it is the column of an exported file that says exactly which record is meant."""
    if not values or _together(column) != _together(spec.column or ""):
        return False
    return all(_ID.fullmatch(value.strip()) for value in values)


_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)


def _told(values: Sequence[str], spec: ImportField) -> float:
    return sum(fold(value.strip(" .")) in spec.telling for value in values) / len(values)


def _with_values(
    values: Sequence[str], spec: ImportField, by_name: float, reason: str
) -> tuple[float, str]:
    if spec.kept:
        return 0.7 * by_name, reason
    if not values:
        # Of two columns that a field is called by, the one that says something feeds it.
        return by_name - 0.05, reason
    fitting = _fitting(values, spec)
    if spec.kind in PLAIN:
        return by_name - (0.3 if fitting < 0.5 and by_name < 1 else 0.0), reason
    if fitting >= 0.8:
        return by_name, f"{reason}; the values fit"
    # A name that says so plainly stays, so that the values are reported; a vague one doesn't.
    weaker = by_name - 0.5 * (1 - fitting)
    return weaker, f"{reason}, but only {round(fitting * 100)}% of the values fit"


def _fitting(values: Sequence[str], spec: ImportField) -> float:
    if spec.kind == "reference":
        return 1.0
    if spec.kind == "choice":
        if spec.choices is None:
            return 1.0
        known = Choices(spec.choices).resolve(None, values)
        return sum(1 for value in values if value in known) / len(values)
    converted = converter(spec, Formats())(values)
    failed = len(converted.problems)
    if spec.kind == "date" and failed:
        other = converter(spec, Formats(dates="mdy"))(values)
        failed = min(failed, len(other.problems))
    return 1 - failed / len(values)
