"""Which encoding a text that is not Unicode was written in: the one in which its words are words.

Nothing in such a file says so, and in most encodings any bytes are text. So its words are read in
each of them and judged: a word is one that some language writes, if all its letters beyond ASCII
are letters of that one language. `Jiøí` mixes Danish and Spanish, `Jiří` is Czech. That needs a few
names, where statistics need pages (measured: docs/decisions/encodings.md).
"""

import codecs
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

SHOWN_WORDS = 3
JUDGED_WORDS = 5_000

WESTERN = (
    "àâæçéèêëîïôœùûüÿ",  # French
    "äöüß",  # German
    "áéíóúüñ",  # Spanish
    "áâãàçéêíóôõú",  # Portuguese
    "àèéìíîòóùú",  # Italian
    "àçèéíïòóúü",  # Catalan
    "åäöé",  # Swedish, Finnish
    "æøåéö",  # Danish, Norwegian
    "áéëèïíóöüú",  # Dutch
    "áðéíóúýþæö",  # Icelandic
)
CENTRAL = (
    "áčďéěíňóřšťúůýžö",  # Czech
    "áäčďéíĺľňóôŕšťúýž",  # Slovak
    "ąćęłńóśźż",  # Polish
    "áéíóöőúüű",  # Hungarian
    "ăâîşţ",  # Romanian
    "čćđšž",  # Croatian, Slovenian, Serbian
)
TURKISH = ("çğıiöşüâîû",)
BALTIC = ("ąčęėįšųūž", "āčēģīķļņšūž", "äõöüšž")
CYRILLIC = (
    "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
    "абвгґдеєжзиіїйклмнопрстуфхцчшщьюяўыэё",
    "абвгдђежзијклљмнњопрстћуфхцчџшѓќѕ",
)
GREEK = ("αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώϊϋΐΰ",)
HEBREW = ("אבגדהוזחטיךכלםמןנסעףפץצקרשת",)
ARABIC = ("ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىيپچژگ",)

# Signs that stand beside words, not in them.
_BEFORE = "“”„‘‚«‹»›–—…•·§™¿¡\u00a0€£¥"
_AFTER = "“”„’«»‹›–—…•·®™°²³ºª\u00a0€£¥%"
_RUN = re.compile(r"(?:[^\x00-\x7f]|[A-Za-z])+")
_CUT = re.compile("[’‘–—…«»‹›“”\u00a0·]")


@dataclass(frozen=True, slots=True)
class Guess:
    """An encoding, how many of the text's words are words in it, and some of them."""

    encoding: str
    label: str
    share: float
    sample: str


@dataclass(frozen=True, slots=True)
class _Encoding:
    name: str
    label: str
    is_word: Callable[[str], bool]
    weight: float = 1.0
    """Less for what few programs of today write."""


def guess(lines: bytes) -> list[Guess]:
    """The encodings in which these lines make sense, the likeliest first; there may be none.

    Windows' own come before others, and of those that say the same only the likeliest is told.
    """
    found: dict[str, tuple[float, int, Guess]] = {}
    for place, encoding in enumerate(_ENCODINGS):
        text = lines.decode(encoding.name, "replace")
        words = words_of(text)
        share = _share(encoding, words) if words else float("\ufffd" not in text)
        # Letters that no language has here may be those of one more Western language.
        if share > 0 or (encoding.name == "cp1252" and "\ufffd" not in text):
            shown = ", ".join(words[:SHOWN_WORDS])
            one = share, -place, Guess(encoding.name, encoding.label, share, shown)
            said = "\n".join(words)
            if said not in found or found[said][:2] < one[:2]:
                found[said] = one
    return [one for _, _, one in sorted(found.values(), key=lambda one: one[:2], reverse=True)]


def _share(encoding: "_Encoding", words: Sequence[str]) -> float:
    """How much of the text makes sense."""
    share = sum(map(encoding.is_word, words)) / len(words)
    letters = "".join(words)
    if encoding.name in _CASED and len(words) > 2 and letters.islower():
        # Names begin with capitals; Hebrew, which has none, is small letters here.
        share *= 0.9
    if encoding.name == "gb18030" and len(letters) > 3 and max(_first(letters)) <= _LAST_HANGUL:
        # Half of what Chinese is written in lies behind this; all of Korean lies before it.
        share *= 0.5
    if encoding.name == "big5" and len(letters) > 6 and min(_second(letters)) > 0x7E:
        # A third of its characters end in a byte of ASCII; in EUC none does.
        share *= 0.5
    if encoding.name == "euc_jp" and not re.search(f"[{_KANA}]", letters):
        share *= 0.5
    return share * encoding.weight


def _first(letters: str) -> list[int]:
    return [letter.encode("gb18030")[0] for letter in letters if letter > "\x7f"]


def _second(letters: str) -> list[int]:
    both = [letter.encode("big5", "replace") for letter in letters if letter > "\x7f"]
    return [character[1] for character in both if len(character) == 2] or [0]


def words_of(text: str) -> list[str]:
    """The words with letters beyond ASCII, each once, without the signs around them."""
    words: dict[str, None] = {}
    for run in _RUN.findall(text):
        for part in _CUT.split(run):
            word = part.lstrip(_BEFORE).rstrip(_AFTER)
            if not word.isascii() and any(c.isalpha() or c == "\ufffd" for c in word):
                words[word] = None
        if len(words) >= JUDGED_WORDS:
            break
    return list(words)


