"""How a column writes numbers and dates: found from its values, or asked where these are open."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from liaison_kit.imports.converting import (
    MONEY,
    SPACES,
    Formats,
    converter,
    parse_number,
    shown,
)
from liaison_kit.imports.fields import ImportField

Mark = Literal[".", ","]
Order = Literal["dmy", "mdy"]
NUMERIC = ("integer", "decimal", "money")
DATED = ("date", "datetime")
ENOUGH = 20
"""So many values that tell how a column is written are enough, whatever follows."""
SHOWN_OPEN = 3


@dataclass(slots=True)
class Evidence:
    """What the values of a column tell of how it writes numbers or dates.

    `1.500` may be a thousand and a half and one and a half; `12,5` beside it tells. So the whole
    column is asked, and what it leaves open is asked of the file's other columns.
    """

    votes: dict[str, int] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    """Some values that can be read in both ways."""

    @property
    def enough(self) -> bool:
        """Whether more values are not worth looking at."""
        return sum(self.votes.values()) >= ENOUGH

    @property
    def told(self) -> str | None:
        """What most values that tell say; None where they say nothing."""
        ranked = sorted(self.votes, key=lambda way: -self.votes[way])
        if not ranked or (len(ranked) > 1 and self.votes[ranked[0]] == self.votes[ranked[1]]):
            return None
        return ranked[0]

    def add(self, kind: str, values: Iterable[str]) -> None:
        """Take in distinct values of the column."""
        dated = kind in DATED
        said_of = _said_of_dates if dated else _said_of_numbers
        for value in values:
            # Most values have nothing to tell, and there are many.
            if value[4:5] == "-" if dated else "." not in value and "," not in value:
                continue
            said = said_of(value)
            if said == "?":
                if len(self.open) < SHOWN_OPEN and value.strip() not in self.open:
                    self.open.append(value.strip())
            elif said:
                self.votes[said] = self.votes.get(said, 0) + 1


_DAY_AND_MONTH = re.compile(r"\s*(\d{1,2})[/.\- ](\d{1,2})[/.\- ]\d{2,4}\b")
_MARKED_NUMBER = re.compile(r"[^\d.,]*(\d[\d.,]*)[^\d.,]*")


def _said_of_dates(value: str) -> str:
    """dmy, mdy, a question mark where both may be meant and differ, or nothing."""
    found = _DAY_AND_MONTH.match(value)
    if found is None:
        return ""
    first, second = int(found[1]), int(found[2])
    if first > 12 or second > 12:
        return "dmy" if first > 12 else "mdy"
    return "?" if first != second else ""


def _said_of_numbers(value: str) -> str:
    """The decimal sign, a question mark where it may be one and may group, or nothing."""
    found = _MARKED_NUMBER.fullmatch(SPACES.sub("", value).strip())
    if found is None:
        return ""
    bare = found[1].rstrip(".,")
    signs = [c for c in bare if c in ".,"]
    if not signs:
        return ""
    last, other = signs[-1], "," if signs[-1] == "." else "."
    if other in signs:
        return last
    if len(signs) > 1:
        return other
    whole, _, rest = bare.partition(last)
    return "?" if len(rest) == 3 and len(whole) <= 3 and whole[0] != "0" else last


Doubt = Literal["", "guessed", "open"]
"""How sure it is what a column means: its values tell; one reading is likelier; nothing tells."""


def settle_formats(
    spec: ImportField,
    evidence: Evidence,
    base: Formats,
    others: Mapping[str, str],
    country: str | None,
) -> tuple[Formats, Doubt]:
    """How a column writes dates and numbers, and how sure that is.

    `others` tells of the file's other columns: `decimal` and `dates`, where these agree.
    """
    told = evidence.told
    if spec.kind in DATED:
        order = told or others.get("dates") or base.dates
        doubt: Doubt = ""
        if evidence.open and told is None:
            doubt = "guessed" if country or "dates" in others else "open"
        return dataclasses.replace(base, dates=cast(Order, order)), doubt
    if spec.kind not in NUMERIC:
        return base, ""
    if told is not None or not evidence.open:
        mark = told or others.get("decimal") or base.decimal
        return dataclasses.replace(base, decimal=cast(Mark, mark)), ""
    found = others.get("decimal")
    if spec.kind == "decimal":
        mark = found or base.decimal
        return dataclasses.replace(base, decimal=cast(Mark, mark)), "guessed" if found else "open"
    # Nobody counts thousandths of people or of money: three digits behind a sign are grouped by it,
    # unless the same sign parts the decimals of another column.
    mark = "." if "," in evidence.open[0] else ","
    doubt = "guessed" if found in (None, mark) else "open"
    return dataclasses.replace(base, decimal=cast(Mark, mark)), doubt


@dataclass(frozen=True, slots=True)
class Question:
    """What a column leaves open of how it is written, both readings of a value, and the answer."""

    column: str
    option: Literal["dates", "decimal"]
    sample: str
    taken: str
    """The answer that holds until another is given."""
    readings: Mapping[str, str]
    """By answer: what the sample then is."""
    must: bool
    """Nothing tells which: without an answer the file is not imported."""

    @property
    def code(self) -> str:
        """The name of what is asked."""
        return "ambiguous_dates" if self.option == "dates" else "ambiguous_numbers"

    @property
    def message(self) -> str:
        """The question in a sentence, with what answers it."""
        other = next(answer for answer in self.readings if answer != self.taken)
        told = "may be" if self.must else "is taken for"
        nor = "or" if self.must else "not"
        ways = " or ".join(f"“{answer}”" for answer in self.readings)
        return (
            f"{shown(self.sample)} {told} {self.readings[self.taken]},"
            f" {nor} {self.readings[other]};"
            f" options.formats.{self.column}.{self.option} says which: {ways}"
        )


def question(
    spec: ImportField, column: str, evidence: Evidence, formats: Formats, doubt: Doubt
) -> Question | None:
    """What is asked about a column; None where its values tell."""
    if not doubt:
        return None
    sample = evidence.open[0]
    dated = spec.kind in DATED
    ways: Sequence[str] = ("dmy", "mdy") if dated else (".", ",")
    option: Literal["dates", "decimal"] = "dates" if dated else "decimal"
    readings: dict[str, str] = {}
    for way in ways:
        as_written = dataclasses.replace(formats, **{option: way})  # type: ignore[arg-type]
        if dated:
            (read,) = converter(spec, as_written)([sample]).values
        else:
            found = MONEY.fullmatch(sample)
            number = parse_number(found[3] if found else sample, as_written)
            read = "" if number is None else f"{number.normalize():f}"
        readings[way] = read or "no value"
    taken = getattr(formats, option)
    return Question(column, option, sample, taken, readings, doubt == "open")
