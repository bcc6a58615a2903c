"""Reporting: what became of the rows, the most frequent problems, the file of those that failed."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from liaison_kit.exports.formulas import marked
from liaison_kit.imports.preparing import Prepared, Problem
from liaison_kit.imports.writing import Outcome
from liaison_kit.records import files


@dataclass(slots=True)
class Tally:
    """Running totals of a run and its most frequent problems."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self, prepared: Prepared, outcome: Outcome) -> list[tuple[int, list[str], str]]:
        """Count a chunk; its failed rows as (number, cells, what is wrong)."""
        chunk = prepared.chunk
        failed: list[tuple[int, list[str], str]] = []
        for place, (code, message) in outcome.failed.items():
            prepared.failed.setdefault(prepared.places[place], []).append(
                Problem("", code, message)
            )
        for place, whys in prepared.left_out.items():
            if place not in prepared.failed:
                self.counts["left_out"] += len(whys)
                for column, code, message in whys:
                    self._problem(column, code, message, chunk.numbers[place], left_out=True)
        for place, whys in prepared.failed.items():
            for column, code, message in whys:
                self._problem(column, code, message, chunk.numbers[place])
            told = "; ".join(f"{c}: {m}" if c else m for c, _, m in whys)
            failed.append((chunk.numbers[place], chunk.cells(place), told))
        for number in chunk.sums:
            told = "The row holds the sums of others; it is left out"
            self._problem("", "sums", told, number, left_out=True)
        for bad in chunk.bad:
            self._problem("", bad.code, bad.message, bad.number)
            failed.append((bad.number, list(bad.cells), bad.message))
        self.counts["created"] += outcome.created
        self.counts["updated"] += outcome.updated
        self.counts["unchanged"] += outcome.unchanged
        self.counts["failed"] += len(failed)
        failed.sort(key=lambda row: row[0])
        return failed

    def _problem(
        self, column: str, code: str, message: str, number: int, left_out: bool = False
    ) -> None:
        kind = f"{column}/{code}/{left_out}"
        known = self.problems.get(kind)
        if known is None:
            self.problems[kind] = {
                "column": column or None,
                "code": code,
                "message": message,
                "count": 1,
                "rows": [number],
                "left_out": left_out,
            }
        else:
            known["count"] += 1
            if len(known["rows"]) < 5:
                known["rows"].append(number)

    def as_list(self) -> list[dict[str, Any]]:
        """The problems, most frequent first."""
        return sorted(self.problems.values(), key=lambda p: (-p["count"], p["rows"]))[:200]


def keep_errors(
    session: Session,
    state: dict[str, Any],
    errors_file: UUID,
    header: Sequence[str],
    failed: Sequence[tuple[int, Sequence[str], str]],
) -> None:
    """Append the failed rows, as they stood in the file, to the import's file of errors."""
    out = io.StringIO(newline="")
    lines = csv.writer(out)
    part = state.get("errors_parts", 0)
    if part == 0:
        # Excel takes CSV for Unicode only with this mark.
        out.write("\ufeff")
        lines.writerow(["row", *map(marked, header), "errors"])
    width = len(header)
    for number, cells, told in failed:
        padded = [*cells, *[""] * (width - len(cells))]
        lines.writerow([number, *map(marked, (*padded[:width], told))])
    body = out.getvalue().encode()
    for start in range(0, len(body), files.PART_BYTES):
        files.put(session, errors_file, part, body[start : start + files.PART_BYTES])
        part += 1
    state["errors_parts"] = part
