"""Short files of names, in the encodings that people's programs still write."""

from pathlib import Path

import pytest

from liaison_kit.imports.encodings import guess, known
from liaison_kit.imports.files import Chosen
from liaison_kit.imports.reading import open_table

NAMES = [
    ("cp1252", "Éléonore Lefèvre", "Jürgen Schröder", "José Muñoz", "João Gonçalves"),
    ("cp1250", "Jiří Dvořák", "Žofie Řehořová", "Tomáš Kučera"),
    ("cp1250", "Łukasz Wójcik", "Małgorzata Święcicka", "Paweł Żółkiewski"),
    ("cp1250", "László Kovács", "Erdős Szűcs", "Gyöngyi Tóth"),
    ("cp1251", "Илья Щербаков", "Екатерина Смирнова", "Юрий Кузнецов"),
    ("cp1253", "Γιώργος Παπαδόπουλος", "Ελένη Νικολάου"),
    ("cp1254", "Yılmaz Öztürk", "Şahin Çelik", "Gökçe Doğan"),
    ("cp1257", "Vytautė Žemaitė", "Jonušas Čiurlionis", "Rėklaitienė Ąžuolas"),
    ("cp1255", "יוסי כהן", "שרה לוי", "אברהם"),
    ("cp1256", "محمد أحمد", "فاطمة حسن", "خديجة"),
    ("shift_jis", "山田太郎", "佐藤さくら", "株式会社タナカ"),
    ("euc_jp", "山田たろう", "佐藤さくら", "タナカ商事"),
    ("gbk", "王伟", "刘洋", "深圳市有限公司"),
    ("big5", "陳美玲", "黃淑芬", "臺北市有限公司"),
    ("euc_kr", "김철수", "이영희", "대한상사 주식회사"),
    ("koi8-r", "Илья Щербаков", "Екатерина Смирнова"),
    ("cp866", "Илья Щербаков", "Екатерина Смирнова"),
    ("mac-roman", "Éléonore Lefèvre", "François Noël", "Zoé Besançon"),
    ("utf-16-le", "Илья Щербаков", "山田太郎"),
    ("utf-16-be", "Éléonore Lefèvre", "王伟"),
    ("utf-8", "Илья Щербаков", "山田太郎"),
]


@pytest.mark.parametrize(("encoding", "names"), [(e, names) for e, *names in NAMES])
def test_names_are_read_in_the_encoding_that_they_are_written_in(
    tmp_path: Path, encoding: str, names: list[str]
) -> None:
    path = tmp_path / "names.csv"
    lines = ["name;mail", *(f"{name};p{i}@corp.example" for i, name in enumerate(names)), ""]
    path.write_bytes("\r\n".join(lines).encode(encoding))
    (with_ascii,) = open_table(path).chunks()
    path.write_bytes("\r\n".join(f"{name};{name}" for name in names).encode(encoding))
    without = open_table(path)

    assert list(with_ascii.columns[0]) == names
    assert [
        without.header[0],
        *(c for chunk in without.chunks() for c in chunk.columns[0]),
    ] == names


def test_a_guess_shows_some_words_and_what_they_would_be_otherwise() -> None:
    first, *others = guess("Jiří;Dvořák\nŽofie;Řehořová\n".encode("cp1250"))

    assert (first.encoding, first.share) == ("cp1250", 1.0)
    assert first.sample == "Jiří, Dvořák, Žofie"
    assert any(other.encoding == "cp1252" and "Jiøí" in other.sample for other in others)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("windows-1251", "cp1251"),
        ("Shift_JIS", "shift_jis"),
        ("ISO-8859-15", "iso8859-15"),
        ("macroman", "mac-roman"),
        ("UTF-8", "utf-8"),
        ("rot13", None),
        ("zip", None),
        ("idna", None),
        ("no such thing", None),
    ],
)
def test_encodings_are_chosen_by_the_names_that_people_know(said: str, name: str | None) -> None:
    assert known(said) == name


def test_what_is_chosen_counts_more_than_what_is_found(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_bytes("name;n\nИлья;1\n".encode("koi8-r"))

    table = open_table(path, chosen=Chosen(encoding="cp1251"))

    (chunk,) = table.chunks()
    assert chunk.columns[0] == ("Илья".encode("koi8-r").decode("cp1251"),)
    assert table.guesses == []


def test_a_mark_of_the_encoding_is_no_part_of_the_header(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_text("name;n\nIlya;1\n", encoding="utf-8-sig")

    for said in (None, "utf-8", "UTF8"):
        assert open_table(path, chosen=Chosen(encoding=said)).header == ["name", "n"]
