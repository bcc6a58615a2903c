"""Turn an XLSX workbook into CSV, in a process of its own (`apart`).

A workbook is a zip of XML: a few kilobytes may unpack to gigabytes, its declared sizes may lie, and
one cell at the far corner makes a reader allocate the whole sheet.

What the reader tells of a cell is its value. Where its format says more (`01000`, `$12`, a number
of 16 digits), the sheet's own XML is asked as well.
"""

import csv
import datetime as dt
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import islice
from typing import Any
from xml.etree import ElementTree

import python_calamine

from liaison_kit.imports.apart import RefusedError, answer

ENTRIES = 10_000
RATIO = 400
REPORTED_CELLS = 10_000
KEPT_CELLS = 1_000_000
LOOKED_AT = 50
"""So many of a sheet's first rows tell whether it is a table."""


def inspect_zip(path: str, unpacked_limit: int) -> None:
    """Refuse an archive that is no workbook or that unpacks to more than the limit."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise RefusedError("not_a_spreadsheet", f"The workbook is damaged: {error}") from error
    with archive:
        entries = archive.infolist()
        if len(entries) > ENTRIES:
            raise RefusedError("file_too_large", f"The workbook holds {len(entries)} parts")
        if not any(entry.filename.lower() == "xl/workbook.xml" for entry in entries):
            raise RefusedError("not_a_spreadsheet", "The archive holds no XLSX workbook")
        unpacked = sum(entry.file_size for entry in entries)
        packed = sum(entry.compress_size for entry in entries) or 1
        if unpacked > unpacked_limit or (unpacked > 64 << 20 and unpacked / packed > RATIO):
            raise RefusedError(
                "file_too_large",
                f"The workbook unpacks to {unpacked >> 20} MiB ({unpacked // packed} times)",
            )


def text(value: object) -> str:
    """A cell as the text that a CSV export of the same sheet would hold."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if value.is_integer():
            # Beyond 2**53 the shortest decimals that mean this number, not its binary noise.
            return str(int(value)) if abs(value) < 2**53 else f"{Decimal(repr(value)):f}"
        # Excel itself keeps 15 significant digits, so 0.1 + 0.2 reads 0.3.
        shown = f"{value:.15g}"
        return f"{Decimal(shown):f}" if "e" in shown else shown
    if isinstance(value, dt.datetime):
        if value.time() == dt.time():
            return value.date().isoformat()
        return value.isoformat(timespec="seconds")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return "" if value is None else str(value)


def sheet_part(archive: zipfile.ZipFile, index: int) -> str | None:
    """The archive's part that holds the sheet at this place in the workbook."""
    book = archive.read("xl/workbook.xml")
    sheets = re.findall(rb"<(?:\w+:)?sheet\b[^>]*\br:id=\"([^\"]+)\"", book)
    relations = archive.read("xl/_rels/workbook.xml.rels")
    for relation in re.findall(rb"<Relationship\b[^>]*>", relations):
        if index < len(sheets) and b'Id="' + sheets[index] + b'"' in relation:
            target = re.search(rb"Target=\"([^\"]+)\"", relation)
            if target is not None:
                path = target[1].decode().lstrip("/")
                path = path if path.startswith("xl/") else f"xl/{path}"
                return path if path in archive.namelist() else None
    return None


CELL = re.compile(rb"<c\b([^>]*?)(?:/>|>(.*?)</c>)", re.S)
PLACE = re.compile(rb"\br=\"([A-Z]{1,3})(\d{1,7})\"")
STYLE = re.compile(rb"\bs=\"(\d{1,6})\"")
TEXT = re.compile(rb"\bt=\"(?!n\")")
ERROR = re.compile(rb"\bt=\"e\"")
STORED = re.compile(rb"<v>[^<]+</v>|<is>")
VALUE = re.compile(rb"<v>([^<]{1,40})</v>")
LONG = re.compile(rb"<v>(-?\d{16,})(?:\.0*)?</v>")


class Formats:
    """How the sheet shows its numbers, where that is more than the number."""

    def __init__(self) -> None:
        self.codes: dict[int, Callable[[str], str]] = {}
        """By style: what becomes of a number."""
        self.styles: dict[int, dict[int, int]] = {}
        """By row and column from zero: the style."""
        self.exact: dict[tuple[int, int], str] = {}
        """Whole numbers of more digits than a float keeps."""
        self.uncomputed: list[tuple[int, int]] = []
        """Where formulas have no stored result, as (row, column) from zero.

        A program that writes a workbook without calculating it leaves such cells; they read as
        blank, which would silently import nothing."""
        self.errors: list[tuple[int, str]] = []
        """Rows from zero of cells that hold an error, as #REF!, and the error; they are blank."""

    def shown(self, row: int, cells: list[str]) -> None:
        """Put into a row of texts what the sheet shows instead."""
        for column in range(len(cells)) if self.exact else ():
            cells[column] = self.exact.get((row, column), cells[column])
        for column, style in self.styles.pop(row, {}).items():
            if column < len(cells) and cells[column]:
                cells[column] = self.codes[style](cells[column])


