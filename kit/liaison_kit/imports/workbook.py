"""Turn an XLSX workbook into CSV, in a process of its own whose memory and time are bounded.

A workbook is a zip of XML: a few kilobytes may unpack to gigabytes, its declared sizes may lie, and
one cell at the far corner makes a reader allocate the whole sheet. So it is never opened in a
service: this file runs as a script (it imports nothing of Liaison) under resource limits, and what
it can't do within them is refused.

Usage: `python workbook.py IN.xlsx OUT.csv META.json LIMITS.json`. META tells what was found, or the
named error.
"""

import csv
import datetime as dt
import json
import re
import resource
import sys
import zipfile
from collections.abc import Iterator
from typing import Any

import python_calamine

ENTRIES = 10_000
RATIO = 400
REPORTED_CELLS = 10_000


class RefusedError(Exception):
    """The workbook can't be read; carries the error's code and a sentence."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


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
        if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        # Excel itself keeps 15 significant digits, so 0.1 + 0.2 reads 0.3.
        shown = f"{value:.15g}"
        return f"{value:f}" if "e" in shown else shown
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


CELL = re.compile(rb"<c\b[^>]*?\br=\"([A-Z]{1,3})(\d{1,7})\"[^>]*>(.*?)</c>", re.S)
STORED = re.compile(rb"<v>[^<]+</v>|<is>")


def uncomputed(path: str, sheet_index: int) -> list[tuple[int, int]]:
    """Where the sheet has formulas without a stored result, as (row, column) from zero.

    A program that writes a workbook without calculating it leaves such cells; they read as blank,
    which would silently import nothing.
    """
    found: list[tuple[int, int]] = []
    with zipfile.ZipFile(path) as archive:
        name = sheet_part(archive, sheet_index)
        if name is None:
            return found
        with archive.open(name) as part:
            rest = b""
            while block := part.read(1 << 20):
                rest += block
                end = rest.rfind(b"</c>")
                if end < 0:
                    continue
                done, rest = rest[: end + 4], rest[end + 4 :]
                if b"<f" not in done:
                    continue
                for cell in CELL.finditer(done):
                    body = cell[3]
                    if b"<f" in body and not STORED.search(body):
                        column = 0
                        for letter in cell[1]:
                            column = column * 26 + letter - 64
                        found.append((int(cell[2]) - 1, column - 1))
                        if len(found) >= REPORTED_CELLS:
                            return found
    return found


def rows_of(sheet: Any, merged: dict[tuple[int, int], tuple[int, int]]) -> Iterator[list[str]]:
    """The sheet's rows from its first line on, each cell as text, merged cells filled in."""
    top, left = sheet.start
    width = sheet.end[1] + 1
    margin = [""] * left
    for _ in range(top):
        yield []
    anchors = dict.fromkeys(set(merged.values()), "")
    rows_with_merged = {row for row, _ in merged} | {row for row, _ in anchors}
    for number, cells in enumerate(sheet.iter_rows(), start=top):
        row = margin + [text(cell) for cell in cells]
        if len(row) < width:
            row += [""] * (width - len(row))
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


def convert(source: str, target: str, limits: dict[str, int]) -> dict[str, Any]:
    """Write the first sheet that has content as CSV; tell which one and what was odd."""
    inspect_zip(source, limits["unpacked_bytes"])
    try:
        workbook = python_calamine.CalamineWorkbook.from_path(source)
        visible = [
            index
            for index, sheet in enumerate(workbook.sheets_metadata)
            if sheet.visible == python_calamine.SheetVisibleEnum.Visible
            and sheet.typ == python_calamine.SheetTypeEnum.WorkSheet
        ]
        for index in visible:
            sheet = workbook.get_sheet_by_index(index)
            if sheet.start is not None and sheet.end is not None:
                break
        else:
            raise RefusedError("empty_file", "No sheet of the workbook has content")
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
    with open(target, "w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows(rows_of(sheet, merged))
    return {
        "sheet": sheet.name,
        "other_sheets": [workbook.sheet_names[i] for i in visible if i != index],
        "merged_cells": len(merged),
        "uncomputed": uncomputed(source, index),
    }


def main(source: str, target: str, meta: str, limits_json: str) -> None:
    """Convert within the limits and write what happened, whatever happened."""
    limits = json.loads(limits_json)
    memory, seconds = limits["workbook_memory"], limits["workbook_seconds"]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["unpacked_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        told = convert(source, target, limits)
    except RefusedError as refused:
        told = {"error": refused.code, "detail": str(refused)}
    except MemoryError:
        told = {"error": "file_too_large", "detail": "The workbook needs too much memory"}
    with open(meta, "w", encoding="utf-8") as out:
        json.dump(told, out)


if __name__ == "__main__":
    main(*sys.argv[1:5])
