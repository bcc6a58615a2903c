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

from xlsxwriter import Workbook

DIGITS = 15
"""Excel's numbers have no more; longer ones stay texts."""

LONGEST = 32_767
"""Characters of a cell, as Excel has it."""

FIRST_DAY = dt.date(1900, 3, 1)
"""Excel takes 1900 for a leap year: days before this one stay texts."""

OPTIONS = {"constant_memory": True}
DAY, MOMENT = "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss"
_MADE = dt.datetime(2000, 1, 1)

_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def plain(value: str) -> str:
    """A text as a cell can hold it: as long as one may be, without control characters."""
    return _NOT_IN_XML.sub("", value[:LONGEST])


def number(value: str) -> Decimal:
    """A number, unless a workbook would round it."""
    found = Decimal(value)
    if not found.is_finite() or len(found.as_tuple().digits) > DIGITS:
        raise ValueError(value)
    return found


def day(value: str) -> dt.date:
    """A day; workbooks count them."""
    found = dt.date.fromisoformat(value)
    if found < FIRST_DAY:
        raise ValueError(value)
    return found


def moment(value: str) -> dt.datetime:
    """A moment in UTC: workbooks know no zones."""
    found = dt.datetime.fromisoformat(value).astimezone(dt.UTC).replace(tzinfo=None)
    if found.date() < FIRST_DAY:
        raise ValueError(value)
    return found


Put = Callable[[int, int, str], Any]


def ways(book: Any, sheet: Any) -> dict[str, Put]:
    """How a cell of each kind is written, at its row and column.

    A text is never anything else, whatever it begins with.
    """
    days, moments = book.add_format({"num_format": DAY}), book.add_format({"num_format": MOMENT})
    return {
        "text": lambda row, column, value: sheet.write_string(row, column, plain(value)),
        "number": lambda row, column, value: sheet.write_number(row, column, number(value)),
        "day": lambda row, column, value: sheet.write_datetime(row, column, day(value), days),
        "moment": lambda row, column, value: sheet.write_datetime(
            row, column, moment(value), moments
        ),
        "boolean": lambda row, column, value: sheet.write_boolean(row, column, value == "true"),
    }


def main(source: str, target: str) -> None:
    """Write the workbook."""
    book = Workbook(target, OPTIONS)
    book.set_properties({"created": _MADE})
    sheet = book.add_worksheet("Export")
    sheet.freeze_panes(1, 0)
    put = ways(book, sheet)
    with open(source, encoding="utf-8") as rows:
        header, kinds = json.loads(next(rows)), json.loads(next(rows))
        for column, name in enumerate(header):
            put["text"](0, column, name)
        for at, line in enumerate(rows, start=1):
            for column, value in enumerate(json.loads(line)):
                if value is None or value == "":
                    continue
                try:
                    put[kinds[column]](at, column, value)
                except (ValueError, ArithmeticError):
                    # What a tenant's own field holds from before it became a number.
                    put["text"](at, column, value)
    book.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