def formats_of(path: str, sheet_index: int) -> Formats:
    """What the sheet's XML tells beside the values."""
    found = Formats()
    with zipfile.ZipFile(path) as archive:
        name = sheet_part(archive, sheet_index)
        if name is None:
            return found
        if "xl/styles.xml" in archive.namelist():
            found.codes = codes(archive.read("xl/styles.xml"))
        with archive.open(name) as part:
            rest = b""
            while block := part.read(1 << 20):
                rest += block
                end = rest.rfind(b"</c>")
                if end < 0:
                    continue
                done, rest = rest[: end + 4], rest[end + 4 :]
                if found.codes or b"<f" in done or b't="e"' in done or LONG.search(done):
                    look(done, found)
    return found


def look(done: bytes, found: Formats) -> None:
    """Take in some cells of the sheet."""
    for cell in CELL.finditer(done):
        attributes, body = cell[1], cell[2] or b""
        style = STYLE.search(attributes)
        code = style is not None and int(style[1]) in found.codes
        formula = b"<f" in body and not STORED.search(body)
        number = None if formula or TEXT.search(attributes) else LONG.search(body)
        error = ERROR.search(attributes)
        if not (code or formula or number or error):
            continue
        place = PLACE.search(attributes)
        if place is None:
            continue
        column = 0
        for letter in place[1]:
            column = column * 26 + letter - 64
        row, column = int(place[2]) - 1, column - 1
        if error:
            if len(found.errors) < REPORTED_CELLS and (told := VALUE.search(body)):
                found.errors.append((row, told[1].decode()))
        elif formula:
            if len(found.uncomputed) < REPORTED_CELLS:
                found.uncomputed.append((row, column))
        elif number and len(found.exact) < KEPT_CELLS:
            found.exact[row, column] = number[1].decode()
        if style is not None and code and not TEXT.search(attributes) and b"<v>" in body:
            found.styles.setdefault(row, {})[column] = int(style[1])


# --- number formats

BUILT_IN: dict[str | None, str] = {"9": "0%", "10": "0.00%"}
"""Formats that a workbook need not spell out; those of money depend on who reads."""
MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
SIGNS = {
    "€": "EUR", "£": "GBP", "₹": "INR", "₩": "KRW", "₽": "RUB", "₺": "TRY", "₴": "UAH", "₪": "ILS",
    "zł": "PLN", "kč": "CZK", "ft": "HUF", "lei": "RON", "fr.": "CHF", "r$": "BRL", "us$": "USD",
    "ca$": "CAD", "a$": "AUD", "nz$": "NZD", "hk$": "HKD", "s$": "SGD",
}  # fmt: skip
# What is written alike in several countries is told apart by the country of the format.
LOCAL_SIGNS = {
    ("$", "1009"): "CAD", ("$", "c0c"): "CAD", ("$", "c09"): "AUD", ("$", "1409"): "NZD",
    ("$", "4809"): "SGD", ("$", "c04"): "HKD", ("$", "80a"): "MXN", ("$", "2c0a"): "ARS",
    ("$", "240a"): "COP", ("$", "340a"): "CLP", ("¥", "804"): "CNY", ("￥", "804"): "CNY",
    ("kr", "41d"): "SEK", ("kr", "414"): "NOK", ("kr", "814"): "NOK", ("kr", "406"): "DKK",
}  # fmt: skip


def codes(styles: bytes) -> dict[int, Callable[[str], str]]:
    """By style, what its number format does to a number; plain formats are left out."""
    try:
        root = ElementTree.fromstring(styles)
    except ElementTree.ParseError:
        return {}
    named = dict(BUILT_IN)
    named |= {one.get("numFmtId"): one.get("formatCode", "") for one in root.iter(f"{MAIN}numFmt")}
    cells = root.find(f"{MAIN}cellXfs")
    found: dict[int, Callable[[str], str]] = {}
    for style, one in enumerate(cells if cells is not None else ()):
        shows = meaning(named.get(one.get("numFmtId"), ""))
        if shows is not None:
            found[style] = shows
    return found


def meaning(code: str) -> Callable[[str], str] | None:
    """What a number format shows that a number by itself does not; None for nothing of the kind."""
    first, _, second = code.partition(";")
    shows = section_meaning(first)
    # As in [<=9999999]###-####;(###) ###-####
    limit = re.match(r"\[<=?(\d+)\]", first)
    other = section_meaning(second.split(";")[0]) if limit and second else None
    if limit is None or shows is None or other is None:
        return shows
    small, large, most = shows, other, int(limit[1])
    return lambda number: (
        large(number) if number.isdecimal() and int(number) > most else small(number)
    )


