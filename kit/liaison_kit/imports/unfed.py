"""Columns that feed no field: what becomes of their values is decided, and never passed over.

A mapping says of a column `custom` (a field of the tenant's own), `note`, or `-` (left out); an
option says it of all about which nothing is said. While values would be lost undecided, an import
is refused (docs/decisions/moving-in.md).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.imports.converting import (
    FALSE,
    NOTHING,
    TRUE,
    Formats,
    fold,
    parse_date,
    parse_number,
)
from liaison_kit.imports.fields import Importable, ImportField, Kind
from liaison_kit.imports.formats import Evidence
from liaison_kit.imports.mapping import LEFT_OUT, words
from liaison_kit.records import custom
from liaison_sdk.errors import FieldError, InvalidInput
from liaison_sdk.labels import Label

CUSTOM, NOTE = "custom", "note"
DECISIONS = (CUSTOM, NOTE, LEFT_OUT)
FOR_ALL: Mapping[str, str] = {"custom": CUSTOM, "note": NOTE, "skip": LEFT_OUT}
"""What the option `unmapped` says of every column about which nothing is said."""

EXAMPLES = 3


class UndecidedColumns(InvalidInput):
    """Columns have values that feed nothing, and nobody has said what becomes of these."""

    code, title = "undecided_columns", "Some columns feed nothing"

    def __init__(self, columns: Sequence["Unfed"]) -> None:
        told = ", ".join(
            f"{each.column} ({each.count:,})" if each.count else each.column
            for each in columns[:20]
        )
        more = f" and {len(columns) - 20} more" if len(columns) > 20 else ""
        super().__init__(
            f"Values of these columns would be lost: {told}{more}. Map each to a field, to custom,"
            " to note or to -, or decide for all with the option unmapped (custom, note or skip)",
            [
                FieldError(f"mapping.{each.column}", "undecided_column", each.message)
                for each in columns
            ],
        )


@dataclass(slots=True)
class Unfed:
    """A column that feeds no field: what is in it, and what is decided."""

    column: str
    position: int
    decision: str
    """One of `DECISIONS`; empty where nothing is said."""
    count: int = 0
    examples: list[str] = field(default_factory=list)
    kinds: set[str] = field(default_factory=lambda: {"boolean", "date", "number"})
    """As what all values so far can be read."""
    dates: Evidence = field(default_factory=Evidence)
    numbers: Evidence = field(default_factory=Evidence)

    @property
    def kind(self) -> custom.CustomKind:
        """The kind of custom field that its values ask for."""
        kinds: tuple[custom.CustomKind, ...] = ("boolean", "number", "date")
        return next((kind for kind in kinds if kind in self.kinds), "text")

    @property
    def evidence(self) -> Evidence | None:
        """What its values tell of how dates or numbers are written in it."""
        return {"date": self.dates, "number": self.numbers}.get(self.kind)

    @property
    def lost(self) -> bool:
        """Whether its values come in nowhere, as things are."""
        return self.decision in ("", LEFT_OUT)

    @property
    def message(self) -> str:
        """What is told of it."""
        if not self.count:
            return "Its values feed nothing and would be lost"
        values = "1 value" if self.count == 1 else f"{self.count:,} values"
        verb = "feeds" if self.count == 1 else "feed"
        return {
            CUSTOM: f"{values} become{'s' * (self.count == 1)} a custom field ({self.kind})",
            NOTE: f"{values} go{'es' * (self.count == 1)} to notes",
            LEFT_OUT: f"{values} {'is' if self.count == 1 else 'are'} left out",
        }.get(self.decision, f"{values} {verb} nothing and would be lost")

    def add(self, values: Iterable[str]) -> None:
        """Take in a part of the column."""
        there = [text for value in values if (text := value.strip())]
        there = [text for text in there if text.lower() not in NOTHING]
        self.count += len(there)
        for text in dict.fromkeys(there):
            if len(self.examples) < EXAMPLES and text not in self.examples:
                self.examples.append(text)
            self.kinds -= {kind for kind in self.kinds if not _READ[kind](text)}
            if not self.kinds:
                return
            self.dates.add("date", [text])
            self.numbers.add("decimal", [text])


def _is_number(text: str) -> bool:
    # A number that begins with a zero or is very long is no amount of anything: a code, a phone.
    if re.match(r"0\d|\+", text) or sum(c.isdigit() for c in text) > 15:
        return False
    return any(parse_number(text, Formats(decimal=sign)) is not None for sign in (".", ","))


def _is_date(text: str) -> bool:
    return any(parse_date(text, Formats(dates=order)) is not None for order in ("dmy", "mdy"))


_READ: Mapping[str, Callable[[str], bool]] = {
    "boolean": lambda text: fold(text) in (TRUE | FALSE) - {"1", "0"},
    "number": _is_number,
    "date": lambda text: not text.isdigit() and _is_date(text),
}


def field_of(unfed: Unfed) -> ImportField:
    """The tenant's own field that a column becomes."""
    kind: Kind = "decimal" if unfed.kind == "number" else unfed.kind
    return ImportField(
        f"custom.{code_of(unfed)}",
        {"en": unfed.column, "fr": unfed.column},
        kind,
        custom=True,
        max_length=2000,
    )


def note_of(unfed: Unfed) -> ImportField:
    """The note that a column is a part of."""
    label = {"en": unfed.column, "fr": unfed.column}
    return ImportField(f"note.{unfed.column}", label, max_length=10_000, beside=True)


def code_of(unfed: Unfed) -> str:
    """What the API calls the custom field that a column becomes."""
    plain = re.sub(r"[^a-z0-9]+", "_", words(unfed.column)).strip("_")
    if not plain:
        return f"column_{unfed.position + 1}"
    return (plain if plain[0].isalpha() else f"column_{plain}")[:60].rstrip("_")


def define(session: Session, importable: Importable, columns: Sequence[Unfed]) -> None:
    """Add the custom fields that columns become; who imports needs the right to do so."""
    principal = context(session).principal
    if principal is not None:
        principal.demand("custom_fields:write")
    known = {row.name for row in custom.fields(session, importable.record)}
    kind = importable.kind
    personal = kind is not None and any(info.personal for info in kind.fields.values())
    for each in columns:
        if (name := code_of(each)) not in known:
            known.add(name)
            label = Label(en=each.column[:200], fr=each.column[:200])
            new = custom.NewCustomField(name=name, kind=each.kind, label=label, personal=personal)
            custom.define(session, importable.record, new)
