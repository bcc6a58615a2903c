"""What people wrote travels through files as text: no spreadsheet runs it, and it comes back."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import python_calamine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liaison_kit.exports import workbook
from liaison_kit.exports.formulas import marked, unmarked
from liaison_kit.imports.reading import open_table

DANGEROUS = ("=", "+", "-", "@", "\t", "\r")
CELLS = st.text(st.sampled_from("'=+-@\t\r\na1_x0D,;\""), min_size=1, max_size=8)
SOME = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(cell=CELLS)
@SOME
def test_a_marked_cell_is_no_formula_and_unmarked_it_is_what_it_was(cell: str) -> None:
    assert marked(cell)[:1] not in DANGEROUS
    assert unmarked(marked(cell)) == cell


@pytest.mark.parametrize(
    "cell", ["", "plain", "'quoted'", "''", "'tis", "a=b", "1-2", "x@y.example"]
)
def test_a_cell_that_is_no_formula_stays_as_it_is(cell: str) -> None:
    assert marked(cell) == cell
    assert unmarked(cell) == cell


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_import_reads_marked_cells_as_they_were(tmp_path: Path, encoding: str) -> None:
    cells = ["=1+1", "'=1", "+33 6 12 34", "-", "@me", "'tis", "l'été", "plain"]
    path = tmp_path / "cells.csv"
    with path.open("w", encoding=encoding, newline="") as out:
        csv.writer(out).writerows([["Name", "City"], *([marked(cell), "Paris"] for cell in cells)])

    (chunk,) = open_table(path).chunks()

    assert list(chunk.columns[0]) == cells


# What is blank altogether is no value to an import.
@given(cells=st.lists(CELLS.filter(str.strip), min_size=1, max_size=20))
@settings(SOME, max_examples=8)
def test_a_workbook_holds_texts_as_they_were(tmp_path: Path, cells: list[str]) -> None:
    rows, book = tmp_path / "rows.jsonl", tmp_path / "book.xlsx"
    lines = [["Name"], ["text"], *([cell] for cell in cells)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))

    workbook.main(str(rows), str(book))

    found = python_calamine.load_workbook(book).get_sheet_by_index(0).to_python()
    assert [row[0] for row in found[1:]] == cells


def test_a_number_that_a_workbook_would_round_stays_a_text(tmp_path: Path) -> None:
    rows, book = tmp_path / "rows.jsonl", tmp_path / "book.xlsx"
    kinds = ["number", "number", "number", "day", "boolean", "text"]
    values = ["1234.50", "1234567890123456.78", "much", "2026-11-30", "true", "a\x00b"]
    rows.write_text("".join(json.dumps(line) + "\n" for line in (kinds, kinds, values)))

    subprocess.run([sys.executable, "-I", workbook.__file__, str(rows), str(book)], check=True)

    (_, found) = python_calamine.load_workbook(book).get_sheet_by_index(0).to_python()
    assert found[:3] == [1234.5, "1234567890123456.78", "much"]
    assert found[3].isoformat() == "2026-11-30"
    assert found[4:] == [True, "ab"]
