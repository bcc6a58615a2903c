"""Names in one piece: which part is the first name and which the last, as files write them.

`Dupont, Jean` says so by itself, whatever stands around it. `DUPONT Jean` and `Jean DUPONT` do only
where nearly all names of a list are written that way: one `IBM Support` among them is no habit.
"""

import re
from collections.abc import Callable, Sequence

HABIT = 0.8
"""How large a part of the names makes a habit of a list."""

Split = tuple[str, str]
"""A first and a last name."""

# What follows a name after a comma and is none: of people, and of firms that stand for people.
_TITLES = frozenset((
    "jr", "sr", "ii", "iii", "iv", "phd", "dphil", "md", "mba", "esq", "cpa", "rn", "dds", "jd",
    "ba", "bsc", "ma", "msc", "meng", "ing", "dr", "inc", "ltd", "llc", "llp", "plc", "gmbh", "ag",
    "kg", "sa", "sas", "sarl", "spa", "srl", "bv", "nv", "oy", "ab",
))  # fmt: skip
# They belong to the last name, in lower case: Vincent van Gogh, Charles de Gaulle.
_PARTICLES = frozenset((
    "van", "von", "vom", "zu", "zum", "zur", "der", "den", "de", "di", "da", "do", "dos", "das",
    "del", "della", "degli", "la", "le", "du", "des", "ter", "ten", "el", "al", "bin", "ibn", "af",
    "av", "y", "e",
))  # fmt: skip


def split(names: Sequence[str]) -> list[Split]:
    """The first and the last name of each of a list; who has one name has a last name."""
    plain = _habit(names)
    return [_by_comma(name) or plain(name) for name in names]


def split_last_first(names: Sequence[str]) -> list[Split]:
    """The same of a list whose heading says that last names come first: `Nom et prénom`.

    A title in brackets, as in `Dubois (M.) Jean`, is no part of the name.
    """
    bare = [" ".join(_BRACKETS.sub(" ", name).split()) for name in names]
    return [_by_comma(name) or _last_first(name) for name in bare]


_BRACKETS = re.compile(r"\([^()]*\)")


def _last_first(name: str) -> Split:
    words = name.split()
    count = _capitals(words)
    if count is None:
        # Particles begin a last name: Le Goff Anaïs, de La Tour Jean.
        count = next((n for n, w in enumerate(words) if w.lower() not in _PARTICLES), 0) + 1
    return " ".join(words[count:]), " ".join(words[:count])


def _by_comma(name: str) -> Split | None:
    last, comma, rest = (part.strip() for part in name.partition(","))
    parts = [part.strip() for part in rest.split(",")]
    if not comma or not last or not rest or _is_title(parts[0]):
        return None
    titles = [part for part in parts if _is_title(part)]
    firsts = [part for part in parts if part and not _is_title(part)]
    return " ".join(firsts), ", ".join([last, *titles])


def _is_title(part: str) -> bool:
    return part.lower().replace(".", "") in _TITLES


def _habit(names: Sequence[str]) -> Callable[[str], Split]:
    """How the names without a comma are written, by what most of them have in capitals."""
    several = [words for name in names if "," not in name and len(words := name.split()) > 1]
    enough = HABIT * len(several)
    if several and sum(_capitals(words) is not None for words in several) >= enough:
        return _by_capitals
    if several and sum(_capitals(words[::-1]) is not None for words in several) >= enough:
        return _by_trailing_capitals
    return _usual


def _capitals(words: Sequence[str]) -> int | None:
    """How many words in capitals a name begins with; None where none or all are."""
    count = next((n for n, word in enumerate(words) if not _in_capitals(word)), len(words))
    return count if 0 < count < len(words) else None


def _in_capitals(word: str) -> bool:
    # An initial is in capitals wherever it stands.
    return word.isupper() and sum(c.isalpha() for c in word) > 1 and "." not in word


def _by_capitals(name: str) -> Split:
    words = name.split()
    count = _capitals(words)
    return (" ".join(words[count:]), " ".join(words[:count])) if count else _usual(name)


def _by_trailing_capitals(name: str) -> Split:
    words = name.split()
    count = _capitals(words[::-1])
    return (" ".join(words[:-count]), " ".join(words[-count:])) if count else _usual(name)


def _usual(name: str) -> Split:
    """The last word is the last name, with the particles before it and the title behind it."""
    bare, comma, title = name.partition(",")
    words = bare.split()
    if not words:
        return "", name.strip()
    start = len(words) - 1
    while start > 1 and words[start - 1] in _PARTICLES:
        start -= 1
    last = " ".join(words[start:]) + (f", {title.strip()}" if comma and title.strip() else "")
    return " ".join(words[:start]), last
