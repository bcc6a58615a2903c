"""How a column of text becomes a field's values.

A converter works on a whole column at once and returns text that PostgreSQL casts; an empty string
is NULL. Numbers, dates, booleans and choices repeat, so each distinct value is converted once.
"""

import datetime as dt
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from liaison_kit.imports.fields import ImportField
from liaison_sdk.types import email_address, is_currency

MEMO_SIZE = 50_000
# Exports of databases and office programs write "nothing" in these ways.
NOTHING = frozenset({"null", "none", "n/a", "na", "#n/a", "nan", "-", "–", "—", "\\n", "nil"})


@dataclass(frozen=True, slots=True)
class Invalid:
    """A value that can't be converted: a stable code and a sentence that shows the value."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Formats:
    """How a column writes dates and numbers; found from its values unless the user says so."""

    dates: Literal["dmy", "mdy"] = "dmy"
    decimal: Literal[".", ","] = "."
    currency: str = "EUR"
    timezone: str = "UTC"


@dataclass(slots=True)
class Converted:
    """A converted column: text for PostgreSQL, the values that failed, a money's currencies."""

    values: list[str]
    problems: dict[int, Invalid] = field(default_factory=dict)
    currencies: list[str] | None = None
    left_out: dict[int, Invalid] = field(default_factory=dict)
    """Values that are no good, without which their rows come in."""


Convert = Callable[[Sequence[str]], Converted]


class Memo(dict[str, "str | Invalid"]):
    """Remembers what each distinct value becomes; forgets all when it grows too big."""

    def __init__(self, convert: Callable[[str], "str | Invalid"]) -> None:
        super().__init__()
        self.convert = convert
        self.failed = False

    def __missing__(self, raw: str) -> "str | Invalid":
        if len(self) >= MEMO_SIZE:
            self.clear()
        text = raw.strip()
        value: str | Invalid = "" if not text else self.convert(text)
        if type(value) is Invalid:
            self.failed = True
        self[raw] = value
        return value

    def __call__(self, column: Sequence[str]) -> Converted:
        values = list(map(self.__getitem__, column))
        if not self.failed:
            return Converted(values)  # type: ignore[arg-type]
        problems = {i: v for i, v in enumerate(values) if type(v) is Invalid}
        return Converted(["" if type(v) is Invalid else v for v in values], problems)  # type: ignore[misc]


def shown(value: str) -> str:
    """A value as an error message quotes it: short, on one line."""
    flat = " ".join(value.split())
    return f"“{flat[:57]}…”" if len(flat) > 60 else f"“{flat}”"


def fold(value: str) -> str:
    """A value without case, accents and extra spaces, for comparing."""
    if value.isascii():
        return " ".join(value.lower().split())
    bare = unicodedata.normalize("NFKD", value)
    return " ".join("".join(c for c in bare if not unicodedata.combining(c)).casefold().split())


def converter(spec: ImportField, formats: Formats) -> Convert:
    """How a column is converted for this field."""
    match spec.kind:
        case "text":
            return _text(spec)
        case "id":
            return Memo(_id)
        case "email":
            return _checked(spec, PLAIN_EMAIL, _emails if spec.several else _email)
        case "phone":
            return _checked(spec, PLAIN_PHONE, _phone)
        case "url":
            return Memo(lambda text: (_urls if spec.several else _url)(text, spec))
        case "integer":
            return Memo(_nothing(lambda text: _integer(text, spec, formats)))
        case "decimal":
            return Memo(_nothing(lambda text: _decimal(text, spec, formats)))
        case "currency":
            return Memo(_nothing(_currency))
        case "money":
            return _money(spec, formats)
        case "date":
            return Memo(_nothing(lambda text: _date(text, formats)))
        case "datetime":
            zone = ZoneInfo(formats.timezone)
            return Memo(_nothing(lambda text: _datetime(text, formats, zone)))
        case "boolean":
            return Memo(_nothing(_boolean))
        case "tags":
            return Memo(lambda text: _tags(text, spec))
        case "choice" | "reference":
            raise ValueError(f"{spec.name}: choices and references are resolved by matching")


def _nothing(convert: Callable[[str], str | Invalid]) -> Callable[[str], str | Invalid]:
    def or_nothing(text: str) -> str | Invalid:
        return "" if text.lower() in NOTHING else convert(text)

    return or_nothing


