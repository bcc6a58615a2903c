"""Folding: texts without case and accents, for Python and for PostgreSQL from one table.

PostgreSQL's `lower`, `unaccent` and `normalize` follow its collations, its dictionaries and its
version of Unicode, and so agree with Python's only roughly. Here each character has its
counterpart, taken once from what search makes of it (`records.search.fold`), and both sides replace
character by character. That covers the letters of Latin, Greek and Cyrillic script and the signs of
print between them; others have neither case nor accents to ignore, or stay as they are.
"""

from typing import Any, Final

from sqlalchemy import ColumnElement, Text, case, collate, func, literal_column

from liaison_kit.records.search import fold

_SCRIPTS: Final = (
    range(0x41, 0x5B),
    range(0xA0, 0x530),
    range(0x1E00, 0x2070),
    range(0xFB00, 0xFB07),
    range(0xFEFF, 0xFF5F),
)
_WIDE: Final = {
    "ss": "ß",
    "ae": "æ",
    "oe": "œ",
    "ffi": "ﬃ",
    "ffl": "ﬄ",
    "ff": "ﬀ",
    "fi": "ﬁ",
    "fl": "ﬂ",
    "st": "ﬆ",
    "...": "…",
}
"""What becomes several letters, and the one sign that stands for them until the end."""


def _table() -> dict[str, str]:
    """What becomes of each character that does not stay as it is: another one, or none."""
    found: dict[str, str] = {}
    for character in (chr(code) for script in _SCRIPTS for code in script):
        folded = fold(character)
        folded = _WIDE.get(folded, folded)
        # The few others that would become several letters stay.
        if folded != character and len(folded) < 2:
            found[character] = folded
    return found


_TABLE: Final = _table()
_BY_CODE: Final = {ord(character): to for character, to in _TABLE.items()}


def folded(text: str) -> str:
    """The text without case and accents."""
    text = text.translate(_BY_CODE)
    for two, one in _WIDE.items():
        text = text.replace(one, two)
    return text


def folded_column(column: ColumnElement[Any]) -> ColumnElement[str]:
    """SQL of the same."""
    text: Any = func.translate(column, _FROM, _TO)
    for two, one in _WIDE.items():
        text = func.replace(text, _constant(one), _constant(two))
    # Most texts have no accents at all, and those take a tenth of the time.
    is_ascii = func.octet_length(column) == func.char_length(column)
    return case((is_ascii, func.lower(collate(column, "C"))), else_=text)


def _constant(text: str) -> ColumnElement[str]:
    quoted = text.replace("'", "''")
    return literal_column(f"'{quoted}'", Text)


def _as_translate_takes_it() -> tuple[ColumnElement[str], ColumnElement[str]]:
    """What is replaced and by what, place by place; what has no counterpart comes last.

    PostgreSQL looks each character up from the beginning. So the commonest letters come first,
    though they stay: that makes it ten times as fast.
    """
    common = "eaisnrtoludcmphgvbfyqkxzjw 0123456789"
    common += "".join(sorted(set(_TABLE) & set("EAISNRTOLUDCMPHGVBFYQKXZJWéèàçêâîôûëïüöäÉ")))
    rest = sorted(_TABLE.keys() - set(common), key=lambda character: not _TABLE[character])
    ordered = [*common, *rest]
    to = "".join(_TABLE.get(character, character) for character in ordered)
    return _constant("".join(ordered)), _constant(to)


_FROM, _TO = _as_translate_takes_it()