def section_meaning(section: str) -> Callable[[str], str] | None:
    """The same of one of a format's sections, which are for positive, negative and no numbers."""
    if re.search("[ymdhs]", re.sub(r'"[^"]*"|\\.|\[[^\]]*\]', "", section), re.I):
        return None
    currency = currency_of(section)
    if currency is not None:
        return lambda number: f"{number} {currency}"
    if "%" in re.sub(r'"[^"]*"|\\.', "", section):
        return percent
    # Conditions and colours stand in brackets, and don't change the digits.
    bare = re.sub(r"\[[^\]]*\]|_.|\*.", "", section)
    pattern = "".join(
        quoted or escaped or plain
        for quoted, escaped, plain in re.findall(r'"([^"]*)"|\\(.)|(.)', bare)
    )
    if not re.fullmatch(r"[(+]*[0#][0# ./()+-]*", pattern) or pattern.count(".") == 1:
        return None
    padded = re.fullmatch("0{2,}", pattern)
    grouped = pattern.count("0") + pattern.count("#") > 4 and re.search(
        r"[0#][ ./()+-]+[0#]", pattern
    )
    return (lambda number: filled(pattern, number)) if padded or grouped else None


def percent(number: str) -> str:
    """A share as percent."""
    try:
        return f"{(Decimal(number) * 100).normalize():f}%"
    except ArithmeticError:
        return number


def filled(pattern: str, number: str) -> str:
    """A whole number in the places of a pattern, from the right; the rest stands in front."""
    if not number.isdecimal():
        return number
    digits, out = list(number), ""
    for place in range(len(pattern) - 1, -1, -1):
        sign, before = pattern[place], pattern[:place]
        if sign == "0" or (sign == "#" and digits):
            out = (digits.pop() if digits else "0") + out
        elif sign != "#" and (digits or "0" in before or ("#" not in before and out)):
            # A separator in front of which nothing comes is not shown.
            out = sign + out
    return "".join(digits) + out


def currency_of(section: str) -> str | None:
    """The currency that a number format shows, by its three letters."""
    for sign, country in re.findall(r"\[\$([^\]-]+)(?:-([0-9A-Fa-f]+))?\]", section):
        if found := coded(sign, country.lower().lstrip("0")):
            return found
    plain = re.sub(r"\[[^\]]*\]", "", section)
    for sign in re.findall(r'"([^"]+)"', plain) + re.findall(r"\\?([$€£¥₹₩₽₺₴₪])", plain):
        if found := coded(sign, ""):
            return found
    return None


def coded(sign: str, country: str) -> str | None:
    """A currency's three letters, by its sign and the number of a country."""
    bare = sign.strip().lower()
    if re.fullmatch("[a-z]{3}", bare) and bare not in SIGNS:
        return bare.upper() if bare in CODES else None
    usual = {"$": "USD", "¥": "JPY", "￥": "JPY"}.get(bare)
    return LOCAL_SIGNS.get((bare, country)) or SIGNS.get(bare) or usual


CODES = frozenset(
    {
        *("aed", "ars", "aud", "bgn", "brl", "cad", "chf", "clp", "cny", "cop", "czk", "dkk"),
        *("eur", "gbp", "hkd", "huf", "idr", "ils", "inr", "isk", "jpy", "krw", "mad", "mxn"),
        *("myr", "nok", "nzd", "pen", "php", "pln", "ron", "rub", "sar", "sek", "sgd", "thb"),
        *("try", "tnd", "twd", "uah", "usd", "vnd", "xaf", "xof", "zar"),
    }
)


# --- rows


def rows_of(
    sheet: Any,
    merged: dict[tuple[int, int], tuple[int, int]],
    formats: Formats,
    numbers: set[int],
) -> Iterator[list[str]]:
    """The sheet's rows from its first line on, each cell as text, merged cells filled in.

    `numbers` learns which columns have fractions.
    """
    left = sheet.start[1]
    width = sheet.end[1] + 1
    # The reader gives blank rows above the first that has content, but no blank columns before it.
    margin = [""] * left
    anchors = dict.fromkeys(set(merged.values()), "")
    rows_with_merged = {row for row, _ in merged} | {row for row, _ in anchors}
    for number, cells in enumerate(sheet.iter_rows()):
        row = margin + [text(cell) for cell in cells]
        for place, cell in enumerate(cells, start=left):
            if type(cell) is float and not cell.is_integer():
                numbers.add(place)
        if len(row) < width:
            row += [""] * (width - len(row))
        if formats.styles or formats.exact:
            formats.shown(number, row)
        if number in rows_with_merged:
            for column in range(width):
                if (number, column) in anchors:
                    anchors[number, column] = row[column]
                elif (number, column) in merged and not row[column]:
                    row[column] = anchors[merged[number, column]]
        yield row