def _too_long(text: str, limit: int) -> Invalid:
    return Invalid(
        "too_long", f"{shown(text)} has {len(text)} characters; at most {limit} are allowed"
    )


def _text(spec: ImportField) -> Convert:
    limit = spec.max_length

    def convert(column: Sequence[str]) -> Converted:
        values = list(map(str.strip, column))
        if not values or len(max(values, key=len)) <= limit:
            return Converted(values)
        problems = {i: _too_long(v, limit) for i, v in enumerate(values) if len(v) > limit}
        return Converted(["" if i in problems else v for i, v in enumerate(values)], problems)

    return convert


_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
# Nearly every address: matched at a fifth of the cost, and whatever it refuses is looked at again.
# Without possessive quantifiers, which match nothing here before Python 3.11.5.
PLAIN_EMAIL = re.compile(
    r"[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*@"
    r"(?:(?!xn--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}"
)
PLAIN_PHONE = re.compile(r"\+?[0-9(][0-9\s().-]{1,28}[0-9]")
PHONE = re.compile(r"\+?[0-9(][0-9\s()./-]{1,28}[0-9]")
# A number in letters, as 1-800-FLOWERS, which every phone has on its keys.
VANITY = re.compile(r"\+?[0-9][0-9-]*-[A-Z0-9-]{4,}")
BETWEEN = " / "
"""What parts the numbers or addresses of one cell, once it is converted."""


def _checked(
    spec: ImportField, pattern: re.Pattern[str], repair: Callable[[str], str | Invalid]
) -> Convert:
    """Values that mostly differ: one match each, the rest looked at more closely."""
    fullmatch = pattern.fullmatch
    lower = spec.kind == "email"
    limit = min(spec.max_length, 320 if lower and not spec.several else 2000 if lower else 200)

    def convert(column: Sequence[str]) -> Converted:
        values = list(map(str.strip, column))
        if lower:
            values = list(map(str.lower, values))
        problems: dict[int, Invalid] = {}
        # A person is known by more than a phone; without their address they may not be.
        told: dict[int, Invalid] = {}
        blamed = problems if lower or spec.required else told
        wrong = {i for i, value in enumerate(values) if value and fullmatch(value) is None}
        if values and len(max(values, key=len)) > limit:
            wrong |= {i for i, value in enumerate(values) if len(value) > limit}
        for i in sorted(wrong):
            value = values[i]
            repaired = repair(value) if len(value) <= limit else _too_long(value, limit)
            if type(repaired) is Invalid:
                blamed[i] = repaired
                values[i] = ""
            else:
                values[i] = repaired  # type: ignore[assignment]
        return Converted(values, problems, left_out=told)

    return convert


def _id(text: str) -> str | Invalid:
    try:
        return str(UUID(text))
    except ValueError:
        return Invalid("bad_id", f"{shown(text)} is not an id of Liaison's")


def _email(text: str) -> str | Invalid:
    if text in NOTHING:
        return ""
    bare = text.removeprefix("mailto:")
    if found := re.search(r"<([^<>]+)>\s*$", bare):
        bare = found[1].strip()
    return email_address(bare) or Invalid("bad_email", f"{shown(text)} is not an e-mail address")


_PARTING_EMAILS = re.compile(r"\s*(?:::+|[;,|\n]|\s/\s)\s*|\s+(?=[^\s<]+@)")


def _emails(text: str) -> str | Invalid:
    """The addresses of a cell, as address books put several into one."""
    if text.count("@") < 2:
        return _email(text)
    found: dict[str, None] = {}
    for part in filter(None, _PARTING_EMAILS.split(text)):
        address = _email(part)
        if isinstance(address, Invalid):
            return address
        found[address] = None
    return BETWEEN.join(filter(None, found))


_ELSEWHERE_DIGITS = {
    code: str(digit)
    for code in range(0x80, 0x10000)
    if (digit := unicodedata.digit(chr(code), None)) is not None and chr(code).isdecimal()
}
_PARTING = re.compile(r"\s*(?:[/;,|\n]|:::|\b(?:ou|or|et|and|und|oder)\b)\s*", re.I)


