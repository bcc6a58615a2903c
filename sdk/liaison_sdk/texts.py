"""Texts as people send them: trimmed, and not blank where something has to be said.

What looks like nothing is nothing: beside spaces of every kind that is what has no width and what
only steers the text around it. A limit is part of the contract and shows in the OpenAPI document.
"""

import unicodedata
from typing import Annotated, Any

from pydantic import BeforeValidator, StringConstraints
from pydantic_core import PydanticCustomError

# PostgreSQL's text can't hold a NUL character, so no text of ours may.
WITHOUT_NUL = r"^[^\x00]*$"

_UNSEEN = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and signs by their class, which are drawn as nothing: fillers, and Braille's blank."""
_WITHOUT_WIDTH = "\u180e\u200b\u2060\ufeff"
_SPACES = "".join(sign for sign in map(chr, range(0x3001)) if sign.isspace())
_ENDS = _SPACES + _WITHOUT_WIDTH + _UNSEEN


def trimmed(text: str) -> str:
    """The text without blanks at its ends; none is left of a text that is blank.

    What joins letters or turns them round stays where there are letters.
    """
    left = text.strip(_ENDS)
    return "" if is_blank(left) else left


def is_blank(text: str) -> bool:
    """Whether a reader would see nothing."""
    # NUL is a control character too: it is refused by its own name.
    return all(
        sign.isspace()
        or sign in _UNSEEN
        or (sign != "\x00" and unicodedata.category(sign) in ("Cf", "Cc"))
        for sign in text
    )


def _trim(value: Any) -> Any:
    return trimmed(value) if isinstance(value, str) else value


def _demand(value: Any) -> Any:
    if isinstance(value, str) and is_blank(value):
        raise PydanticCustomError("missing", "This can't be blank: write something")
    return value


Trimmed = BeforeValidator(_trim)
"""What a text is that may be blank, without blanks at its ends."""

Seen = BeforeValidator(_demand)
"""What a text is that has to say something; a blank one is as good as missing."""

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=WITHOUT_NUL),
    Trimmed,
    Seen,
]
"""A short text that may not be empty: a name, a title."""

ShortText = Annotated[str, StringConstraints(max_length=200, pattern=WITHOUT_NUL), Trimmed]
"""A line of text, at most 200 characters."""

LongText = Annotated[str, StringConstraints(max_length=20_000, pattern=WITHOUT_NUL)]
"""Paragraphs: a note, a description; at most 20,000 characters."""

Paragraphs = Annotated[
    str, StringConstraints(min_length=1, max_length=20_000, pattern=WITHOUT_NUL), Seen
]
"""Paragraphs that may not be blank; their blanks at the ends are the writer's."""

ExternalId = Name
"""What another system calls the record; unique per tenant and kind of record."""