def known(name: str) -> str | None:
    """Python's name of an encoding, as `cp1251` of `windows-1251`; None of what is none here."""
    bare = name.strip().lower().replace("windows-", "cp")
    try:
        found = codecs.lookup(bare).name
    except (LookupError, ValueError):
        return None
    return found if found in _MAY_BE_CHOSEN else None


def label_of(encoding: str) -> str:
    """What people call an encoding."""
    return next((one.label for one in _ENCODINGS if one.name == encoding), encoding)


# --- what is a word


@cache
def _letters(alphabets: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(letters) for letters in alphabets)


def _well_cased(word: str) -> bool:
    """No capital follows a small letter, unless it is one of ASCII, as in McDonald."""
    return not any(
        after.isupper() and not after.isascii() and before.islower()
        for before, after in pairwise(word)
    )


def _latin(*alphabets: str) -> Callable[[str], bool]:
    def is_word(word: str) -> bool:
        beyond = {c for c in word.lower() if c > "\x7f"}
        # Whole words of nothing but accented letters are another script, misread.
        if len(word) > 2 and all(c > "\x7f" for c in word):
            return False
        if not _well_cased(word):
            return False
        if not any(beyond <= letters for letters in _letters(alphabets)):
            return False
        # Icelandic begins words with it; elsewhere it is a Turkish or Baltic letter.
        if "þ" in word[1:]:
            return False
        # In Portuguese these stand in few places; elsewhere they are Romanian or Hungarian.
        return not re.search("õ(?!e)|ã(?![oes]|$)", word.lower()) or "õ" in alphabets[-1]

    return is_word


def _script(*alphabets: str) -> Callable[[str], bool]:
    def is_word(word: str) -> bool:
        low = set(word.lower())
        return _well_cased(word) and any(low <= letters for letters in _letters(alphabets))

    return is_word


def _east_asian(encoding: str, common: tuple[int, int], own: str) -> Callable[[str], bool]:
    """Words of common characters only: standards put those first, rare ones behind them."""
    letters = re.compile(f"[{own}]")

    def is_word(word: str) -> bool:
        for character in word:
            if letters.match(character) or character in "ー々〇・\u3000、。「」（）":
                continue
            try:
                first = character.encode(encoding)[0]
            except UnicodeEncodeError:
                return False
            if not common[0] <= first <= common[1]:
                return False
        return len(word) > 1 or bool(letters.match(word))

    return is_word


def _korean(word: str) -> bool:
    """Syllables of the standard, which come before all others."""
    found = word.encode("euc_kr", "replace")
    return len(found) == 2 * len(word) and max(found[::2]) <= _LAST_HANGUL and min(found) >= 0xA1


_LAST_HANGUL = 0xC8
_KANA = "\u3041-\u30ff\uff66-\uff9f"
_CASED = frozenset({"cp1251", "cp1253"})
# In the order in which they are believed when several say as much.
_ENCODINGS: Sequence[_Encoding] = (
    _Encoding("cp1252", "Western European (Windows-1252)", _latin(*WESTERN)),
    _Encoding("cp1250", "Central European (Windows-1250)", _latin(*CENTRAL, "äöüß")),
    _Encoding("cp1251", "Cyrillic (Windows-1251)", _script(*CYRILLIC)),
    _Encoding("cp1253", "Greek (Windows-1253)", _script(*GREEK)),
    _Encoding("cp1254", "Turkish (Windows-1254)", _latin(*TURKISH)),
    _Encoding("cp1257", "Baltic (Windows-1257)", _latin(*BALTIC)),
    _Encoding("cp1255", "Hebrew (Windows-1255)", _script(*HEBREW)),
    _Encoding("cp1256", "Arabic (Windows-1256)", _script(*ARABIC)),
    _Encoding("cp932", "Japanese (Shift-JIS)", _east_asian("cp932", (0x88, 0x98), _KANA)),
    _Encoding(
        "gb18030", "Simplified Chinese (GB 18030)", _east_asian("gb2312", (0xB0, 0xD7), "〇")
    ),
    _Encoding("big5", "Traditional Chinese (Big5)", _east_asian("big5", (0xA4, 0xC6), "〇")),
    _Encoding("cp949", "Korean (Windows-949)", _korean),
    _Encoding("euc_jp", "Japanese (EUC)", _east_asian("euc_jp", (0xB0, 0xCF), _KANA)),
    _Encoding("iso8859-2", "Central European (ISO 8859-2)", _latin(*CENTRAL), 0.9),
    _Encoding("mac-roman", "Western European (old Mac)", _latin(*WESTERN), 0.8),
    _Encoding("cp850", "Western European (DOS)", _latin(*WESTERN), 0.8),
    _Encoding("cp852", "Central European (DOS)", _latin(*CENTRAL), 0.8),
    _Encoding("koi8-r", "Cyrillic (KOI8-R)", _script(*CYRILLIC), 0.8),
    _Encoding("cp866", "Cyrillic (DOS)", _script(*CYRILLIC), 0.8),
    _Encoding("iso8859-5", "Cyrillic (ISO 8859-5)", _script(*CYRILLIC), 0.8),
)
_MAY_BE_CHOSEN = frozenset(
    {
        *(one.name for one in _ENCODINGS),
        *("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "ascii"),
        *("iso8859-1", "iso8859-15", "iso8859-7", "iso8859-9", "cp437", "cp1258", "koi8-u"),
        *("mac-cyrillic", "mac-latin2", "shift_jis", "gbk", "gb2312", "euc_kr", "big5hkscs"),
    }
)
