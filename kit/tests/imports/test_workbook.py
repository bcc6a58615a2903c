"""Workbooks: what a sheet shows of its numbers, which sheet is read, where its rows are."""

import datetime as dt
from pathlib import Path

import openpyxl
import pytest
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from liaison_kit.imports.files import Chosen, NoSuchSheet
from liaison_kit.imports.reading import Table, open_table


def opened(folder: Path, book: openpyxl.Workbook, chosen: str | None = None) -> Table:
    book.save(folder / "book.xlsx")
    return open_table(folder / "book.xlsx", chosen=Chosen(sheet=chosen))


def cells(table: Table) -> dict[int, list[str]]:
    return {
        number: chunk.cells(place)
        for chunk in table.chunks()
        for place, number in enumerate(chunk.numbers)
    }


@pytest.mark.parametrize(
    ("value", "code", "shown"),
    [
        (1000, "00000", "01000"),
        (612345678, "00 00 00 00 00", "06 12 34 56 78"),
        (612345678, "0#\\ ##\\ ##\\ ##\\ ##", "06 12 34 56 78"),
        (5551234567, "[<=9999999]###\\-####;(###) ###\\-####", "(555) 123-4567"),
        (123456789, "000\\-00\\-0000", "123-45-6789"),
        (1500, "[$$-409]#,##0.00", "1500 USD"),
        (1500, '"$"#,##0', "1500 USD"),
        (1500.4, "[$¥-411]#,##0", "1500.4 JPY"),
        (12, "#,##0.00\\ [$€-40C]", "12 EUR"),
        (12, "#,##0.00\\ [$Kč-405]", "12 CZK"),
        (0.15, "0%", "15%"),
        (0.075, "0.00%", "7.5%"),
        (1234.5, "#,##0.00", "1234.5"),
        (-5, "0;(0)", "-5"),
        (5, '0" kg"', "5"),
        (1234567890123456, "0", "1234567890123456"),
        (dt.date(2024, 2, 29), "dd/mm/yyyy", "2024-02-29"),
        (True, "General", "true"),
    ],
)
def test_a_number_is_what_its_format_shows_where_that_says_more(
    tmp_path: Path, value: object, code: str, shown: str
) -> None:
    book = openpyxl.Workbook()
    book.active.append(["name", "number"])
    book.active.append(["x", value])
    book.active["B2"].number_format = code

    assert cells(opened(tmp_path, book)) == {2: ["x", shown]}


def test_a_table_that_begins_anywhere_keeps_the_numbers_of_its_rows(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    for row, values in ((4, ("name", "code")), (5, ("A", 7)), (7, ("B", 8))):
        sheet[f"C{row}"], sheet[f"D{row}"] = values
    sheet["D7"].number_format = "000"
    sheet["C9"] = "x"
    sheet["D9"] = "=1+1"

    table = opened(tmp_path, book)

    assert table.header_row == 4
    assert cells(table) == {5: ["", "", "A", "7"], 7: ["", "", "B", "008"]}
    assert [bad.number for chunk in table.chunks() for bad in chunk.bad] == [9]


def test_days_of_both_calendars_and_rich_text_are_read(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.epoch = CALENDAR_MAC_1904
    bold = TextBlock(InlineFont(b=True), "bold")
    book.active.append(["day", "text"])
    book.active.append([dt.date(2024, 2, 29), CellRichText("half ", bold)])

    assert cells(opened(tmp_path, book)) == {2: ["2024-02-29", "half bold"]}


def test_errors_in_cells_are_blank_and_said(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["name", "amount"])
    book.active.append(["x", "#N/A"])

    table = opened(tmp_path, book)

    assert cells(table) == {2: ["x", ""]}
    assert any("#N/A in row 2" in note for note in table.notes)


def several() -> openpyxl.Workbook:
    book = openpyxl.Workbook()
    hidden = book.active
    hidden.title, hidden.sheet_state = "Lists", "hidden"
    for row in (["code", "n"], ["a", 1], ["b", 2]):
        hidden.append(row)
    for title, rows in (
        ("Read me", [["Please fill this in"], ["Name", "as in the passport"], ["Mail", "if any"]]),
        ("People", [["name", "mail"], ["A", "a@x.example"], ["B", "b@x.example"]]),
        ("Old people", [["name", "mail"], ["C", "c@x.example"], ["D", "d@x.example"]]),
    ):
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    return book


def test_the_sheet_that_looks_like_data_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    table = opened(tmp_path, several())

    assert table.sheet == "People"
    assert table.sheets == ["Read me", "People", "Old people"]
    assert any("Read me, Old people" in note for note in table.notes)


@pytest.mark.parametrize(("name", "first"), [("old people", "C"), ("Lists", "a")])
def test_a_sheet_is_read_by_its_name_hidden_or_not(tmp_path: Path, name: str, first: str) -> None:
    assert cells(opened(tmp_path, several(), name))[2][0] == first


def test_a_sheet_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(NoSuchSheet, match="Lists, Read me, People, Old people"):
        opened(tmp_path, several(), "Peple")
