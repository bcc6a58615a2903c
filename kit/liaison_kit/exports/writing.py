"""The work of an export: pick the records, write them a batch at a time, make a workbook of them.

Each batch is one transaction with its parts of the file and the checkpoint, so a job that is taken
up again goes on behind the last batch. What somebody may see is asked anew with each.
"""

import csv
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from liaison_kit import chosen, listing
from liaison_kit.conditions.reading import raw_rules
from liaison_kit.context import context
from liaison_kit.events import emit
from liaison_kit.exports.columns import ExportColumn, Spread, columns, header, text_of
from liaison_kit.exports.formulas import marked
from liaison_kit.exports.models import Export
from liaison_kit.jobs.work import Cancelled, Run
from liaison_kit.listing.asked import WHERE, ListQuery
from liaison_kit.records import files
from liaison_kit.records.recordtype import FieldKind, RecordType
from liaison_sdk.contracts.exports import ListExported
from liaison_sdk.errors import LiaisonError, TooLarge

MOST_SHEET_ROWS = 1_048_575
"""Rows of a sheet, without its header."""

WORKBOOK_SECONDS = 3600
PARTS_PER_STEP = 8

_SHEET_KINDS: dict[FieldKind, str] = {
    "integer": "number",
    "decimal": "number",
    "date": "day",
    "datetime": "moment",
    "boolean": "boolean",
}


class TooManyRows(TooLarge):
    """A sheet has an end, and the list goes beyond it."""

    code, title = "too_many_rows", "A workbook can't hold so many rows; export CSV"


class WorkbookFailed(LiaisonError):
    """The script that makes workbooks came to no end."""

    code, title = "workbook_failed", "The workbook could not be made; export CSV"


def write(run: Run, service: str, kind: RecordType, spread: Spread) -> None:
    """Make the file and tell of it; what was begun of it goes if it comes to nothing."""
    try:
        _write(run, service, kind, spread)
    except (Cancelled, LiaisonError):
        with suppress(Cancelled), run.step() as session:
            export = _find(session, run)
            for file_id in (export.id, export.picked_id, export.rows_id):
                files.discard(session, file_id)
        raise


def _write(run: Run, service: str, kind: RecordType, spread: Spread) -> None:
    sheet = run.arguments["format"] == "xlsx"
    state = run.checkpoint
    if "picked" not in state:
        with run.step() as session:
            export = _find(session, run)
            _demand(session, kind)
            query: ListQuery[Any] = ListQuery(
                [(name, value) for name, value in run.arguments["query"]]
            )
            run.total = chosen.pick(session, kind, query, export.picked_id)
            if sheet and run.total > MOST_SHEET_ROWS:
                raise TooManyRows(f"The list has {run.total} records")
            found = columns(session, kind, spread, run.arguments["fields"])
            _append(session, run, export, _head(found, run.arguments, sheet))
            state["picked"] = True
    while run.done < (run.total or 0):
        with run.step() as session:
            export = _find(session, run)
            _demand(session, kind)
            found = columns(session, kind, spread, run.arguments["fields"])
            number = state.get("batch", 0)
            ids = chosen.batch(session, export.picked_id, number)
            seen = listing.some(session, kind, ids)
            rows = [json.loads(seen[id], parse_float=str) for id in ids if id in seen]
            _append(session, run, export, _rows(found, rows, sheet))
            state["batch"] = number + 1
            run.done += len(ids)
    if sheet:
        _make_workbook(run)
    with run.step() as session:
        export = _find(session, run)
        export.ready = True
        emit(session, _told(run, kind), source=service)
        files.discard(session, export.picked_id)
        files.discard(session, export.rows_id)


def _told(run: Run, kind: RecordType) -> ListExported:
    return ListExported(
        export_id=run.id,
        record=kind.name,
        format=run.arguments["format"],
        filters=[_filter(kind, name, value) for name, value in run.arguments["query"]],
        fields=run.arguments["fields"],
        rows=run.done,
    )


def _filter(kind: RecordType, name: str, value: str) -> str:
    """A filter as the audit trail has it, where nobody is to be named."""
    if name == WHERE:
        asked = sorted({str(rule.get("field"))[:100] for rule in raw_rules(json.loads(value))})
        return f"{WHERE}: {', '.join(asked)}"
    field = kind.fields.get(name.partition("[")[0])
    is_plain = name == "sort" or (field is not None and not field.personal)
    return f"{name}={value[:200]}" if is_plain else name


def _find(session: Session, run: Run) -> Export:
    found = session.get(Export, run.id)
    if found is None:
        raise LiaisonError("The export is kept no more")
    return found


def _demand(session: Session, kind: RecordType) -> None:
    """Who started it may have lost the right meanwhile."""
    principal = context(session).principal
    if principal is not None:
        principal.demand(f"{kind.name}:read")
        principal.demand(f"{kind.name}:export")


def _append(session: Session, run: Run, export: Export, text: str) -> None:
    """Add to the file, or to the rows that a workbook is to be made of."""
    file_id = export.rows_id if run.arguments["format"] == "xlsx" else export.id
    body, part = text.encode(), run.checkpoint.get("part", 0)
    for start in range(0, len(body), files.PART_BYTES):
        files.put(session, file_id, part, body[start : start + files.PART_BYTES], claimed=True)
        part += 1
    run.checkpoint["part"] = part


# --- rows as text ---------------------------------------------------------------------------------


def _head(found: Sequence[ExportColumn], asked: dict[str, Any], sheet: bool) -> str:
    names = header(found, asked["language"])
    if sheet:
        kinds = [_SHEET_KINDS.get(column.kind, "text") for column in found]
        return _lines([names, kinds])
    mark = "\ufeff" if asked["byte_order_mark"] else ""
    return mark + _csv([[marked(name) for name in names]])


def _rows(found: Sequence[ExportColumn], rows: Sequence[Any], sheet: bool) -> str:
    if sheet:
        return _lines([[text_of(column.read(row)) for column in found] for row in rows])
    return _csv([[_cell(column, row) for column in found] for row in rows])


def _cell(column: ExportColumn, row: Any) -> str:
    text = text_of(column.read(row))
    return marked(text) if column.free else text


def _csv(rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    return out.getvalue()


def _lines(rows: Sequence[Sequence[str]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# --- workbooks ------------------------------------------------------------------------------------


def _make_workbook(run: Run) -> None:
    """Have the script make a workbook of the rows and store it; interrupted, it is done anew."""
    with tempfile.TemporaryDirectory(prefix="liaison-export-") as folder:
        rows, book = Path(folder) / "rows.jsonl", Path(folder) / "book.xlsx"
        with run.look() as session, rows.open("wb") as out:
            export = _find(session, run)
            for chunk in files.chunks(session, export.rows_id):
                out.write(chunk)
        script = Path(__file__).with_name("workbook.py")
        try:
            subprocess.run(
                [sys.executable, "-I", str(script), str(rows), str(book)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=WORKBOOK_SECONDS,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise WorkbookFailed(type(error).__name__) from None
        begun = False
        for some in _some_parts(book):
            with run.step() as session:
                if not begun:
                    # Of one that was interrupted, which may have been a little longer.
                    files.discard(session, run.id)
                    begun = True
                for number, body in some:
                    files.put(session, run.id, number, body, claimed=True)


def _some_parts(book: Path) -> Iterator[list[tuple[int, bytes]]]:
    with book.open("rb") as stored:
        number = 0
        while True:
            some: list[tuple[int, bytes]] = []
            while len(some) < PARTS_PER_STEP and (body := stored.read(files.PART_BYTES)):
                some.append((number, body))
                number += 1
            if not some:
                return
            yield some
