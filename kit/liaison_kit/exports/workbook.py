"""Turn rows into an XLSX workbook, in a process of its own, a row in memory at a time.

To write a million rows takes minutes of nothing but computing, in which a service would answer
nobody. This file runs as a script (it imports nothing of Liaison).

Usage: `python workbook.py ROWS.jsonl OUT.xlsx`. The first line of ROWS is the header, the second
says of each column whether it holds texts, numbers, days or moments; each other line is a row of
texts and nulls.

The sheet is written as the XML that it is (ECMA-376, part 1, 18.3): one sheet of cells with three
formats needs no model of a workbook, and takes a tenth of the time (docs/decisions/exports.md).
"""

import datetime as dt
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import IO
from xml.sax.saxutils import escape

DIGITS = 15
"""Excel's numbers have no more; longer ones stay texts."""

LONGEST = 32_767
"""Characters of a cell, as Excel has it."""

FIRST_DAY = dt.date(1900, 3, 1)
"""Excel takes 1900 for a leap year: days before this one stay texts."""

_ZERO = dt.datetime(1899, 12, 30)
_DAY = dt.timedelta(days=1)
_LOOKS_ESCAPED = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def plain(text: str) -> str:
    """A text as XML holds it: carriage returns as workbooks escape them, no control characters."""
    escaped = _LOOKS_ESCAPED.sub("_x005F_", text[:LONGEST]).replace("\r", "_x000D_")
    return escape(_NOT_IN_XML.sub("", escaped))


def text(at: str, value: str) -> str:
    """A cell that is a text whatever it begins with."""
    return f'<c r="{at}" t="inlineStr"><is><t xml:space="preserve">{plain(value)}</t></is></c>'


def number(at: str, value: str) -> str:
    """A number, unless a workbook would round it."""
    found = Decimal(value)
    if not found.is_finite() or len(found.as_tuple().digits) > DIGITS:
        raise ValueError(value)
    return f'<c r="{at}"><v>{found}</v></c>'


def day(at: str, value: str) -> str:
    """A day; workbooks count them."""
    found = dt.date.fromisoformat(value)
    if found < FIRST_DAY:
        raise ValueError(value)
    return f'<c r="{at}" s="1"><v>{(found - _ZERO.date()).days}</v></c>'


def moment(at: str, value: str) -> str:
    """A moment in UTC: workbooks know no zones."""
    found = dt.datetime.fromisoformat(value).astimezone(dt.UTC).replace(tzinfo=None)
    if found.date() < FIRST_DAY:
        raise ValueError(value)
    return f'<c r="{at}" s="2"><v>{(found - _ZERO) / _DAY!r}</v></c>'


def boolean(at: str, value: str) -> str:
    """Yes or no."""
    return f'<c r="{at}" t="b"><v>{int(value == "true")}</v></c>'


WRITE: dict[str, Callable[[str, str], str]] = {
    "text": text,
    "number": number,
    "day": day,
    "moment": moment,
    "boolean": boolean,
}


def cell(at: str, kind: str, value: str | None) -> str:
    """A cell; nothing for what is blank."""
    if value is None or value == "":
        return ""
    try:
        return WRITE[kind](at, value)
    except (ValueError, ArithmeticError):
        # What a tenant's own field holds from before it became a number.
        return text(at, value)


def letters(columns: int) -> Iterator[str]:
    """What columns are called: A to Z, AA and so on."""
    for number in range(1, columns + 1):
        name = ""
        while number:
            number, place = divmod(number - 1, 26)
            name = chr(65 + place) + name
        yield name


def row(number: int, names: Sequence[str], kinds: Sequence[str], values: Sequence[str]) -> bytes:
    """A row of the sheet."""
    cells = (
        cell(f"{name}{number}", kind, value)
        for name, kind, value in zip(names, kinds, values, strict=True)
    )
    return f'<row r="{number}">{"".join(cells)}</row>'.encode()


def write(rows: IO[str], sheet: IO[bytes]) -> None:
    """Write the sheet."""
    header, kinds = json.loads(next(rows)), json.loads(next(rows))
    names = list(letters(len(header)))
    sheet.write(SHEET_BEGINS)
    sheet.write(row(1, names, ["text"] * len(names), header))
    for number, line in enumerate(rows, start=2):
        sheet.write(row(number, names, kinds, json.loads(line)))
    sheet.write(SHEET_ENDS)


def main(source: str, target: str) -> None:
    """Write the workbook."""
    book = zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=4)
    with book, open(source, encoding="utf-8") as rows:
        for name, part in PARTS.items():
            book.writestr(name, f"{XML}{part}")
        with book.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            write(rows, sheet)


# --- what every workbook with one sheet has -------------------------------------------------------

XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"

SHEET_BEGINS = (
    f'{XML}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">'
    '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>'
    "</sheetView></sheetViews><sheetData>"
).encode()
SHEET_ENDS = b"</sheetData></worksheet>"

PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels"'
    ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_KIND}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_KIND}.worksheet+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_KIND}.styles+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1"'
    f' Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
    '<sheet name="Export" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>',
    # A plain cell, a day, a moment.
    "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}"><numFmts count="2">'
    '<numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/>'
    '<numFmt numFmtId="165" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/></numFmts>'
    '<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill>'
    '<fill><patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
    '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
    '<cellXfs count="3"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
    '<xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
    '<xf numFmtId="165" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
    "</cellXfs>"
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles>'
    "</styleSheet>",
}

if __name__ == "__main__":
    main(*sys.argv[1:])
