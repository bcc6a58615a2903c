"""Search texts: what a record is found by, without accents, case and spacing."""

import re
import unicodedata
from typing import Final

from liaison_sdk.types import in_letters

_PHONE = re.compile(r"^[\d\s().+/-]{4,}$")
_NOT_DIGIT = re.compile(r"[^0-9]")
_MARKS = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")
# What is typed with the plain signs of a keyboard, or with nothing where it is not seen.
TWINS: Final = {
    "'": "‘’‚‛′´ʹʻʼʽ",
    '"': "“”„‟″«»",
    "-": "‐‑‒–—―−",
    "": "\u00ad\u200b\u200c\u200d\u2060\ufeff",
}
_TYPED = str.maketrans({sign: plain for plain, signs in TWINS.items() for sign in signs})
# Letters that have no decomposition but that people type without their mark.
_PLAIN = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l", "ı": "i"})


def fold(text: str) -> str:
    """The text in lower case without its accents, as it is typed: `L’Hélène` becomes `l'helene`."""
    if text.isascii():
        return text.lower()
    typed = text.translate(_TYPED).casefold()
    # What a letter is made of may be capital letters again, as of the Greek `ϒ`.
    bare = _MARKS.sub("", unicodedata.normalize("NFKD", typed)).casefold()
    return bare if bare.isascii() else bare.translate(_PLAIN)


def digits(text: str) -> str:
    """The digits of a phone number, as people type it or as E.164, without its extension ` x12`."""
    bare = text[1:] if text.startswith("+") else text
    if bare.isdecimal() and bare.isascii():
        return bare
    return _NOT_DIGIT.sub("", text.partition(" x")[0])


def needles(query: str) -> list[str]:
    """What must all be in a search text; a phone number is one, however it is spaced.

    One- and two-letter words are looked for at the beginning of words only: anything else would be
    found everywhere.
    """
    if _PHONE.match(query.strip()):
        number = digits(query)
        # 06 12… is +33 6 12… at home: the national prefix is not part of the stored number.
        number = number.removeprefix("00") if number.startswith("00") else number.removeprefix("0")
        if len(number) >= 3:
            return [number]
    words = fold(in_letters(query)).replace("\x00", "").split()[:8]
    return [word if len(word) > 2 else f" {word}" for word in words]


def patterns(query: str) -> list[str]:
    """LIKE patterns that must all match."""
    return [f"%{escaped(needle)}%" for needle in needles(query)]


def escaped(text: str) -> str:
    """The text as LIKE takes it for what it is."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
