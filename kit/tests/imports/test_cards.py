"""Books of vCards: each card a row in the words of Google's files, a broken one reported."""

from pathlib import Path

import pytest

from liaison_kit.imports.files import NotASpreadsheet
from liaison_kit.imports.reading import BadRow, Table, open_table


def book(folder: Path, *cards: str, encoding: str = "utf-8") -> Table:
    path = folder / "book.vcf"
    path.write_bytes("".join(cards).encode(encoding))
    return open_table(path)


def card(*lines: str, version: str = "3.0") -> str:
    return "\r\n".join(["BEGIN:VCARD", f"VERSION:{version}", *lines, "END:VCARD", ""])


def rows(table: Table) -> list[dict[str, str]]:
    """The rows by column, without what is blank."""
    return [
        {name: text for name, text in zip(table.header, chunk.cells(i), strict=True) if text}
        for chunk in table.chunks()
        for i in range(len(chunk.numbers))
    ]


def bad(table: Table) -> list[BadRow]:
    return [row for chunk in table.chunks() for row in chunk.bad]


def test_a_card_is_a_row_in_the_words_of_googles_files(tmp_path: Path) -> None:
    table = book(
        tmp_path,
        card(
            "N:Okafor;Chinedu;Emeka;Dr.;PhD",
            "FN:Dr. Chinedu Okafor",
            "ORG:Lagos Labs;Research",
            "TITLE:Head of\\, research",
            "ROLE:Chemist",
            "TEL;TYPE=WORK,VOICE:+234 1 271 0000",
            "TEL;TYPE=CELL,PREF:+234 803 000 0000",
            "TEL;TYPE=WORK,FAX:+234 1 271 0001",
            "EMAIL;TYPE=INTERNET,WORK:c.okafor@labs.example",
            "item1.EMAIL:chinedu@perso.example",
            "item1.X-ABLabel:_$!<Other>!$_",
            "ADR;TYPE=WORK:;Wing B;12 Marina Road;Lagos;LA;101001;Nigeria",
            "BDAY:19791201",
            "CATEGORIES:Clients,VIP",
            "URL:https://labs.example",
            "NOTE:One\\nTwo",
            " and a folded end",
        ),
    )

    assert table.kind == "vcard"
    assert rows(table) == [
        {
            "Name": "Dr. Chinedu Okafor",
            "Given Name": "Chinedu",
            "Additional Name": "Emeka",
            "Family Name": "Okafor",
            "Name Prefix": "Dr.",
            "Name Suffix": "PhD",
            "Birthday": "1979-12-01",
            "Occupation": "Chemist",
            "Notes": "One\nTwoand a folded end",
            "Group Membership": "Clients ::: VIP",
            "Organization 1 - Name": "Lagos Labs",
            "Organization 1 - Department": "Research",
            "Organization 1 - Title": "Head of, research",
            "Phone 1 - Type": "Mobile",
            "Phone 1 - Value": "+234 803 000 0000",
            "Phone 2 - Type": "Work",
            "Phone 2 - Value": "+234 1 271 0000",
            "Phone 3 - Type": "Work Fax",
            "Phone 3 - Value": "+234 1 271 0001",
            "E-mail 1 - Type": "Work",
            "E-mail 1 - Value": "c.okafor@labs.example",
            "E-mail 2 - Type": "Other",
            "E-mail 2 - Value": "chinedu@perso.example",
            "Address 1 - Type": "Work",
            "Address 1 - Street": "12 Marina Road",
            "Address 1 - City": "Lagos",
            "Address 1 - Region": "LA",
            "Address 1 - Postal Code": "101001",
            "Address 1 - Country": "Nigeria",
            "Address 1 - Extended Address": "Wing B",
            "Website 1 - Value": "https://labs.example",
        }
    ]


