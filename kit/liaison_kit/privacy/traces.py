"""Traces: what a subject is found by in texts that nobody has marked.

Marked columns are found by the subject's id. Elsewhere (in an event on its way, an import's file,
the name of a deal) only what is written tells: e-mail addresses, phone numbers, whole names, and
what a tenant's own personal fields say, if it can mean nobody else. Who hands them over leaves out
what others share, so that nobody else is blanked.
"""

import json
import re
import unicodedata

from pydantic import BaseModel

ERASED = "[erased]"
_BETWEEN = r"[\s.()/-]*"
_LONGEST = 60
_SHORTEST_NUMBER = 6
_SHORTEST_CODE = 6
_SHORTEST_SENTENCE = 20
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


class Traces(BaseModel):
    """What is looked for."""

    emails: list[str] = []
    phones: list[str] = []
    names: list[tuple[str, str]] = []
    """First and last names; one alone is too common to be looked for."""
    texts: list[str] = []
    """What personal fields of the tenant's say, as far as it is `telling`."""

    def pattern(self) -> str | None:
        """A regular expression for PostgreSQL and Python alike, to be matched in any case."""
        found = [_whole(re.escape(each)) for each in self.emails]
        found += [_number(each) for each in self.phones]
        found += [each for first, last in self.names for each in _names(first, last)]
        found += [each for text in self.texts for each in _texts(text)]
        found = list(dict.fromkeys(filter(None, found)))
        return "|".join(found) or None


def telling(value: object) -> bool:
    """Whether a value can be looked for: a code or a sentence, no word, amount or day, which stand
    in the records of others as well."""
    if not isinstance(value, str) or _DAY.fullmatch(value.strip()):
        return False
    has_digit = any(character.isdigit() for character in value)
    return len(value.strip()) >= (_SHORTEST_CODE if has_digit else _SHORTEST_SENTENCE)


def _texts(text: str) -> list[str]:
    """As it is written, and as JSON writes it."""
    whole = text.strip()
    written = (whole, *(json.dumps(whole, ensure_ascii=to)[1:-1] for to in (False, True)))
    return [rf"(?<![\w.,-]){re.escape(each)}(?!\w|[.,-]\d)" for each in written]


def _whole(text: str) -> str:
    # An address is not found as the end of a longer one.
    return rf"(?<![\w.+-]){text}(?![\w-])"


def _number(number: str) -> str:
    digits = re.sub(r"\D", "", number.partition(" x")[0])
    if len(digits) < _SHORTEST_NUMBER:
        return ""
    # With its country or without: the last nine digits tell a subscriber apart.
    spaced = _BETWEEN.join(digits[-9:])
    return rf"(?:(?<!\d)\+?\d{{1,4}}{_BETWEEN})?(?:\(?0\)?{_BETWEEN})?{spaced}(?!\d)"


def _names(first: str, last: str) -> list[str]:
    if not first or not last:
        return []
    found = []
    for write in (str, _folded, _escaped):
        a, b = (r"\s+".join(map(re.escape, write(name).split())) for name in (first, last))
        found += [rf"(?<!\w){a}\s+{b}(?!\w)", rf"(?<!\w){b},?\s+{a}(?!\w)"]
    return found


def _folded(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text)
    return "".join(c for c in apart if not unicodedata.combining(c)).lower()


def _escaped(text: str) -> str:
    """As JSON writes it where it keeps to ASCII."""
    return "".join(c if ord(c) < 128 else f"\\u{ord(c):04x}" for c in text)
