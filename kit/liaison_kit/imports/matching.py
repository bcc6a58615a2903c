"""Match a column's values to the records or choices they name, once per distinct value.

Case, accents and spaces around don't matter. A value that names nothing is reported once, with how
often it occurs and the nearest name; a `value_map` then settles it for the whole file.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rapidfuzz import fuzz, process
from sqlalchemy.orm import Session

from liaison_kit.imports.converting import Converted, Invalid, fold, shown
from liaison_kit.imports.references import SEVERAL, CannotCreate, Reference

NEAR_ENOUGH = 72.0
FIRST_ROWS = 5


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A value that names nothing, or several: how often and where first, what it may have meant."""

    field: str
    column: str
    value: str
    count: int
    rows: tuple[int, ...]
    nearest: str | None
    score: int
    code: str = "unknown_value"
    """Or `ambiguous`."""


@dataclass(slots=True)
class Seen:
    """A column's distinct values with their counts and first rows."""

    counts: dict[str, int] = field(default_factory=dict)
    rows: dict[str, list[int]] = field(default_factory=dict)

    def add(self, numbers: Sequence[int], values: Sequence[str]) -> None:
        """Take in one chunk of the column."""
        counts, rows = self.counts, self.rows
        for raw in set(values) - rows.keys():
            rows[raw] = []
            counts[raw] = 0
        for number, raw in zip(numbers, values, strict=True):
            counts[raw] += 1
            if counts[raw] <= FIRST_ROWS:
                rows[raw].append(number)


def squeeze(value: str) -> str:
    """A value without anything but letters and digits: GTX-Pro, GTXPro and gtx pro are one."""
    return re.sub(r"[\W_]+", "", fold(value))


def nearest(values: Iterable[str], names: Sequence[str]) -> dict[str, tuple[str, int]]:
    """The nearest name of each value and how near it is, of 100; far ones are left out."""
    squeezed = [squeeze(name) for name in names]
    found: dict[str, tuple[str, int]] = {}
    for value in values:
        best = process.extractOne(
            squeeze(value), squeezed, scorer=fuzz.ratio, score_cutoff=NEAR_ENOUGH
        )
        if best is not None:
            found[value] = (names[best[2]], round(best[1]))
    return found


class Choices:
    """A fixed list as a reference: each accepted value with its other spellings."""

    def __init__(self, choices: Mapping[str, Sequence[str]]) -> None:
        self.choices = choices
        self.known = {
            fold(spelling): value
            for value, others in choices.items()
            for spelling in (value, *others)
        }
        for value in choices:
            self.known.setdefault(fold(value.replace("_", " ")), value)

    def resolve(self, session: Session | None, values: Sequence[str]) -> dict[str, str]:
        """The accepted value of each known spelling."""
        pairs = ((value, self.known.get(fold(value))) for value in values)
        return {value: found for value, found in pairs if found is not None}

    def names(self, session: Session | None, near: Sequence[str]) -> list[str]:
        """Every spelling, so that the nearest may be one of them."""
        return list(self.choices)

    def create(self, session: Session | None, values: Sequence[str]) -> dict[str, str]:
        """A fixed list takes no new values."""
        raise CannotCreate


