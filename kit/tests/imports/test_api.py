"""The operations and jobs of imports, as a service gives them."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from uuid import UUID, uuid4

import openpyxl
import pytest
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.calls.outside import Known, doing, knows
from liaison_kit.calls.wire import Upload, Version
from liaison_kit.context import Context, Principal
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.imports.api import ImportOperations
from liaison_kit.imports.fields import Importable
from liaison_kit.imports.files import EmptyFile, NoSuchSheet, UnknownEncoding
from liaison_kit.imports.shapes import ChangeImport, ImportOptions, ImportShape
from liaison_kit.jobs import Cancelled, JobRow, Run
from liaison_kit.records import files
from liaison_sdk.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    StaleVersion,
    Unavailable,
)

from .book import DEALS, FIRMS, PEOPLE, about


class Book(ImportOperations):
    """A service of the tests' own records."""

    importables: ClassVar[tuple[Importable, ...]] = (PEOPLE, FIRMS, DEALS)
    ask = None


T = TypeVar("T")


@pytest.fixture
def book(db: Database) -> Book:
    Book.db = db
    return Book()


def asked(book: Book, context: Context, work: Callable[[Session], T]) -> T:
    """What an operation answers, as the kit runs it: what it needs from outside is done outside."""

    def once(known: Known) -> T:
        with book.db.writing(context) as session:
            knows(session, known)
            return work(session)

    return doing(nobody_answers, context, once)


def nobody_answers(*_question: Any) -> bytes:
    """These tests have no other services."""
    raise Unavailable("There are no other services")


def rights_of(_signed: str) -> Principal:
    """What the person may do now: as much as before."""
    principal = about().principal
    assert principal is not None
    return principal


