"""Turn a book of vCards (2.1, 3.0, 4.0) into CSV, in a process of its own (`apart`).

Each card is a row, and the columns are called as Google Contacts calls them, so that whoever
understands its files understands cards. vobject reads a card; what this adds is that a card which
can't be read costs itself only, that photos take no memory, and that what a row has no place for is
told.
"""

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import vobject

from liaison_kit.imports.apart import RefusedError, Told, answer

BINARY = frozenset({"PHOTO", "LOGO", "SOUND", "KEY"})
CARD_CHARACTERS = 1 << 20
BROKEN_CARDS = 10_000
SHOWN = 1000
BETWEEN = " ::: "
"""What parts the groups of one cell, as Google writes them."""

_PROPERTY = re.compile(r"(?:[A-Za-z0-9-]+\.)?([A-Za-z0-9-]+)(?=[;:])[^:]*:")


@dataclass(slots=True)
class Card:
    """The lines of a card, without those of pictures and keys."""

    lines: list[str] = field(default_factory=list)
    characters: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    closed: bool = False

    def take(self, line: str) -> None:
        """Keep one more line, up to a limit."""
        self.characters += len(line)
        if self.characters <= CARD_CHARACTERS:
            self.lines.append(line)


def cards(lines: Iterable[str]) -> Iterator[Card]:
    """The cards of a file, one at a time; one that is never closed ends where the next begins."""
    card: Card | None = None
    nested = 0
    skipping = False
    for line in lines:
        bare = line.strip().upper()
        if bare == "BEGIN:VCARD" and card is not None and card.lines[-1].upper() == "AGENT:":
            nested += 1
        elif bare == "BEGIN:VCARD" and not nested:
            if card is not None:
                yield card
            card, skipping = Card(), False
            card.take("BEGIN:VCARD")
        elif bare == "END:VCARD" and nested:
            nested -= 1
        elif bare == "END:VCARD" and card is not None:
            card.take("END:VCARD")
            card.closed = True
            yield card
            card = None
        elif card is not None and not nested:
            # A picture goes on in lines that are indented or, in 2.1, at least hold no colon.
            if skipping and (line[:1] in " \t" or ":" not in line):
                continue
            found = _PROPERTY.match(line)
            skipping = found is not None and found[1].upper() in BINARY
            if skipping and found is not None:
                card.left_out[found[1].upper()] += 1
            else:
                card.take(line.rstrip("\r\n"))
    if card is not None:
        yield card


# --- a card as a row

Row = dict[str, str]


