"""Files in every state: what is read, what is refused, and that memory stays bounded."""

import csv
import datetime as dt
import io
import os
import random
import resource
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liaison_kit.imports.files import (
    EmptyFile,
    FileTooLarge,
    Limits,
    NotASpreadsheet,
    UnreadableEncoding,
)
from liaison_kit.imports.reading import BadRow, open_table, spool


def write(folder: Path, content: bytes, name: str = "file.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def read(path: Path, **options: int) -> tuple[list[str], list[list[str]], list[BadRow]]:
    table = open_table(path)
    rows: list[list[str]] = []
    bad: list[BadRow] = []
    for chunk in table.chunks(**options):
        rows += [chunk.cells(i) for i in range(len(chunk.numbers))]
        bad += chunk.bad
    return table.header, rows, bad


# A replacement character stands for something that was lost: in UTF-16 it is reported.
cell = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufeff\ufffd"
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(2, 5).flatmap(
        lambda width: st.lists(
            st.lists(cell | st.just("two\nlines; and, more"), min_size=width, max_size=width),
            min_size=1,
            max_size=12,
        )
    ),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_any_csv_that_python_writes_is_read_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[str]],
    delimiter: str,
    encoding: str,
    newline: str,
) -> None:
    header = [f"champ é{i}" for i in range(len(rows[0]))]
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=newline, quoting=csv.QUOTE_ALL)
    writer.writerows([header, header, header, *rows])
    path = write(tmp_path_factory.mktemp("csv"), out.getvalue().encode(encoding))

    found_header, found, bad = read(path)

    assert not bad
    assert found_header == header
    assert found[2:] == [row for row in rows if any(row)]


@pytest.mark.parametrize("encoding", ["cp1252", "mac_roman", "cp850", "utf-16-le", "utf-16-be"])
def test_french_text_is_read_in_the_encodings_of_old_offices(tmp_path: Path, encoding: str) -> None:
    names = ["Éléonore", "Gaëlle", "François", "Benoît", "Chloé", "Zoé", "Noël", "Hélène"]
    content = "prénom,société\r\n" + "".join(
        f"{name},Société générale d’études n° {i}\r\n".replace("’", "'")
        for i, name in enumerate(names * 5)
    )
    path = write(tmp_path, content.encode(encoding))

    header, rows, bad = read(path)

    assert header == ["prénom", "société"]
    assert [row[0] for row in rows] == names * 5
    assert not bad


def test_a_few_broken_bytes_cost_their_rows_only(tmp_path: Path) -> None:
    lines = [f"Zoé {i},Orléans".encode() for i in range(30)]
    lines[7] = b"Zo\xe9 7,Orl\xe9ans"
    path = write(tmp_path, b"name,city\n" + b"\n".join(lines))

    _, rows, bad = read(path)

    assert len(rows) == 29
    assert [(b.number, b.code) for b in bad] == [(9, "invalid_bytes")]
    assert "name" in bad[0].message
    assert bad[0].cells[0] == "Zo\ufffd 7"


def test_ragged_rows_are_named_and_the_others_go_on(tmp_path: Path) -> None:
    path = write(tmp_path, b"a,b,c\n1,2,3\n1,2\n\n,,\n1,2,3,,\n1,2,3,4\n7,8,9\n")

    _, rows, bad = read(path)

    assert rows == [["1", "2", "3"], ["1", "2", "3"], ["7", "8", "9"]]
    assert [(b.number, b.code) for b in bad] == [(3, "ragged_row"), (7, "ragged_row")]
    assert bad[0].message == "Row 3 has 2 cells where the header has 3"


def test_a_nul_is_an_error_of_its_row_and_other_controls_are_dropped(tmp_path: Path) -> None:
    path = write(tmp_path, b"a,b\n1,x\x002\n2,y\x1f\x07z\n")

    _, rows, bad = read(path)

    assert rows == [["2", "yz"]]
    assert [(b.number, b.code) for b in bad] == [(2, "nul_character")]