def _phone(text: str) -> str | Invalid:
    """A number as people type it, several of one cell, `ext. 12` and `(Reception)` included."""
    if text.lower() in NOTHING:
        return ""
    bare = text.translate(_ELSEWHERE_DIGITS).replace("\u00a0", " ").replace("\u202f", " ")
    bare = re.sub(r"[‐‑‒–]", "-", bare).strip()
    parts = [part for part in _PARTING.split(bare) if part]
    # 030/901820 is one number, and 01 99 00 12 34/35 is nearly one.
    if len(parts) > 1 and all(sum(c.isdigit() for c in part) >= 6 for part in parts):
        numbers = [_one_phone(part) for part in parts]
        if all(numbers):
            return BETWEEN.join(dict.fromkeys(filter(None, numbers)))
    return _one_phone(bare) or Invalid("bad_phone", f"{shown(text)} is not a phone number")


def _one_phone(text: str) -> str | None:
    # Spreadsheets are kept from calculating with these in front.
    bare = re.sub(r"^['=]+|^(?:tel|fax|mobile|phone|t[ée]l)\s*[:.]\s*", "", text, flags=re.I)
    # What a word in brackets says is no part of the number; 6.12E+08 has lost its digits.
    bare = re.sub(r"\s*\([^()0-9]*\)\s*$", "", bare.strip())
    main, _, extension = (
        re.sub(r"(?i)[\s,;]*(?:ext\.?|extension|poste|x|#)\s*(\d{1,7})$", r"|\1", bare)
    ).partition("|")
    if not 3 <= sum(c.isdigit() for c in main) <= 20:
        return None
    if not PHONE.fullmatch(main) and not VANITY.fullmatch(main.upper()):
        return None
    return f"{main} x{extension}" if extension else main


URL = re.compile(rf"https?://(?:{_LABEL}\.)*{_LABEL}(?::\d{{1,5}})?(?:[/?#]\S*)?", re.I)


def _url(text: str, spec: ImportField) -> str | Invalid:
    if text.lower() in NOTHING:
        return ""
    if len(text) > spec.max_length:
        return _too_long(text, spec.max_length)
    url = text if "://" in text else f"https://{text}"
    if URL.fullmatch(url) and ("." in url or "://" in text):
        return url
    return Invalid("bad_url", f"{shown(text)} is not a web address")


def _urls(text: str, spec: ImportField) -> str | Invalid:
    found: dict[str, None] = {}
    for part in filter(None, re.split(r"\s*(?::::|[,;|])\s*|\s+", text)):
        url = _url(part, spec)
        if isinstance(url, Invalid):
            return url
        found[url] = None
    return BETWEEN.join(filter(None, found))


SPACES = re.compile(r"[\s\u00a0\u202f\u2009'’](?=\d{3}(?:\D|$))")
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,2})?")


def parse_number(text: str, formats: Formats) -> Decimal | None:
    """A number as English, French, German or Swiss people write it, or None."""
    bare = SPACES.sub("", text).replace("−", "-")
    # Swiss prices: 1'000.- has no cents.
    bare = re.sub("[.,][-–—]+$", "", bare)
    if bare.startswith("(") and bare.endswith(")"):
        bare = f"-{bare[1:-1]}"
    if bare.endswith("-") and not bare.startswith("-"):
        bare = f"-{bare[:-1]}"
    comma, dot = bare.rfind(","), bare.rfind(".")
    if comma >= 0 and dot >= 0:
        # The last of the two is the decimal sign: 1.054,50 and 1,054.50.
        mark = "," if comma > dot else "."
    elif comma >= 0 or dot >= 0:
        sign = "," if comma >= 0 else "."
        grouped = re.fullmatch(rf"[+-]?[1-9]\d{{0,2}}(?:\{sign}\d{{3}})+", bare)
        # 1,054 is a thousand unless the column's other values say that the comma is decimal.
        many = bare.count(sign) > 1
        mark = (
            ("." if sign == "," else ",") if grouped and (many or formats.decimal != sign) else sign
        )
        if many and not grouped:
            return None
    else:
        mark = "."
    group = "," if mark == "." else "."
    if group in bare:
        whole = bare.split(mark)[0]
        if not re.fullmatch(rf"[+-]?\d{{1,3}}(?:\{group}\d{{3}})+", whole):
            return None
        bare = bare.replace(group, "")
    bare = bare.replace(mark, ".")
    if not NUMBER.fullmatch(bare):
        return None
    try:
        return Decimal(bare)
    except InvalidOperation:
        return None


