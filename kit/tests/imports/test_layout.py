"""Tables as people lay them out: titles above, sums below, no header at all."""

from pathlib import Path

import pytest

from liaison_kit.imports.layout import is_total
from liaison_kit.imports.reading import Table, open_table


def opened(folder: Path, content: str) -> Table:
    path = folder / "file.csv"
    path.write_text(content, encoding="utf-8", newline="")
    return open_table(path)


def numbers(table: Table) -> list[int]:
    return [number for chunk in table.chunks() for number in chunk.numbers]


@pytest.mark.parametrize(
    "above",
    [
        "Customers\n\n",
        "Customers;;;\n;;;\nExported on;12/03/2026;;\n\n",
        "A report of the sales team\nmade by Anne\n(all regions)\n",
        "Customers;Customers;Customers;Customers\n",
    ],
)
def test_a_header_is_found_below_titles_which_are_named(tmp_path: Path, above: str) -> None:
    table = opened(
        tmp_path, f"{above}name;city;phone;mail\nDupont;Lyon;;\nPetit;;0199;p@x.example\n"
    )

    assert table.header == ["name", "city", "phone", "mail"]
    assert numbers(table) == [table.header_row + 1, table.header_row + 2]
    assert any("Row 1 is taken for a title" in note for note in table.notes)


@pytest.mark.parametrize(
    "content",
    [
        "name,city\nDupont,Lyon\n",
        "name\nDupont\nPetit\n",
        "2024,2025,name\n12,13,Dupont\n14,15,Petit\n",
        "name,1,2,3\nDupont,5,4,4\nPetit,3,3,2\n",
        "name,date,mail\nDupont,01/02/2026,d@x.example\n",
    ],
)
def test_a_header_in_the_first_row_stays_there(tmp_path: Path, content: str) -> None:
    table = opened(tmp_path, content)

    assert table.header_row == 1
    assert table.notes == []


@pytest.mark.parametrize(
    "content",
    [
        "Anne,Dupont,anne@x.example\nLuc,Petit,luc@x.example\n",
        "Cable;QC-1;10\nPlug;QC-2;20\n",
        "Dupont;01/02/2026;Lyon\nPetit;;Metz\nRoux;03/02/2026;Nice\n",
    ],
)
def test_a_file_without_a_header_says_so_and_loses_no_row(tmp_path: Path, content: str) -> None:
    table = opened(tmp_path, content)

    assert table.header == ["column 1", "column 2", "column 3"]
    assert numbers(table) == list(range(1, content.count("\n") + 1))
    assert any("The file has no header" in note for note in table.notes)


@pytest.mark.parametrize("word", ["Total", "TOTAL :", "Somme", "Итого"])
def test_a_row_of_sums_is_left_out_and_told(tmp_path: Path, word: str) -> None:
    table = opened(tmp_path, f"name;city;price\nDupont;Lyon;10\nPetit;Metz;5\n{word};;15\n")

    (chunk,) = table.chunks()

    assert list(chunk.numbers) == [2, 3]
    assert chunk.sums == [4]
    assert chunk.last == 4


@pytest.mark.parametrize(
    ("row", "last", "sums"),
    [
        (["Total", "", "", "15"], False, True),
        (["", "Total", "", "15 €"], False, True),
        (["Total", "3", "15"], True, True),
        (["Total", "3", "15"], False, False),
        (["Total", "Paris", "15"], True, False),
        (["TotalEnergies", "", "15"], True, False),
        (["Dupont", "Total", "", ""], False, False),
        (["Total", "", "x@total.example"], True, False),
    ],
)
def test_a_company_called_total_is_no_row_of_sums(row: list[str], last: bool, sums: bool) -> None:
    assert is_total(row, last) == sums