def test_a_quote_that_is_never_closed_is_reported(tmp_path: Path) -> None:
    filler = b"".join(b"%d,fine,and more text to fill\n" % i for i in range(8000))
    path = write(tmp_path, b'a,b,c\n1,"x",y\n2,"open,y\n' + filler)

    _, rows, bad = read(path)

    assert rows[0] == ["1", "x", "y"]
    assert bad[0].code == "unclosed_quote"
    assert bad[0].number == 3
    assert len(rows) > 1000


def test_reading_goes_on_after_a_given_row(tmp_path: Path) -> None:
    content = "\n\nid,text\n" + "".join(f'{i},"a\nb"\n\n' for i in range(50))
    path = write(tmp_path, content.encode())
    table = open_table(path)
    whole = [(n, c) for k in table.chunks() for n, c in zip(k.numbers, k.columns[0], strict=True)]

    first = next(iter(table.chunks(size=23)))
    rest = [
        (n, c)
        for k in table.chunks(after=first.last, size=11)
        for n, c in zip(k.numbers, k.columns[0], strict=True)
    ]

    assert table.header_row == 3
    assert [*zip(first.numbers, first.columns[0], strict=True), *rest] == whole
    assert [c for _, c in whole] == [str(i) for i in range(50)]


def test_headers_that_repeat_or_lack_get_names_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path, b"phone,,phone, e  mail ,phone (2)\n1,2,3,4,5\n")

    table = open_table(path)

    assert table.header == ["phone", "column 2", "phone (2)", "e mail", "phone (2) (2)"]
    assert len(table.notes) == 3