def _bounded(number: Decimal, text: str, spec: ImportField) -> Invalid | None:
    if spec.minimum is not None and number < spec.minimum:
        return Invalid("too_small", f"{shown(text)} is below {spec.minimum}")
    if spec.maximum is not None and number > spec.maximum:
        return Invalid("too_large", f"{shown(text)} is above {spec.maximum}")
    if abs(number) >= Decimal(10) ** 16:
        return Invalid("too_large", f"{shown(text)} is too large")
    return None


def _without_currency(text: str) -> str:
    """A number that a spreadsheet shows as money, where it is not asked what it is money of."""
    found = MONEY.fullmatch(text)
    return f"{found[1]}{found[3]}{found[5]}" if found and (found[2] or found[4]) else text


def _integer(text: str, spec: ImportField, formats: Formats) -> str | Invalid:
    # Of percentages that are whole numbers people mean those: 15% is 15.
    number = parse_number(_without_currency(text.removesuffix("%").rstrip()), formats)
    if number is None or number != number.to_integral_value():
        return Invalid("bad_integer", f"{shown(text)} is not a whole number")
    return _bounded(number, text, spec) or str(int(number))


def _decimal(text: str, spec: ImportField, formats: Formats) -> str | Invalid:
    percent = text.endswith("%")
    number = parse_number(_without_currency(text.removesuffix("%").rstrip()), formats)
    if number is None:
        return Invalid("bad_number", f"{shown(text)} is not a number")
    if percent:
        number /= 100
    return _bounded(number, text, spec) or f"{number:f}"


SIGNS = {
    "€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY", "FR.": "CHF", "₹": "INR", "₩": "KRW",
    "₽": "RUB", "₺": "TRY", "₴": "UAH", "₪": "ILS", "ZŁ": "PLN", "KČ": "CZK", "US$": "USD",
    "CA$": "CAD", "A$": "AUD", "NZ$": "NZD", "HK$": "HKD", "S$": "SGD", "R$": "BRL",
}  # fmt: skip
_SIGN = r"(?:US|CA|NZ|HK|[ASR])\$|[€$£¥₹₩₽₺₴₪]|[Zz]ł|[Kk]č|[A-Za-z]{3}"
MONEY = re.compile(rf"([+-]?\(?)\s*({_SIGN}|Fr\.)?\s*([^A-Za-złč€$£¥₹₩₽₺₴₪]+?)\s*({_SIGN})?(\)?)")


def _money(spec: ImportField, formats: Formats) -> Convert:
    currencies: dict[str, str] = {}

    def one(text: str) -> str | Invalid:
        found = MONEY.fullmatch(text)
        sign = (found[2] or found[4]) if found else None
        if found is None or (found[2] and found[4]):
            return Invalid("bad_money", f"{shown(text)} is not an amount of money")
        number = parse_number(f"{found[1]}{found[3]}{found[5]}", formats)
        if number is None:
            return Invalid("bad_money", f"{shown(text)} is not an amount of money")
        if failed := _bounded(number, text, spec):
            return failed
        if sign:
            currency = _currency(sign)
            if type(currency) is Invalid:
                return currency
            currencies[text] = str(currency)
        # How many decimals it may have is known with its currency, which may be in another column.
        cents = number.quantize(Decimal("0.01"))
        return f"{cents if cents == number else number:f}"

    memo = Memo(_nothing(one))

    def convert(column: Sequence[str]) -> Converted:
        converted = memo(column)
        default = formats.currency
        if currencies:
            converted.currencies = [
                currencies.get(raw.strip(), default) if value else ""
                for raw, value in zip(column, converted.values, strict=True)
            ]
            if len(currencies) > MEMO_SIZE:
                memo.clear()
                currencies.clear()
        else:
            converted.currencies = [default if value else "" for value in converted.values]
        return converted

    return convert


def _currency(text: str) -> str | Invalid:
    code = SIGNS.get(text.upper(), text.upper())
    if is_currency(code):
        return code
    return Invalid("bad_currency", f"{shown(text)} is not a currency, as EUR is")


MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan janvier janv",
            "february feb fevrier fevr fev",
            "march mar mars",
            "april apr avril avr",
            "may mai",
            "june jun juin",
            "july jul juillet juil",
            "august aug aout",
            "september sep sept septembre",
            "october oct octobre",
            "november nov novembre",
            "december dec decembre",
        ),
        start=1,
    )
    for name in names.split()
}
NUMERIC_DATE = re.compile(
    r"(\d{4}(?=[/.\- ]\d+[/.\- ]\d{1,2}$)|\d{1,2})([/.\- ])(\d{1,2})\2(\d{4}|\d{1,2})"
)
WORDED_DATE = re.compile(
    r"(?:[a-z]+\.?,?\s+)??(?:(\d{1,2})(?:st|nd|rd|th|er)?[\s.-]+([a-z]+)\.?|([a-z]+)\.?\s+(\d{1,2})"
    r"(?:st|nd|rd|th)?,?)[\s.,-]+(\d{4}|\d{2})"
)


def parse_date(text: str, formats: Formats) -> dt.date | None:
    """A date in ISO form, in figures in the column's order, or with a month's name; or None."""
    try:
        if len(text) == 10 and text[4] == "-":
            return dt.date.fromisoformat(text)
        if found := NUMERIC_DATE.fullmatch(text):
            first, third, fourth = found[1], found[3], found[4]
            if len(first) == 4:
                return dt.date(int(first), int(third), int(fourth))
            if len(fourth) == 1:
                return None
            day, month = int(first), int(third)
            if formats.dates == "mdy":
                day, month = month, day
            return dt.date(_year(fourth), month, day)
        if found := WORDED_DATE.fullmatch(fold(text)):
            month_number = MONTHS.get(found[2] or found[3])
            if month_number is None:
                return None
            return dt.date(_year(found[5]), month_number, int(found[1] or found[4]))
        if len(text) == 8 and text.isdecimal():
            return dt.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None
    return None


def _year(digits: str) -> int:
    year = int(digits)
    if len(digits) == 2:
        return year + (2000 if year < 69 else 1900)
    return year


def _date(text: str, formats: Formats) -> str | Invalid:
    found = parse_date(text, formats)
    if found is None and len(text) > 10:
        # A date exported with a time of day: the day is what counts.
        head, _, tail = text.replace("T", " ", 1).partition(" ")
        if re.fullmatch(r"\d{1,2}:\d{2}.*", tail):
            found = parse_date(head, formats)
    if found is None or found.year < 1000:
        return Invalid("bad_date", f"{shown(text)} is not a date")
    return found.isoformat()


def _datetime(text: str, formats: Formats, zone: ZoneInfo) -> str | Invalid:
    moment: dt.datetime | None = None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        head, _, tail = text.partition(" ")
        day = parse_date(text, formats) or parse_date(head, formats)
        if day is not None:
            clock = dt.time()
            if tail and parse_date(text, formats) is None:
                try:
                    clock = dt.time.fromisoformat(tail.strip().replace("h", ":").zfill(5))
                except ValueError:
                    day = None
            if day is not None:
                moment = dt.datetime.combine(day, clock)
    if moment is None or moment.year < 1000:
        return Invalid("bad_datetime", f"{shown(text)} is not a date and time")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return moment.isoformat()


TRUE = frozenset(("true", "t", "yes", "y", "1", "x", "on", "vrai", "oui", "o", "v", "✓", "actif"))
FALSE = frozenset(("false", "f", "no", "n", "0", "off", "faux", "non", "✗", "inactif"))


def _boolean(text: str) -> str | Invalid:
    folded = fold(text)
    if folded in TRUE:
        return "true"
    if folded in FALSE:
        return "false"
    return Invalid("bad_boolean", f"{shown(text)} is neither yes nor no")


def _tags(text: str, spec: ImportField) -> str | Invalid:
    parts = (" ".join(part.split()) for part in re.split(r":::|[,;|\n]", text))
    # Google marks with a star the groups that are its own: `* myContacts`.
    tags = list(dict.fromkeys(p for p in parts if p and not p.startswith("* ")))
    for tag in tags:
        if len(tag) > spec.max_length:
            return _too_long(tag, spec.max_length)
    return json.dumps(tags, ensure_ascii=False) if tags else ""