@dataclass(slots=True)
class Matched:
    """What each distinct value of a column stands for; the rest are problems or wait."""

    ids: dict[str, str]
    unmatched: list[Unmatched]
    meant: Mapping[str, str] = field(default_factory=dict)
    """What each stands for once the value map was heeded."""
    waiting: dict[str, Unmatched] = field(default_factory=dict)
    """Values that may name a record of this very file which isn't written yet, as they will be
    told if none comes."""
    several: frozenset[str] = frozenset()
    """Those that name more than one."""
    pretended: frozenset[str] = frozenset()
    """Ids of records that would be made of their names, if anything were written."""

    def convert(self, column: Sequence[str]) -> Converted:
        """The column as ids."""
        ids = self.ids
        try:
            return Converted(list(map(ids.__getitem__, column)))
        except KeyError:
            problems = {i: self._problem(raw) for i, raw in enumerate(column) if raw not in ids}
            return Converted([ids.get(raw, "") for raw in column], problems)

    def _problem(self, raw: str) -> Invalid:
        if raw in self.several:
            return Invalid("ambiguous", f"{shown(raw)} is what several are called; name its id")
        return Invalid("unknown_value", f"{shown(raw)} matches nothing")

    def come(self, met: Callable[[str], str | None]) -> None:
        """Take those that are waited for and have come, where nothing is written.

        `met` tells the id of what this file calls so by now, or `SEVERAL`.
        """
        for raw, told in list(self.waiting.items()):
            id = met(fold(self.meant[raw]))
            if id is None:
                continue
            del self.waiting[raw]
            if id == SEVERAL:
                self.several |= {raw}
                self.unmatched.append(replace(told, code="ambiguous"))
            else:
                self.ids[raw] = id
                self.pretended |= {id}


def match_values(
    session: Session,
    spec_name: str,
    column_name: str,
    seen: Seen,
    reference: Reference | Choices,
    *,
    value_map: Mapping[str, str | None],
    on_missing: str = "report",
    within_file: Callable[[str], bool] | None = None,
    writes: bool = True,
) -> Matched:
    """Resolve all distinct values of a column at once.

    `within_file` tells which values name a record that this file brings itself; those wait. Where
    nothing is to be written, what would be made of a name is made and undone: ids stand for it.
    """
    meant: dict[str, str] = {}
    folded_map = {fold(value): target for value, target in value_map.items()}
    for raw in seen.counts:
        text = " ".join(raw.split())
        target = folded_map.get(fold(text), text) if folded_map else text
        meant[raw] = target or ""
    wanted = [text for text in dict.fromkeys(meant.values()) if text]
    resolved = dict(reference.resolve(session, wanted)) if wanted else {}
    several = {text for text, id in resolved.items() if id == SEVERAL}
    missing = [text for text in wanted if text not in resolved]
    pretended: frozenset[str] = frozenset()
    waiting: set[str] = set()
    if missing and within_file is not None:
        waiting = {text for text in missing if within_file(text)}
        missing = [text for text in missing if text not in waiting]
    if missing and on_missing == "create":
        if writes:
            resolved |= _created(session, reference, missing)
        else:
            pretence = session.begin_nested()
            made = _created(session, reference, missing)
            pretence.rollback()
            resolved |= made
            pretended = frozenset(made.values())
        missing = [text for text in missing if text not in resolved]
    elif missing and on_missing == "blank":
        resolved |= dict.fromkeys(missing, "")
    near = nearest(missing, reference.names(session, missing)) if missing else {}
    unmatched: list[Unmatched] = []
    waits: dict[str, Unmatched] = {}
    unknown = set(missing)
    for raw, text in meant.items():
        if text in unknown or text in waiting or text in several:
            name, score = near.get(text, (None, 0))
            found = Unmatched(
                spec_name,
                column_name,
                raw.strip(),
                seen.counts[raw],
                tuple(seen.rows[raw]),
                name,
                score,
                "ambiguous" if text in several else "unknown_value",
            )
            if text in waiting:
                waits[raw] = found
            else:
                unmatched.append(found)
    unmatched.sort(key=lambda u: (-u.count, u.value))
    ids = {
        raw: resolved[text] if text else ""
        for raw, text in meant.items()
        if not text or (text in resolved and text not in several)
    }
    unclear = frozenset(raw for raw, text in meant.items() if text in several)
    return Matched(ids, unmatched, meant, waits, unclear, pretended)


def _created(
    session: Session, reference: Reference | Choices, values: Sequence[str]
) -> Mapping[str, str]:
    try:
        return reference.create(session, values)
    except CannotCreate:
        return {}
