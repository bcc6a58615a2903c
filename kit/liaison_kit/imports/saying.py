"""What people are told of an import: what its file is, what it would do, and what went wrong."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from liaison_kit.imports import planning
from liaison_kit.imports.converting import NOTHING
from liaison_kit.imports.fields import Importable, ImportField
from liaison_kit.imports.mapping import suggest
from liaison_kit.imports.matching import Unmatched
from liaison_kit.imports.preparing import show
from liaison_kit.imports.reading import Chunk, Table
from liaison_kit.imports.reporting import Tally
from liaison_kit.imports.shapes import (
    FormatQuestion,
    Preview,
    PreviewRow,
    UnfedColumn,
    UnmatchedValue,
)
from liaison_sdk.errors import LiaisonError


def described(
    importable: Importable, fields: Sequence[ImportField], table: Table
) -> dict[str, Any]:
    first = next(table.chunks(size=200), None)
    columns: Sequence[Sequence[str]] = first.columns if first else [()] * len(table.header)
    samples = dict(zip(table.header, columns, strict=True))
    return {
        "kind": table.kind,
        "encoding": table.encoding,
        "encodings": [asdict(guess) for guess in table.guesses],
        "delimiter": table.delimiter,
        "sheet": table.sheet,
        "sheets": table.sheets,
        "header_row": table.header_row,
        "header": table.header,
        "rows": table.lines(),
        "notes": table.notes,
        "suggestions": [asdict(s) for s in suggest(table.header, samples, fields)],
        "samples": {name: _first_few(values) for name, values in samples.items()},
        "filled": {name: sum(map(_says, values)) for name, values in samples.items()},
        "fields": [
            {
                "name": spec.name,
                "label": dict(spec.label),
                "kind": spec.kind,
                "required": spec.required,
                "key": spec.name in importable.met_by,
                "further": spec.further,
            }
            for spec in fields
            if not spec.kept
        ],
    }


def _says(text: str) -> bool:
    return bool(text.strip()) and text.strip().lower() not in NOTHING


def _first_few(values: Sequence[str]) -> list[str]:
    """Some values to show; of a column that is mostly blank, some that are not."""
    return list(filter(_says, values))[:3]


def preview(found: planning.Plan, chunk: Chunk | None) -> Preview:
    rows: list[PreviewRow] = []
    if chunk is not None:
        rows = [
            PreviewRow(row=number, values=values, errors=errors)
            for number, values, errors in show(found, chunk)
        ]
    formats = {
        feed.column: {
            key: str(value)
            for key, value in asdict(feed.formats).items()
            if (key == "dates" and feed.spec.kind in ("date", "datetime"))
            or (key == "decimal" and feed.spec.kind in ("integer", "decimal", "money"))
        }
        for feed in found.feeds
    }
    notes = list(found.table.notes)
    notes.append(_recognised(found))
    if not found.rows:
        notes.append(_NO_ROWS)
    return Preview(
        rows=rows,
        total=found.rows,
        unreadable=found.unreadable,
        key=found.key,
        formats={column: shown for column, shown in formats.items() if shown},
        questions=[FormatQuestion(**asdict(one), message=one.message) for one in found.questions],
        unfed=[
            UnfedColumn(
                column=each.column,
                count=each.count,
                examples=each.examples,
                kind=each.kind,
                decision=each.decision,
                message=each.message,
            )
            for each in found.unfed
        ],
        unmatched=[
            UnmatchedValue(**{**asdict(u), "rows": list(u.rows)}) for u in found.unmatched[:500]
        ],
        notes=notes,
    )


_NO_ROWS = "The file has a header and no rows"


def _recognised(found: planning.Plan) -> str:
    """By what a row is known to be about a record that there is."""
    if found.key is None:
        return "No column is a key: importing the file again makes every record again"
    column = next(feed.column for feed in found.feeds if feed.spec.name == found.key)
    if not found.loose:
        return f"A row changes the record that has the same {found.key} (column {column})"
    otherwise = {
        "create": "a row that says anything else than the record of its name becomes a new one",
        "report": "a row that says anything else than the record of its name fails",
    }[found.importable.namesakes]
    return (
        f"Nothing but a name (column {column}) tells what a row is about: {otherwise}."
        f" To change records by their names, choose the option key={found.key}"
    )


def _told(unmatched: Unmatched) -> str:
    if unmatched.code == "ambiguous":
        return f"{unmatched.value} is what several are called; name its id"
    near = f"; the nearest is {unmatched.nearest}" if unmatched.nearest else ""
    return f"{unmatched.value} matches nothing{near}"


def counted(tally: Tally) -> dict[str, int]:
    verbs = {"created": "create", "updated": "update", "unchanged": "leave", "failed": "fail"}
    return {verb: tally.counts.get(count, 0) for count, verb in verbs.items()}


def problems_of(tally: Tally, plan: planning.Plan) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "code": "unfed_column" if each.decision else "undecided_column",
            "column": each.column,
            "message": each.message,
            "count": each.count,
            "rows": [],
            "decision": each.decision,
            "examples": each.examples,
        }
        for each in plan.unfed
    ]
    found += [
        {
            "code": one.code,
            "column": one.column,
            "message": one.message,
            "count": 1,
            "rows": [],
            "question": True,
        }
        for one in plan.questions
    ]
    found += [
        {
            "message": _told(u),
            **asdict(u),
            "rows": list(u.rows),
        }
        for u in plan.unmatched[:500]
    ]
    if not plan.rows:
        found.append({"code": "no_rows", "message": _NO_ROWS, "count": 1, "rows": []})
    return found + tally.as_list()


def reasons(error: LiaisonError) -> list[dict[str, Any]]:
    """Why an import failed as a whole."""
    found = [{"code": error.code, "message": error.detail or error.title, "count": 1, "rows": []}]
    return found + [
        {"code": e.code, "column": e.path, "message": e.message, "count": 1, "rows": []}
        for e in error.errors
    ]