def test_excels_own_separator_line_is_obeyed(tmp_path: Path) -> None:
    header, rows, _ = read(write(tmp_path, b"sep=;\r\na;b\r\n1,5;2\r\n"))

    assert header == ["a", "b"]
    assert rows == [["1,5", "2"]]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", EmptyFile),
        (b"\n\n  \n,,\n", EmptyFile),
        (b"%PDF-1.7 ...", NotASpreadsheet),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, NotASpreadsheet),
        (b"PK\x03\x04 this is no zip", NotASpreadsheet),
        (random.Random(1).randbytes(5000), NotASpreadsheet),
        (b"na\x00me,b\n1,2\n", UnreadableEncoding),
        (b"\xef\xbb\xbf\n<HTML><table><tr><td>name</td></tr></table>", NotASpreadsheet),
        (b'<?xml version="1.0"?><book/>', NotASpreadsheet),
        (b'[{"name": "A"}]', NotASpreadsheet),
    ],
)
def test_what_is_no_table_is_refused_by_name(
    tmp_path: Path, content: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        open_table(write(tmp_path, content))


def test_too_many_rows_columns_or_bytes_are_refused(tmp_path: Path) -> None:
    small = Limits(file_bytes=1000, rows=10, columns=5)
    with pytest.raises(FileTooLarge):
        open_table(write(tmp_path, b"a,b,c,d,e,f\n"), small)
    with pytest.raises(FileTooLarge):
        open_table(write(tmp_path, b"a\n" + b"1\n" * 999), small)
    with pytest.raises(FileTooLarge):
        list(open_table(write(tmp_path, b"a\n" + b"1\n" * 11), small).chunks())
    with pytest.raises(FileTooLarge):
        spool((b"x" * 400 for _ in range(3)), tmp_path, small)


def workbook(path: Path, rows: list[list[object]], merged: tuple[str, ...] = ()) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    for row in rows:
        sheet.append(row)
    for cells in merged:
        sheet.merge_cells(cells)
    book.save(path)
    return path


def test_a_workbook_reads_like_the_csv_of_its_sheet(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "book.xlsx",
        [
            ["id", "amount", "on", "at", "won", "text"],
            [1, 1054.0, dt.date(2017, 3, 1), dt.datetime(2017, 3, 1, 9, 30), True, "Prénom"],
            [2, 0.1 + 0.2, None, None, False, "two\nlines"],
            [3, 12345678901.25, None, None, None, "=1+1 is text"],
        ],
    )

    header, rows, bad = read(path)

    assert header == ["id", "amount", "on", "at", "won", "text"]
    assert rows[0] == ["1", "1054", "2017-03-01", "2017-03-01T09:30:00", "true", "Prénom"]
    assert rows[1] == ["2", "0.3", "", "", "false", "two\nlines"]
    assert [b.code for b in bad] == ["formula_without_value"]


def test_merged_cells_take_the_value_and_a_merged_title_is_skipped(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "book.xlsx",
        [
            ["Our customers", None, None],
            ["company", "name", "city"],
            ["Dupont", "Anne", "Lyon"],
            [None, "Bruno", "Nice"],
            [None, "Chloé", "Metz"],
        ],
        merged=("A1:C1", "A3:A5"),
    )

    table = open_table(path)
    _, rows, _ = read(path)

    assert table.header == ["company", "name", "city"]
    assert table.header_row == 2
    assert [row[0] for row in rows] == ["Dupont"] * 3
    assert any("title" in note for note in table.notes)


def zip_bomb(path: Path, megabytes: int) -> Path:
    """A workbook whose one sheet is mostly the same row again: about a thousandth of its size."""
    book = workbook(path, [["a"], ["b"]])
    row = b'<row><c t="inlineStr"><is><t>' + b"A" * 900 + b"</t></is></c></row>"
    with zipfile.ZipFile(book) as good:
        parts = {name: good.read(name) for name in good.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as bomb:
        for name, content in parts.items():
            if name != "xl/worksheets/sheet1.xml":
                bomb.writestr(name, content)
        with bomb.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            head = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
            sheet.write(head + b"<sheetData>")
            for _ in range(megabytes):
                sheet.write(row * (1_048_576 // len(row)))
            sheet.write(b"</sheetData></worksheet>")
    return path


def test_a_zip_bomb_is_refused_with_memory_bounded(tmp_path: Path) -> None:
    path = zip_bomb(tmp_path / "bomb.xlsx", megabytes=700)
    assert path.stat().st_size < 4 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(FileTooLarge):
        open_table(path)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10
    assert not list(tmp_path.glob("*.sheet.*"))


def test_a_bomb_that_lies_about_its_size_runs_into_the_process_limit(tmp_path: Path) -> None:
    path = zip_bomb(tmp_path / "bomb.xlsx", megabytes=400)
    content = bytearray(path.read_bytes())
    at = content.rfind(b"PK\x01\x02", 0, content.rfind(b"xl/worksheets/sheet1.xml"))
    struct.pack_into("<I", content, at + 24, 1000)
    path.write_bytes(content)
    script = (
        "import resource, sys; from pathlib import Path;"
        "from liaison_kit.imports.reading import open_table;"
        "from liaison_kit.imports.files import BadFile, Limits\n"
        "try: open_table(Path(sys.argv[1]), Limits(workbook_memory=300 << 20))\n"
        "except BadFile as e: print(e.code)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)"
    )
    started = time.monotonic()

    told = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    ).stdout.split()

    assert told[0] in ("file_too_large", "not_a_spreadsheet", "empty_file")
    assert int(told[1]) < 300
    assert time.monotonic() - started < 30


def test_a_cell_in_the_far_corner_does_not_take_the_whole_sheets_memory(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active["A1"] = "a"
    book.active["XFD1048576"] = "corner"
    book.save(tmp_path / "corner.xlsx")

    with pytest.raises(FileTooLarge):
        open_table(tmp_path / "corner.xlsx")


def test_a_workbook_takes_no_more_files_than_its_rows(tmp_path: Path) -> None:
    path = workbook(tmp_path / "book.xlsx", [["a"], ["b"]])

    open_table(path)

    assert sorted(p.name for p in tmp_path.iterdir()) == ["book.sheet.csv", "book.xlsx"]
    assert os.access(path, os.R_OK)


ids = st.integers(3, 9).flatmap(lambda size: st.just([f"id{i}" for i in range(size)]))
words = st.text("ab \"'é\n", max_size=8)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), ids=ids, newline=st.sampled_from(["\n", "\r\n", "\r"]))
def test_a_stray_quote_costs_no_row_silently(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, ids: list[str], newline: str
) -> None:
    lines = []
    for id in ids:
        out = io.StringIO(newline="")
        row = [id, data.draw(words), data.draw(words), "end"]
        csv.writer(out, lineterminator=newline).writerow(row)
        lines.append(out.getvalue())
    hurt = data.draw(st.integers(0, len(ids) - 1))
    cells = lines[hurt].split(",")
    at = data.draw(st.sampled_from([1, 2]))
    cells[at] = f'"{cells[at]}' if data.draw(st.booleans()) else f'{cells[at]}"'
    lines[hurt] = ",".join(cells)
    content = f"id,one,two,three{newline}" + "".join(lines)
    path = write(tmp_path_factory.mktemp("csv"), content.encode())

    _, rows, bad = read(path)

    reported = "".join(cell for row in bad for cell in row.cells)
    assert all(id in {row[0] for row in rows} or id in reported for id in ids)


def test_a_cell_that_is_too_long_is_reported_with_its_cells_bounded(tmp_path: Path) -> None:
    path = write(tmp_path, b"a,b,c\n1,x,y\n2," + b"z" * 200_000 + b",w\n3,x,y\n")

    _, rows, bad = read(path)

    assert [row[0] for row in rows] == ["1", "3"]
    assert (bad[0].code, bad[0].number) == ("too_long", 3)
    assert bad[0].message == "A cell of the row has more than 131,072 characters"
    assert [bad[0].cells[0], bad[0].cells[2]] == ["2", "w"]
    assert 1000 < len(bad[0].cells[1]) < 32_767


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ('name,mail,tags\nA,a@x.example,"r;g;b;l"\nB,b@x.example,"r;g;b;l"\n', ","),
        ("name,tags\nA,r;g;b\nB,r;g;b\nC,r;g;b\n", ","),
        ("name;price\nA;1,5\nB;12,5\nC;3,5\n", ";"),
        ("name;price, net\nA;1,5\nB;2,5\n", ";"),
        ('name;street\nA;"12, bd Voltaire, 2"\nB;"3, rue, b"\n', ";"),
        ("name\tstreet\nA\t1, rue B\nC\t2; rue D\n", "\t"),
        ("name|when\nA|1,5; 2\nB|2,5; 3\n", "|"),
        ("name\nDupont, Jean\nPetit, Luc\n", ","),
    ],
)
def test_the_delimiter_is_what_cuts_all_rows_alike(
    tmp_path: Path, content: str, delimiter: str
) -> None:
    assert open_table(write(tmp_path, content.encode())).delimiter == delimiter


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('Jean "Jo" Dupont', 'Jean "Jo" Dupont'),
        ('5" pipe', '5" pipe'),
        ('"Jo" Dupont', '"Jo" Dupont'),
        ('"he said "yes" twice"', 'he said "yes" twice'),
        ('"a" and "b"', '"a" and "b"'),
        ('"a ""b"" c"', 'a "b" c'),
        ('""', ""),
    ],
)
@pytest.mark.parametrize("other", ["x", '"two\nlines"'], ids=["alone", "with lines"])
def test_quotes_within_a_cell_are_kept(
    tmp_path: Path, written: str, meant: str, other: str
) -> None:
    path = write(tmp_path, f"a,b,c\n1,{other},y\n2,{written},z\n3,x,y\n".encode())

    _, rows, bad = read(path)

    assert not bad
    assert rows[1:] == [["2", meant, "z"], ["3", "x", "y"]]


def test_rows_of_nothing_but_blanks_are_no_rows(tmp_path: Path) -> None:
    _, rows, bad = read(write(tmp_path, "a;b\n1;2\n ; \n\t;\u00a0\n;\n3;4\n".encode()))

    assert (rows, bad) == ([["1", "2"], ["3", "4"]], [])
