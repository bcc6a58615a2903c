"""Where a sheet's table begins, and which of its rows are sums: people write more than rows.

Above the header stand titles and dates of export, below the rows their totals; some files have no
header at all. What is passed over is said.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from liaison_kit.imports.converting import fold

LOOKED_AT = 20
"""The header is among so many of the first rows with content."""

_TOTALS = (
    *("total", "totals", "grand total", "subtotal", "sub-total", "sum"),
    *("total général", "sous-total", "totaux", "somme", "total general", "suma"),
    *("summe", "gesamt", "gesamtsumme", "zwischensumme", "insgesamt", "totaal"),
    *("totale", "totale generale", "somma", "total geral", "soma", "razem", "celkem"),
    *("součet", "összesen", "toplam", "итого", "всего", "summa", "yhteensä"),
    *("合計", "合计", "总计", "総計", "합계"),
)
TOTALS = frozenset(
    cased + colon
    for word in _TOTALS
    for cased in (word, word.upper(), word.capitalize(), word.title())
    for colon in ("", ":", " :")
)
"""How a row of sums is called, in the letters that people write it with."""

_VALUES = {
    "email": re.compile(r"\S+@\S+\.\S+"),
    "url": re.compile(r"(?:https?://|www\.)\S+", re.I),
    "date": re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}(?:[ T]\d.*)?"),
    "number": re.compile(
        r"[-+(]?[€$£¥]?\s?\d[\d .,'\u00a0\u202f/()+-]*\s?(?:%|[€$£¥]|[A-Z]{3})?\)?"
    ),
}
_YEAR = re.compile(r"(?:19|20)\d\d")


def header_place(rows: Sequence[Sequence[str]]) -> int:
    """Which of the first rows with content is the header: the first that is no mere title."""
    filled = [sum(1 for cell in row if cell.strip()) for row in rows[:LOOKED_AT]]
    if len(filled) < 3:
        return 0
    counts = Counter(count for count in filled if count > 1)
    if not counts:
        return 0
    usual = max(counts, key=lambda count: (counts[count], count))
    for place, row in enumerate(rows[: len(filled) - 1]):
        said = [cell.strip() for cell in row if cell.strip()]
        # A title that is merged over its columns says the same in each.
        title = len(set(said)) == 1 and usual > 1
        if title or len(said) < max(2, 0.6 * usual):
            continue
        # As “Exported on; 12/03/2026” above the names of many columns.
        below = zip(rows[place + 1 :], filled[place + 1 :], strict=False)
        fuller = [row for row, count in below if count > len(said)]
        if any(map(_kind, said)) and any(not any(map(_kind, row)) for row in fuller):
            continue
        return place
    return 0


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first of these rows names columns; otherwise it holds values like those below."""
    head, below = rows[0], rows[1:LOOKED_AT]
    counted = [int(cell) for cell in head if cell.strip().isdecimal()]
    # Years, and 1, 2, 3 above the answers to so many questions.
    names = len(counted) > 1 and all(b - a == 1 for a, b in pairwise(counted))
    for place, cell in enumerate(head):
        kind = _kind(cell)
        if kind is None or (kind == "number" and (names or _YEAR.fullmatch(cell.strip()))):
            continue
        same = [_kind(row[place]) for row in below if place < len(row) and row[place].strip()]
        if kind in ("email", "url") or (same and same.count(kind) > len(same) / 2):
            return False
    return True


def _kind(cell: str) -> str | None:
    text = cell.strip()
    return next((kind for kind, pattern in _VALUES.items() if pattern.fullmatch(text)), None)


def is_total(row: Sequence[str], last: bool) -> bool:
    """Whether a row in which one of the words stands is a row of sums, and no company of that name.

    It holds numbers besides, and little: in the last row of a file as much as there is.
    """
    said = [cell.strip() for cell in row if cell.strip()]
    words = [text for text in said if fold(text).rstrip(" :") in _FOLDED]
    numbers = sum(1 for text in said if _kind(text) == "number")
    if len(words) != 1 or said[0] != words[0] or numbers != len(said) - 1:
        return False
    return last or (numbers > 0 and 2 * len(said) <= len(row))


_FOLDED = frozenset(map(fold, _TOTALS))