def read(card: Card) -> tuple[Row, Counter[str]]:
    """A card as a row, and what of it has no place there; raises `RefusedError`."""
    if card.characters > CARD_CHARACTERS:
        raise RefusedError("too_long", f"The card has more than {CARD_CHARACTERS:,} characters")
    if not card.closed:
        raise RefusedError("broken_card", "The card has no end (END:VCARD)")
    text = "\r\n".join(card.lines) + "\r\n"
    try:
        parsed = vobject.readOne(text, allowQP="QUOTED-PRINTABLE" in text.upper())
        return _row(list(parsed.getChildren()), card.left_out)
    except (vobject.base.VObjectError, ValueError, LookupError, AttributeError, TypeError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RefusedError("broken_card", f"The card can't be read: {told}"[:300]) from error


def _row(found: list[Any], pictures: Counter[str]) -> tuple[Row, Counter[str]]:
    row: Row = {}
    left_out = Counter(pictures)
    notes: list[str] = []
    labels = {one.group: str(one.value) for one in found if one.name == "X-ABLABEL" and one.group}
    counts: Counter[str] = Counter()
    # Whoever prefers a number or an address has it first.
    for one in sorted(found, key=lambda one: not _preferred(one)):
        value = one.value
        match one.name:
            case "FN":
                row.setdefault("Name", _text(value))
            case "N":
                for part, column in _NAMES.items():
                    row.setdefault(column, _text(getattr(value, part), " "))
            case "NICKNAME":
                row.setdefault("Nickname", _text(value))
            case "TITLE":
                row.setdefault("Organization 1 - Title", _text(value))
            case "ROLE":
                row.setdefault("Occupation", _text(value))
            case "ORG":
                name, *departments = value if isinstance(value, list) else [value]
                if "Organization 1 - Name" in row:
                    left_out["ORG"] += 1
                row.setdefault("Organization 1 - Name", _text(name))
                row.setdefault("Organization 1 - Department", _text(departments))
            case "BDAY":
                day = _day(one)
                if day:
                    row.setdefault("Birthday", day)
                else:
                    left_out["BDAY without a year"] += 1
            case "NOTE":
                notes.append(_text(value))
            case "CATEGORIES":
                groups = filter(None, (row.get("Group Membership"), _text(value, BETWEEN)))
                row["Group Membership"] = BETWEEN.join(groups)
            case "UID":
                row.setdefault("UID", _text(value).removeprefix("urn:uuid:"))
            case "ADR":
                number = _next(row, counts, "Address", _kind(one, labels))
                for part, column in _PARTS.items():
                    row[f"Address {number} - {column}"] = _text(getattr(value, part))
            case "EMAIL" | "TEL" | "URL":
                what, scheme = _REACHED[one.name]
                reached = _bare(_text(value), scheme)
                if reached:
                    number = _next(row, counts, what, _kind(one, labels))
                    row[f"{what} {number} - Value"] = reached
            case name if name not in _WITHOUT_A_TRACE:
                left_out[name] += 1
    if notes:
        row["Notes"] = "\n".join(notes)
    return {column: text for column, text in row.items() if text}, left_out


_NAMES = {
    "given": "Given Name",
    "additional": "Additional Name",
    "family": "Family Name",
    "prefix": "Name Prefix",
    "suffix": "Name Suffix",
}
_PARTS = {
    "street": "Street",
    "city": "City",
    "box": "PO Box",
    "region": "Region",
    "code": "Postal Code",
    "country": "Country",
    "extended": "Extended Address",
}
_REACHED = {"EMAIL": ("E-mail", "mailto:"), "TEL": ("Phone", "tel:"), "URL": ("Website", "")}
_WITHOUT_A_TRACE = frozenset({"VERSION", "PRODID", "REV", "X-ABLABEL", "SORT-STRING", "KIND"})


def _next(row: Row, counts: Counter[str], what: str, kind: str) -> int:
    counts[what] += 1
    row[f"{what} {counts[what]} - Type"] = kind
    return counts[what]


def _text(value: Any, between: str = ", ") -> str:
    parts = value if isinstance(value, list | tuple) else [value]
    texts = (part.decode("utf-8", "replace") if isinstance(part, bytes) else part for part in parts)
    return between.join(filter(None, (str(text).replace("\r\n", "\n").strip() for text in texts)))


def _bare(text: str, scheme: str) -> str:
    """An address of the web as people write it: `tel:+33-1;ext=5` is +33-1 ext. 5."""
    if not scheme or not text.lower().startswith(scheme):
        return text
    main, *parameters = text[len(scheme) :].split(";")
    extension = next((p[4:] for p in parameters if p.lower().startswith("ext=")), "")
    return f"{main} ext. {extension}" if extension else main


def _words(one: Any) -> list[str]:
    """The words of a property's type; in 2.1 they stand there without a name."""
    said = [*one.params.get("TYPE", ()), *one.singletonparams]
    return [word.strip().lower() for text in said for word in text.split(",")]


def _preferred(one: Any) -> bool:
    return "pref" in _words(one) or one.params.get("PREF") == ["1"]


def _kind(one: Any, labels: dict[str, str]) -> str:
    """What a number or an address is for, as Google says it; the person's own word before all."""
    words = _words(one)
    place = next((word.title() for word in ("home", "work") if word in words), "")
    if one.group in labels:
        return re.sub(r"^_\$!<(.*)>!\$_$", r"\1", labels[one.group]).strip()
    if "cell" in words or "iphone" in words:
        return "Mobile"
    if "fax" in words:
        return f"{place} Fax".strip()
    if "pager" in words:
        return "Pager"
    return place or ("Main" if "main" in words else "")


def _day(one: Any) -> str:
    """A birthday with its year; phones that know none write 1604 or leave it out."""
    found = re.match(r"(\d{4})-?(\d{2})-?(\d{2})", _text(one.value))
    if found is None or one.params.get("X-APPLE-OMIT-YEAR") == [found[1]]:
        return ""
    return "-".join(found.groups())


# --- the file


def convert(source: str, target: str, limits: dict[str, int], encoding: str | None) -> Told:
    """Write the cards as CSV; tell which are broken and what has no place in a row."""
    rows: list[Row] = []
    broken: dict[int, tuple[str, str]] = {}
    left_out: Counter[str] = Counter()
    with open(source, encoding=encoding or "utf-8", errors="replace", newline="\n") as lines:
        for number, card in enumerate(cards(_ended(lines)), start=1):
            if number > limits["rows"]:
                raise RefusedError("file_too_large", f"There are more than {number - 1:,} cards")
            try:
                row, more = read(card)
                left_out += more
                rows.append(row or {"Name": ""})
            except RefusedError as refused:
                rows.append({"Name": "\n".join(card.lines)[:SHOWN]})
                broken[number] = refused.code, str(refused)
    if not rows or len(broken) > BROKEN_CARDS or len(broken) == len(rows):
        why = broken.get(1, ("", "The file holds no card"))[1]
        raise RefusedError("not_a_spreadsheet", why)
    ids = [row.get("UID") for number, row in enumerate(rows, start=1) if number not in broken]
    if None in ids or len(set(ids)) < len(ids):
        # Rows are met again by what every one of them has, and has for itself.
        for row in rows:
            row.pop("UID", None)
    with open(target, "w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, _columns(rows), restval="")
        writer.writeheader()
        writer.writerows(rows)
    return {
        "cards": len(rows),
        "broken": [[number, *why] for number, why in broken.items()],
        "left_out": left_out.most_common(20),
    }


def _ended(lines: Iterable[str]) -> Iterator[str]:
    """Lines that end in any of the ways that programs end them."""
    for line in lines:
        yield from line.rstrip("\r\n").split("\r")


def _columns(rows: Iterable[Row]) -> list[str]:
    """The columns that some card fills, in an order that people know."""
    filled = set[str]().union(*rows) | {"Name"}

    def place(column: str) -> tuple[int, str, int, int]:
        if column in _ORDER:
            return _ORDER.index(column), "", 0, 0
        what, number, part = re.fullmatch(r"([\w-]+) (\d+) - (.+)", column).groups()  # type: ignore[union-attr]
        parts = ["Type", "Value", "Name", "Title", "Department", *_PARTS.values()]
        return len(_ORDER), what, int(number), parts.index(part)

    return sorted(filled, key=place)


_ORDER = (
    *("UID", "Name", "Given Name", "Additional Name", "Family Name", "Name Prefix", "Name Suffix"),
    *("Nickname", "Birthday", "Occupation", "Notes", "Group Membership"),
)


if __name__ == "__main__":
    answer(convert, *sys.argv[1:6])