def test_each_version_writes_letters_and_numbers_in_its_own_way(tmp_path: Path) -> None:
    table = book(
        tmp_path,
        card(
            "N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:Gar=C3=A7on;L=C3=A9a;;;",
            "TEL;CELL:0612345679",
            "NOTE;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:Caf=E9=0D=0A=\r\ndeux",
            version="2.1",
        ),
        card(
            "FN:Ana Pérez",
            'TEL;VALUE=uri;TYPE="cell,text":tel:+34-600-000-000;ext=5',
            "EMAIL;PREF=1:ana@perez.example",
            version="4.0",
        ).replace("\r\n", "\n"),
        card("FN:Bo", "N:Bo;;;;").replace("\r\n", "\r"),
    )

    first, second, third = rows(table)
    assert (first["Family Name"], first["Given Name"]) == ("Garçon", "Léa")
    assert (first["Phone 1 - Type"], first["Phone 1 - Value"]) == ("Mobile", "0612345679")
    assert first["Notes"] == "Café\ndeux"
    assert (second["Phone 1 - Type"], second["Name"]) == ("Mobile", "Ana Pérez")
    assert second["Phone 1 - Value"] == "+34-600-000-000 ext. 5"
    assert third["Family Name"] == "Bo"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252", "cp1251"])
def test_cards_are_read_in_the_encodings_of_their_programs(tmp_path: Path, encoding: str) -> None:
    name = "Щербаков" if encoding == "cp1251" else "Lefèvre"

    table = book(tmp_path, *(card(f"N:{name};X;;;") for _ in range(3)), encoding=encoding)

    assert [row["Family Name"] for row in rows(table)] == [name] * 3


def test_a_broken_card_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    table = book(
        tmp_path,
        card("FN:One"),
        "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Never closed\r\n",
        card("FN:Three"),
        card("this is no line of a card", "FN:Four"),
        card("FN:Five"),
    )

    assert [row["Name"] for row in rows(table)] == ["One", "Three", "Five"]
    found = bad(table)
    assert [(row.number, row.code) for row in found] == [(3, "broken_card"), (5, "broken_card")]
    assert "END:VCARD" in found[0].message
    assert "FN:Never closed" in found[0].cells[0]


def test_pictures_take_no_place_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    picture = "\r\n".join([" " + "A" * 70] * 40_000)
    table = book(
        tmp_path,
        card("N:Un;A;;;", "PHOTO;ENCODING=b;TYPE=JPEG:/9j/4AAQ", picture, "TEL:+33199000001"),
        card(
            "N:Deux;B;;;",
            "PHOTO;JPEG;ENCODING=BASE64:",
            "/9j/4AAQSkZJRgABAQ",
            "AAAA==",
            "",
            "BDAY:--0415",
            "TEL:+33199000002",
            version="2.1",
        ),
    )

    assert [row["Phone 1 - Value"] for row in rows(table)] == ["+33199000001", "+33199000002"]
    assert any("PHOTO (2)" in note and "BDAY without a year (1)" in note for note in table.notes)


def test_cards_are_met_again_by_their_ids_only_if_each_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    with_ids = book(tmp_path / "all", card("FN:A", "UID:urn:uuid:1"), card("FN:B", "UID:2"))
    some = book(tmp_path, card("FN:A", "UID:1"), card("FN:B"))

    assert [row["UID"] for row in rows(with_ids)] == ["1", "2"]
    assert "UID" not in some.header


def test_a_file_without_a_card_that_can_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotASpreadsheet, match="no end"):
        book(tmp_path, "BEGIN:VCARD\r\nFN:A\r\n")


def test_every_card_of_a_phones_book_arrives(tmp_path: Path, real_data: Path) -> None:
    (tmp_path / "book.vcf").write_bytes((real_data / "address-books/contacts.vcf").read_bytes())

    found = rows(open_table(tmp_path / "book.vcf"))

    assert [row["Family Name"] for row in found] == ["Garçon", "Okafor", "Pérez"]
    assert found[0]["Notes"] == "Ligne une\nligne deux"