def hand_in(
    book: Book,
    record: str,
    content: bytes,
    name: str = "file.csv",
    context: Context | None = None,
    **said: Any,
) -> ImportShape:
    context = context or about()
    upload = Upload(uuid7(), name, "text/csv", len(content))
    assert context.principal is not None
    with book.db.writing(context) as session:
        for part in range(0, len(content), files.PART_BYTES):
            piece = content[part : part + files.PART_BYTES]
            files.put(session, upload.id, part // files.PART_BYTES, piece)
    who = context.principal
    answer = asked(
        book, context, lambda session: book.create_import(session, record, upload, who, **said)
    )
    return ImportShape.model_validate_json(answer.body)


def get(book: Book, id: UUID) -> ImportShape:
    with book.db.reading(about()) as session:
        return ImportShape.model_validate_json(book.get_import(session, id).body)


def change(book: Book, shape: ImportShape, **changes: Any) -> ImportShape:
    with book.db.writing(about()) as session:
        answer = book.change_import(
            session, shape.id, ChangeImport(**changes), Version(shape.version)
        )
    return ImportShape.model_validate_json(answer.body)


def work(book: Book, operation: str, id: UUID, cancel_after: int | None = None) -> None:
    """Ask for the long work and do it as a worker would."""
    principal = about().principal
    with book.db.writing(about()) as session:
        job_id = getattr(book, operation)(session, id, principal).job_id
    worker = uuid4()
    with book.db.writing(about()) as session:
        row = session.get(JobRow, job_id)
        assert row is not None
        row.worker, row.status = worker, "running"
        row.cancel = cancel_after == 0
    run = Run(book.db, row, worker, rights_of)
    jobs = {
        method.job_kind: method
        for method in (book.import_job, book.import_dry_run_job, book.import_rollback_job)
    }
    jobs[row.kind](run)


GOOD = "id,Prénom,Nom,email\n1,Zoé,Dupont,zoe@exemple.fr\n2,Luc,Petit,luc@\n".encode()


def test_a_file_goes_from_upload_to_rollback(book: Book) -> None:
    shape = hand_in(book, "people", GOOD)
    assert shape.mapping == {
        "id": "external_id",
        "Prénom": "first_name",
        "Nom": "last_name",
        "email": "email",
    }
    assert shape.file_info["encoding"] == "utf-8"
    preview = asked(book, about(), lambda session: book.preview_import(session, shape.id))
    assert preview.total == 2
    assert preview.rows[0].values["email"] == "zoe@exemple.fr"
    assert preview.rows[1].errors[0]["code"] == "bad_email"
    assert get(book, shape.id).status == "previewed"

    work(book, "dry_run_import", shape.id)
    dry = get(book, shape.id)
    assert dry.counts == {"would_create": 1, "would_update": 0, "would_leave": 0, "would_fail": 1}
    assert dry.status == "previewed"

    work(book, "start_import", shape.id)
    done = get(book, shape.id)
    assert (done.status, done.counts["created"], done.counts["failed"]) == ("done", 1, 1)
    assert done.has_errors_file
    with book.db.reading(about()) as session:
        errors = book.get_import_errors(session, shape.id)
        assert errors.stored is not None
        told = b"".join(files.chunks(session, errors.stored)).decode("utf-8-sig")
    assert errors.name == "file-errors.csv"
    assert told.splitlines()[1].startswith("3,2,Luc,Petit,luc@,")

    work(book, "roll_back_import", shape.id)
    back = get(book, shape.id)
    assert (back.status, back.counts["deleted"], back.counts["kept"]) == ("rolled_back", 1, 0)
    with book.db.writing(about()) as session:
        assert session.scalar(text("SELECT count(*) FROM book_people")) == 0


def test_an_xlsx_file_goes_in_like_a_csv(book: Book) -> None:
    sheet = openpyxl.Workbook()
    for row in (["id", "Prénom", "Nom"], [1, "Zoé", "Dupont"], [2, "Luc", None]):
        sheet.active.append(row)
    out = io.BytesIO()
    sheet.save(out)
    shape = hand_in(book, "people", out.getvalue(), "people.xlsx")

    work(book, "start_import", shape.id)

    done = get(book, shape.id)
    assert (done.counts["created"], done.counts["failed"]) == (1, 1)


def test_unknown_values_are_previewed_and_mapped(book: Book) -> None:
    content = b"opportunity_id,product,deal_stage\n1,GTXPro,Won\n2,GTX Basic,Lost\n"
    shape = hand_in(book, "deals", content)
    preview = asked(book, about(), lambda session: book.preview_import(session, shape.id))
    (unknown,) = preview.unmatched
    assert (unknown.value, unknown.nearest) == ("GTXPro", "GTX Pro")

    changed = change(book, shape, value_map={"product": {"GTXPro": "GTX Pro"}})
    work(book, "start_import", shape.id)

    assert changed.version == 2
    assert get(book, shape.id).counts["created"] == 2


def test_a_change_is_checked_and_needs_the_present_version(book: Book) -> None:
    shape = hand_in(book, "people", GOOD)
    changed = change(
        book, shape, mapping={"Nom": "last_name"}, options=ImportOptions(currency="USD")
    )
    assert changed.mapping == {"Nom": "last_name"}

    with pytest.raises(StaleVersion) as stale:
        change(book, shape, mapping={})
    assert stale.value.current is not None
    with pytest.raises(InvalidInput) as wrong:
        change(book, changed, mapping={"Nom": "nowhere", "x": "email"})
    assert {e.code for e in wrong.value.errors} == {"unknown_field", "unknown_column"}
    with pytest.raises(ValidationError):
        ChangeImport.model_validate({"value_map": {"product": {"a\x1fb": "c"}}})
    with pytest.raises(ValidationError):
        ChangeImport.model_validate({"options": {"currency": "euro", "what": 1}})


def test_what_has_started_is_not_started_again(book: Book) -> None:
    shape = hand_in(book, "people", GOOD)
    principal = about().principal
    assert principal is not None
    with book.db.writing(about()) as session, pytest.raises(Conflict):
        book.roll_back_import(session, shape.id, principal)
    work(book, "start_import", shape.id)

    with book.db.writing(about()) as session:
        for again in (book.start_import, book.dry_run_import):
            with pytest.raises(Conflict):
                again(session, shape.id, principal)
    with pytest.raises(Conflict):
        change(book, get(book, shape.id), mapping={})


def test_a_cancelled_import_says_so_and_can_be_taken_back(book: Book) -> None:
    rows = "".join(f"{i},N{i}\n" for i in range(9000))
    shape = hand_in(book, "people", f"id,Nom\n{rows}".encode())

    with pytest.raises(Cancelled):
        work(book, "start_import", shape.id, cancel_after=0)

    assert get(book, shape.id).status == "cancelled"
    work(book, "roll_back_import", shape.id)
    assert get(book, shape.id).status == "rolled_back"


def test_an_import_that_can_not_work_fails_with_the_reason(book: Book) -> None:
    shape = hand_in(book, "people", b"id,phone\n1,0102\n")

    with pytest.raises(InvalidInput):
        work(book, "start_import", shape.id)

    failed = get(book, shape.id)
    assert failed.status == "failed"
    assert [p["column"] for p in failed.problems if "column" in p] == ["mapping.last_name"]


def test_bad_files_and_foreign_records_are_refused_at_the_door(book: Book) -> None:
    with pytest.raises(EmptyFile):
        hand_in(book, "people", b"")
    with pytest.raises(InvalidInput):
        hand_in(book, "nothing", GOOD)
    shape = hand_in(book, "people", GOOD)
    with book.db.reading(about(tenant=uuid4())) as session, pytest.raises(NotFound):
        book.get_import(session, shape.id)
    with book.db.reading(about()) as session:
        assert [i.id for i in book.list_imports(session).items] == [shape.id]
        with pytest.raises(NotFound):
            book.get_import_errors(session, shape.id)


def test_importing_a_record_needs_the_right_to_write_it(book: Book) -> None:
    import dataclasses

    context = about()
    assert context.principal is not None
    context.principal = dataclasses.replace(
        context.principal, permissions=frozenset({"imports:write"})
    )

    with pytest.raises(Forbidden):
        hand_in(book, "people", GOOD, context=context)


def test_nothing_is_left_on_disk(book: Book, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shape = hand_in(book, "people", GOOD)

    work(book, "start_import", shape.id)

    assert not list(tmp_path.iterdir())


def test_a_file_in_another_encoding_is_shown_with_a_sample_and_can_be_read_otherwise(
    book: Book,
) -> None:
    content = "id,Nom,ville\n1,Иванов,Москва\n2,Щербаков,Тула\n".encode("cp1251")
    shape = hand_in(book, "people", content)
    preview = asked(book, about(), lambda session: book.preview_import(session, shape.id))

    assert shape.file_info["encoding"] == "cp1251"
    assert shape.file_info["encodings"][0]["sample"].startswith("Иванов, Москва")
    assert any("Cyrillic (Windows-1251): Иванов" in note for note in preview.notes)

    def corrected(session: Session) -> Any:
        options = ImportOptions(encoding="koi8-r")
        return book.change_import(session, shape.id, ChangeImport(options=options), Version(1))

    answer = asked(book, about(), corrected)
    otherwise = ImportShape.model_validate_json(answer.body)
    assert otherwise.file_info["encoding"] == "koi8-r"
    assert otherwise.mapping == shape.mapping
    assert otherwise.file_info["samples"]["Nom"][0] == content[15:21].decode("koi8-r")


def test_a_delimiter_and_a_sheet_may_be_said_when_a_file_is_handed_in(book: Book) -> None:
    shape = hand_in(book, "people", b"id^Nom\n1^Dupont\n", delimiter="^")
    assert shape.file_info["header"] == ["id", "Nom"]
    assert shape.options["delimiter"] == "^"

    sheets = openpyxl.Workbook()
    sheets.active.title = "Old"
    for sheet in (sheets.active, sheets.create_sheet("New")):
        for row in (["id", "Nom"], [1, sheet.title], [2, sheet.title]):
            sheet.append(row)
    out = io.BytesIO()
    sheets.save(out)
    found = hand_in(book, "people", out.getvalue(), "people.xlsx")
    other = hand_in(book, "people", out.getvalue(), "people.xlsx", sheet="new")

    assert (found.file_info["sheet"], found.file_info["sheets"]) == ("Old", ["Old", "New"])
    assert other.file_info["samples"]["Nom"] == ["New", "New"]
    with pytest.raises(NoSuchSheet, match="Old, New"):
        hand_in(book, "people", out.getvalue(), "people.xlsx", sheet="Newer")
    with pytest.raises(UnknownEncoding):
        hand_in(book, "people", GOOD, encoding="klingon")


def test_what_a_column_leaves_open_is_asked_before_anything_is_written(book: Book) -> None:
    content = b"opportunity_id;product;deal_stage;opened\n1;GTX Pro;Won;01/02/2026\n"
    shape = hand_in(book, "deals", content)
    preview = asked(book, about(), lambda session: book.preview_import(session, shape.id))
    (question,) = preview.questions
    assert (question.column, question.option, question.must) == ("opened", "dates", True)
    assert question.readings == {"dmy": "2026-02-01", "mdy": "2026-01-02"}

    work(book, "dry_run_import", shape.id)
    assert [p["code"] for p in get(book, shape.id).problems] == ["ambiguous_dates"]
    with pytest.raises(InvalidInput) as refused:
        work(book, "start_import", shape.id)
    assert refused.value.errors[0].code == "ambiguous_dates"

    again = hand_in(book, "deals", content)
    change(book, again, options=ImportOptions(formats={"opened": {"dates": "mdy"}}))
    work(book, "start_import", again.id)
    with book.db.reading(about()) as session:
        assert str(session.scalar(text("SELECT opened FROM book_deals"))) == "2026-01-02"


def test_prices_with_three_digits_behind_a_dot_are_thousands_and_said_to_be(book: Book) -> None:
    content = (
        b"opportunity_id;product;deal_stage;value\n1;GTX Pro;Won;1.500\n2;GTX Pro;Won;12.000\n"
    )
    shape = hand_in(book, "deals", content)
    preview = asked(book, about(), lambda session: book.preview_import(session, shape.id))
    (question,) = preview.questions
    assert (question.sample, question.taken, question.must) == ("1.500", ",", False)

    work(book, "start_import", shape.id)

    done = get(book, shape.id)
    assert [p["message"] for p in done.problems if p.get("question")] == [question.message]
    with book.db.reading(about()) as session:
        rows = session.scalars(text("SELECT value_amount FROM book_deals ORDER BY 1"))
        assert list(map(int, rows)) == [1500, 12000]


def test_the_errors_file_holds_no_formula(book: Book) -> None:
    content = b'id,Nom,email,"=1+1"\n1,=1+1,luc@,@SUM(1)\n2,Petit,luc@exemple.fr,\n'
    shape = change(book, hand_in(book, "people", content), options={"unmapped": "skip"})
    work(book, "start_import", shape.id)
    with book.db.reading(about()) as session:
        stored = book.get_import_errors(session, shape.id).stored
        assert stored is not None
        told = b"".join(files.chunks(session, stored)).decode("utf-8-sig")

    header, row = told.splitlines()
    assert header.startswith("row,id,Nom,email,'=1+1")
    assert row.startswith("2,1,'=1+1,luc@,'@SUM(1)")


def test_a_row_of_sums_and_a_title_are_no_records_and_are_told(book: Book) -> None:
    content = (
        b"Deals of the north;;;\n\nopportunity_id;product;deal_stage;value\n"
        b"1;GTX Pro;Won;10,5\n2;GTX Pro;Won;12\nTotal;;;22,5\n"
    )
    shape = hand_in(book, "deals", content)
    assert shape.file_info["header_row"] == 3
    assert any("Deals of the north" in note for note in shape.file_info["notes"])

    work(book, "dry_run_import", shape.id)

    dry = get(book, shape.id)
    assert (dry.counts["would_create"], dry.counts["would_fail"]) == (2, 0)
    assert [(p["code"], p["rows"]) for p in dry.problems] == [("sums", [6])]


def test_cards_go_in_like_any_file(book: Book) -> None:
    cards = (
        "BEGIN:VCARD\r\nVERSION:3.0\r\nN:Dupont;Zoé;;;\r\nEMAIL:zoe@exemple.fr\r\nEND:VCARD\r\n"
        "BEGIN:VCARD\r\nVERSION:3.0\r\nnothing of a card\r\nEND:VCARD\r\n"
    )
    shape = hand_in(book, "people", cards.encode(), "book.vcf")
    names = {"Family Name": "last_name", "Given Name": "first_name", "E-mail 1 - Value": "email"}
    change(book, shape, mapping=names)

    work(book, "start_import", shape.id)

    done = get(book, shape.id)
    assert (done.file_info["kind"], done.counts["created"], done.counts["failed"]) == (
        "vcard",
        1,
        1,
    )
    assert done.problems[0]["code"] == "broken_card"


@pytest.mark.parametrize("said", ["ab", "", "a", "7", '"', "\n", "\x1f", " "])
def test_a_delimiter_is_one_sign_or_the_word_tab(said: str) -> None:
    with pytest.raises(ValidationError, match="One sign"):
        ImportOptions(delimiter=said)
    for good in (";", "\t", "tab", "§"):
        assert ImportOptions(delimiter=good).delimiter == good
