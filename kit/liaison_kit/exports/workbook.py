"""Turn rows into an XLSX workbook, in a process of its own, a row in memory at a time.

To write a million rows takes minutes of nothing but computing, in which a service would answer
nobody. This file runs as a script (it imports nothing of Liaison).

Usage: `python workbook.py ROWS.jsonl OUT.xlsx`. The first line of ROWS is the header, the second
says of each column whether it holds texts, numbers, days or moments; each other line is a row of
texts and nulls.
"""

import datetime as dt
import json
import re
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

DIGITS = 15
"""Excel's numbers have no more; longer ones stay texts."""


_LOOKS_ESCAPED = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")


def plain(text: str) -> str:
    """A text as XML holds it: carriage returns as workbooks escape them, no control characters."""
    escaped = _LOOKS_ESCAPED.sub("_x005F_", text).replace("\r", "_x000D_")
    return str(ILLEGAL_CHARACTERS_RE.sub("", escaped))


def number(text: str) -> Any:
    """A number, unless a workbook would round it."""
    found = Decimal(text)
    return found if len(found.as_tuple().digits) <= DIGITS else text


def moment(text: str) -> Any:
    """A moment in UTC: workbooks know no zones."""
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC).replace(tzinfo=None)


READ: dict[str, Callable[[str], Any]] = {
    "text": plain,
    "number": number,
    "day": dt.date.fromisoformat,
    "moment": moment,
    "boolean": lambda text: text == "true",
}


def cell(sheet: Any, kind: str, text: str | None) -> Any:
    """A cell; a text is one whatever it begins with."""
    if text is None or text == "":
        return None
    try:
        value = READ[kind](text)
    except (ValueError, ArithmeticError):
        # What a tenant's own field holds from before it became a number.
        value = plain(text)
    if not isinstance(value, str):
        return value
    found = WriteOnlyCell(sheet, value)
    # openpyxl takes `=1+1` for a formula.
    found.data_type = "s"
    return found


def main(source: str, target: str) -> None:
    """Write the workbook."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Export")
    sheet.freeze_panes = "A2"
    with open(source, encoding="utf-8") as rows:
        header, kinds = json.loads(next(rows)), json.loads(next(rows))
        sheet.append([cell(sheet, "text", name) for name in header])
        for row in rows:
            values = zip(kinds, json.loads(row), strict=True)
            sheet.append([cell(sheet, kind, text) for kind, text in values])
    book.save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
