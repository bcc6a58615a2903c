"""Suggest which column of a file feeds which field, from the header's words and the values.

A field gets at most one column and a column at most one field. Each suggestion says how sure it is
and why, so that a person can check it at a glance.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz

from liaison_kit.imports.converting import Formats, converter, fold
from liaison_kit.imports.fields import ImportField
from liaison_kit.imports.matching import Choices

SURE_ENOUGH = 0.6
SAMPLED = 200
# Values of these kinds look like nothing else, so they may speak without a name.
TELLING = ("email", "url")
PLAIN = ("text", "tags", "choice", "reference", "phone")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A column and the field it seems to feed; `field` is None when nothing fits."""

    column: str
    field: str | None
    confidence: float
    reason: str


def words(name: str) -> str:
    """A header as plain words: `ContactName`, `contact_name` and `Nom du contact :` alike."""
    apart = re.sub(r"(?<=[a-zà-ÿ0-9])(?=[A-ZÀ-Ý])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return " ".join(re.findall(r"[^\W_]+", fold(apart.replace("’", "'"))))


def suggest(
    header: Sequence[str],
    samples: Mapping[str, Sequence[str]],
    fields: Sequence[ImportField],
) -> list[Suggestion]:
    """One suggestion per column, in the header's order."""
    scored: list[tuple[float, int, int, str]] = []
    for position, column in enumerate(header):
        values = [v for v in samples.get(column, ())[:SAMPLED] if v.strip()]
        for rank, spec in enumerate(fields):
            score, reason = _score(column, values, spec)
            if score >= SURE_ENOUGH:
                scored.append((score, position, rank, reason))
    scored.sort(key=lambda found: (-found[0], found[2], found[1]))
    taken: dict[int, Suggestion] = {}
    used: set[int] = set()
    for score, position, rank, reason in scored:
        if position not in taken and rank not in used:
            used.add(rank)
            name = header[position]
            taken[position] = Suggestion(name, fields[rank].name, round(score, 2), reason)
    nothing = "No field has a similar name or such values"
    return [
        taken.get(position) or Suggestion(column, None, 0.0, nothing)
        for position, column in enumerate(header)
    ]


def _score(column: str, values: Sequence[str], spec: ImportField) -> tuple[float, str]:
    by_name, reason = _by_name(words(column), spec)
    if not values:
        return by_name, reason
    fitting = _fitting(values, spec)
    if spec.kind in TELLING and fitting > 0.8:
        if by_name >= SURE_ENOUGH:
            return by_name, f"{reason}; the values fit"
        return 0.7 * fitting, f"{round(fitting * 100)}% of the values are of this kind"
    if by_name < SURE_ENOUGH:
        return 0.0, ""
    if spec.kind in PLAIN:
        return by_name - (0.3 if fitting < 0.5 and by_name < 1 else 0.0), reason
    if fitting >= 0.8:
        return by_name, f"{reason}; the values fit"
    # A name that says so plainly stays, so that the values are reported; a vague one doesn't.
    weaker = by_name - 0.5 * (1 - fitting)
    return weaker, f"{reason}, but only {round(fitting * 100)}% of the values fit"


def _by_name(heading: str, spec: ImportField) -> tuple[float, str]:
    if heading == words(spec.name):
        return 1.0, "The column has the field's name"
    for label in spec.label.values():
        if heading == words(label):
            return 1.0, "The column has the field's label"
    compact = heading.replace(" ", "")
    for alias in spec.aliases:
        plain = words(alias)
        if heading == plain or compact == plain.replace(" ", ""):
            return 0.97, f"The column is called {alias}"
    best, like = 0.0, ""
    for name in (spec.name, *spec.label.values(), *spec.aliases):
        plain = words(name)
        if min(len(plain), len(heading)) < 4:
            continue
        # All the words in another order, or a slip of the pen; never a mere part of the name.
        ratio = max(fuzz.token_sort_ratio(heading, plain), fuzz.ratio(heading, plain)) / 100
        if ratio > best:
            best, like = ratio, name
    if best >= 0.82:
        return best * 0.9, f"The column's name is close to {like}"
    return 0.0, ""


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
