"""Workbooks are what was written, in any program that opens them; what they can't hold is text."""

import datetime as dt
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook

from liaison_kit.exports import workbook

KINDS = ["text", "number", "day", "moment", "boolean"]


def made(folder: Path, *rows: list[str | None], kinds: list[str] = KINDS) -> list[tuple[Any, ...]]:
    """What openpyxl reads of a workbook that was made of these rows, without its header."""
    source, target = folder / "rows.jsonl", folder / "book.xlsx"
    lines = [[f"column {n}" for n in range(len(kinds))], kinds, *rows]
    source.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    script = Path(workbook.__file__)
    subprocess.run([sys.executable, "-I", script, source, target], check=True)
    sheet = load_workbook(target)["Export"]
    assert sheet.freeze_panes == "A2"
    header, *found = sheet.iter_rows(values_only=True)
    assert list(header) == lines[0]
    return found


def test_each_kind_is_what_it_is(tmp_path: Path) -> None:
    moment = "2026-03-01T10:30:00+02:00"

    found = made(tmp_path, ["Zoé & <b>", "12.50", "2026-01-31", moment, "true"])

    days = (dt.datetime(2026, 1, 31), dt.datetime(2026, 3, 1, 8, 30))
    assert found == [("Zoé & <b>", 12.5, *days, True)]


@pytest.mark.parametrize("text", ["=1+1", "+33 6", "@x", "-1", "_x0041_", "a\r\nb", "  spaces  "])
def test_a_text_is_a_text_whatever_it_begins_with(tmp_path: Path, text: str) -> None:
    made(tmp_path, [text], kinds=["text"])

    cell = load_workbook(tmp_path / "book.xlsx")["Export"]["A2"]

    assert cell.data_type in ("s", "inlineStr")
    assert str(cell.value).replace("_x005F_", "_").replace("_x000D_", "\r") == text


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("number", "1234567890123456"),
        ("number", "NaN"),
        ("number", "twelve"),
        ("day", "1900-02-28"),
        ("day", "soon"),
        ("moment", "0001-01-01T00:00:00+00:00"),
    ],
)
def test_what_a_workbook_would_change_stays_a_text(tmp_path: Path, kind: str, value: str) -> None:
    assert made(tmp_path, [value], kinds=[kind]) == [(value,)]


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(st.text(max_size=80), min_size=20, max_size=20))
def test_whatever_somebody_writes_a_workbook_can_be_read(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("books")

    found = made(folder, ["end", *texts], kinds=["text"] * 21)

    assert len(found) == 1
    assert found[0][0] == "end"


def test_the_same_rows_make_the_same_parts_in_the_same_order(tmp_path: Path) -> None:
    books = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made(tmp_path / name, *([str(n)] for n in range(50)), kinds=["number"])
        with zipfile.ZipFile(tmp_path / name / "book.xlsx") as book:
            books.append({part: book.read(part) for part in book.namelist()})

    assert books[0] == books[1]