def merged_cells(sheet: Any) -> dict[tuple[int, int], tuple[int, int]]:
    """Each covered cell of the sheet's merged ranges, with the cell that holds its value.

    A value merged over several rows is meant for each of them. The range is cut to the area that
    has data: people merge whole columns for looks.
    """
    covered: dict[tuple[int, int], tuple[int, int]] = {}
    last_row, last_column = sheet.end
    for (top, left), (bottom, right) in sheet.merged_cell_ranges or ():
        for row in range(top, min(bottom, last_row) + 1):
            for column in range(left, min(right, last_column) + 1):
                if (row, column) != (top, left):
                    covered[row, column] = (top, left)
        if len(covered) > 1_000_000:
            raise RefusedError("file_too_large", "The sheet has over a million merged cells")
    return covered


def convert(
    source: str, target: str, limits: dict[str, int], wanted: str | None = None
) -> dict[str, Any]:
    """Write a sheet as CSV, the first with a table unless one is named; tell what was odd."""
    inspect_zip(source, limits["unpacked_bytes"])
    try:
        workbook = python_calamine.CalamineWorkbook.from_path(source)
        found = [
            (index, about.name, about.visible == python_calamine.SheetVisibleEnum.Visible)
            for index, about in enumerate(workbook.sheets_metadata)
            if about.typ == python_calamine.SheetTypeEnum.WorkSheet
        ]
        index, sheet = chosen(workbook, found, wanted)
    except python_calamine.PasswordError as error:
        raise RefusedError("not_a_spreadsheet", "The workbook is locked by a password") from error
    except python_calamine.CalamineError as error:
        raise RefusedError("not_a_spreadsheet", f"The workbook is damaged: {error}") from error
    if sheet.end[0] + 1 > limits["rows"] + 1 or sheet.end[1] + 1 > limits["columns"]:
        raise RefusedError(
            "file_too_large",
            f"The sheet spans {sheet.end[0] + 1} rows and {sheet.end[1] + 1} columns; the limits"
            f" are {limits['rows']} and {limits['columns']}",
        )
    merged = merged_cells(sheet)
    formats = formats_of(source, index)
    numbers: set[int] = set()
    with open(target, "w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows(rows_of(sheet, merged, formats, numbers))
    return {
        "sheet": sheet.name,
        "sheets": [name for _, name, visible in found if visible or name == sheet.name],
        "merged_cells": len(merged),
        "uncomputed": formats.uncomputed,
        "errors": [len(formats.errors), *formats.errors[:1]],
        "numbers": sorted(numbers),
    }


def chosen(
    workbook: Any, found: list[tuple[int, str, bool]], wanted: str | None
) -> tuple[int, Any]:
    """The sheet that is named; else the visible one that looks most like a table."""
    if wanted is not None:
        for index, name, _ in found:
            if name.strip().casefold() == wanted.strip().casefold():
                sheet = workbook.get_sheet_by_index(index)
                if sheet.start is None or sheet.end is None:
                    raise RefusedError("empty_file", f"The sheet {name} has no content")
                return index, sheet
        names = ", ".join(name for _, name, _ in found)
        raise RefusedError("no_such_sheet", f"There is no sheet {wanted}; there are {names}")
    best: tuple[tuple[bool, bool], int, Any] | None = None
    for index, _, visible in found:
        if not visible:
            continue
        sheet = workbook.get_sheet_by_index(index)
        if sheet.start is not None and sheet.end is not None:
            looks = is_table(sheet)
            # Of sheets that are as good as each other, people put what counts first.
            if best is None or looks > best[0]:
                best = looks, index, sheet
    if best is None:
        raise RefusedError("empty_file", "No sheet of the workbook has content")
    return best[1], best[2]


def is_table(sheet: Any) -> tuple[bool, bool]:
    """Whether a sheet's first rows are cut into cells as a table's, and whether some are values.

    A page of words, as a read-me is, has neither numbers nor addresses, and mostly one column.
    """
    rows = [
        filled
        for cells in islice(sheet.iter_rows(), LOOKED_AT)
        if (filled := [cell for cell in cells if cell != ""])
    ]
    wide = [cells for cells in rows if len(cells) > 1]
    values = any(not isinstance(cell, str) or "@" in cell for cells in wide for cell in cells)
    return len(wide) > 1 and 2 * len(wide) > len(rows), values and len(wide) > 1


if __name__ == "__main__":
    answer(convert, *sys.argv[1:6])
