"""What is exported is what somebody sees, safe to open, and the same when it is imported again."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import python_calamine
from sqlalchemy import text

from liaison_contacts.importing import COMPANIES_IMPORT, CONTACTS
from liaison_contacts.service import Contacts
from liaison_kit import chosen, jobs
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.imports import engine
from liaison_kit.imports.mapping import suggest
from liaison_kit.imports.planning import Options
from liaison_kit.imports.reading import open_table
from liaison_kit.jobs import Cancelled
from liaison_kit.plugins import Hooks
from liaison_kit.records import files
from liaison_kit.testing import about, at_work, call, in_hand, principal, told

BOM = "\ufeff"


class Desk:
    """Somebody who makes files of people and companies, and reads them back."""

    def __init__(self, db: Database, who: Context) -> None:
        self.db, self.who = db, who
        self.service = at_work(Contacts, db, hooks=Hooks("contacts", 5.0))

    def call(self, name: str, body: Any = None, **meta: Any) -> tuple[int, Any]:
        """What an operation answers: its status and its JSON."""
        who = meta.pop("who", self.who.principal)
        sent = b"" if body is None else json.dumps(body).encode()
        reply = call(self.service, name, who, sent, **meta)
        return reply.status, json.loads(reply.body) if reply.body else None

    def make(self, record: str = "contact", **values: Any) -> dict[str, Any]:
        """A new record."""
        status, made = self.call(f"create_{record}", values)
        assert status == 201, made
        found: dict[str, Any] = made
        return found

    def start(self, record: str = "contacts", who: Any = None, **body: Any) -> UUID:
        """An export that has been asked for; its job."""
        meta = {} if who is None else {"who": who}
        status, answer = self.call(f"export_{record}", body, **meta)
        assert status == 202, answer
        return UUID(answer["job"])

    def run(self, job: UUID, who: Context | None = None) -> None:
        """Do the job's work to its end."""
        self.service.export_job(in_hand(self.db, who or self.who, job))

    def content(self, job: UUID) -> bytes:
        """The file that was made."""
        reply = call(self.service, "get_export_content", self.who.principal, path={"id": str(job)})
        assert reply.status == 200, reply.body
        with self.db.reading(self.who) as session:
            return b"".join(files.chunks(session, UUID(reply.extra["upload"])))

    def export(self, record: str = "contacts", **body: Any) -> str:
        """A finished file of a list."""
        job = self.start(record, **body)
        self.run(job)
        return self.content(job).decode()

    def bring(self, folder: Path, content: bytes, importable: Any = CONTACTS) -> dict[str, int]:
        """Import a file as its header suggests; what became of its rows."""
        path = folder / f"{uuid7()}.file"
        path.write_bytes(content)
        table = open_table(path)
        with self.db.reading(self.who) as session:
            specs = importable.all_fields(session)
        first = next(table.chunks(size=200))
        samples = dict(zip(table.header, first.columns, strict=True))
        mapping = {s.column: s.field for s in suggest(table.header, samples, specs) if s.field}
        steps = Steps(self.db, self.who)
        _, tally = engine.run(steps, importable, table, mapping, {}, Options(), uuid7(), uuid7())
        return {name: count for name, count in tally.counts.items() if count}


class Steps:
    """A job's steps, each in a transaction of its own."""

    def __init__(self, db: Database, who: Context) -> None:
        self.db, self.who = db, who
        self.checkpoint: dict[str, Any] = {}
        self.done, self.total = 0, None

    def step(self) -> Any:
        return self.db.writing(self.who)

    def asking(self, work: Callable[[Any], Any]) -> Any:
        with self.step() as session:
            return work(session)


def rows(content: str) -> list[dict[str, str]]:
    """A CSV file's rows by the header's names."""
    return list(csv.DictReader(io.StringIO(content.removeprefix(BOM), newline="")))


@pytest.fixture
def desk(contacts_db: Database, someone: Context) -> Desk:
    """Somebody who may do everything."""
    return Desk(contacts_db, someone)


FULL = {
    "first_name": "=HYPERLINK(A1)",
    "last_name": '\'+Lefèvre; "Zoé"',
    "title": "@Boss\nof all, \r\nreally",
    "emails": [{"address": f"zoe{n}@x.example", "kind": "home"} for n in range(5)],
    "phones": [{"number": "+33612345678", "kind": "mobile"}, {"number": "06 12", "kind": "home"}],
    "addresses": [
        {"street": "-1 rue X", "city": "Paris", "country": "FR", "kind": "billing"},
        {"city": "Lyon"},
    ],
    "tags": ["vip", "+one"],
    "stage": "customer",
}


@pytest.mark.parametrize("format", ["csv", "xlsx"])
@pytest.mark.parametrize("headers", ["labels", "names"])
def test_an_export_that_is_imported_again_changes_nothing(
    desk: Desk, tmp_path: Path, format: str, headers: str
) -> None:
    company = desk.make("company", name="Acme")
    desk.make("company", name="Acme", industry="real_estate", employees=3)
    field = {"name": "size", "kind": "number", "label": {"en": "Size", "fr": "Taille"}}
    assert desk.call("create_custom_field", field, query=[["record", "contacts"]])[0] == 201
    desk.make(**FULL, company_id=company["id"], external_id="=X1", custom={"size": -2.5})
    desk.make(last_name="Kim", title="- none -")
    before = desk.call("list_contacts", query=[["sort", "id"]])[1]["items"]
    asked = {"format": format, "headers": headers}

    people = desk.start(**asked)
    desk.run(people)
    counts = desk.bring(tmp_path, desk.content(people))

    assert counts == {"unchanged": 2}
    assert desk.call("list_contacts", query=[["sort", "id"]])[1]["items"] == before
    firms = desk.start("companies", **asked)
    desk.run(firms)
    assert desk.bring(tmp_path, desk.content(firms), COMPANIES_IMPORT) == {"unchanged": 2}


def test_a_row_without_an_id_is_a_new_record_and_one_with_an_unknown_id_none(
    desk: Desk, tmp_path: Path
) -> None:
    desk.make(last_name="Lee")
    elsewhere = Desk(desk.db, about())
    stranger = elsewhere.make(last_name="Stranger")
    found = desk.export(fields=["id", "last_name"], byte_order_mark=False)

    changed = found.replace("Lee", "Leigh") + f",New\r\n{uuid7()},None\r\n{stranger['id']},Mine\r\n"

    assert desk.bring(tmp_path, changed.encode()) == {"updated": 1, "created": 1, "failed": 2}
    _, page = desk.call("list_contacts", query=[["sort", "last_name"]])
    assert [person["last_name"] for person in page["items"]] == ["Leigh", "New"]
    assert elsewhere.call("get_contact", path={"id": stranger["id"]})[1] == {
        name: value for name, value in stranger.items() if name != "possible_duplicates"
    }


def test_no_cell_is_a_formula(desk: Desk) -> None:
    desk.make(**FULL)

    (row,) = rows(desk.export(headers="names"))

    assert row["first_name"] == "'=HYPERLINK(A1)"
    assert row["phone"] == "'+33612345678"
    assert row["title"] == "'@Boss\nof all, \r\nreally"
    assert row["street"] == "'-1 rue X"
    assert row["more_emails"] == "zoe3@x.example, zoe4@x.example"
    assert not [cell for cell in row.values() if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]


def test_a_workbook_has_texts_for_texts_and_numbers_for_numbers(desk: Desk, tmp_path: Path) -> None:
    firm = desk.make(
        "company",
        name="=1+1",
        employees=12,
        annual_revenue={"amount": "1234.50", "currency": "EUR"},
    )
    fields = ["name", "employees", "annual_revenue", "created_at", "website"]
    job = desk.start("companies", format="xlsx", fields=fields)
    desk.run(job)
    path = tmp_path / "book.xlsx"
    path.write_bytes(desk.content(job))

    head, row = python_calamine.load_workbook(path).get_sheet_by_index(0).to_python()

    assert head[2:4] == ["Annual revenue", "Annual revenue: currency"]
    assert row[:4] == ["=1+1", 12, 1234.5, "EUR"]
    assert row[4].isoformat()[:19] == firm["created_at"][:19]


def test_header_and_bytes_are_as_asked_for(desk: Desk, someone: Context) -> None:
    desk.make(last_name="Lee")
    assert someone.principal is not None

    labels = desk.export(fields=["last_name", "stage"])
    names = desk.export(fields=["stage", "last_name"], headers="names", byte_order_mark=False)

    assert labels == f"{BOM}Last name,Lifecycle stage\r\nLee,lead\r\n"
    assert names == "stage,last_name\r\nlead,Lee\r\n"


def test_the_list_is_the_one_that_was_asked_for_in_its_order(desk: Desk) -> None:
    for name in ("Ann", "Bob", "Cid", "Dan"):
        desk.make(last_name=name, tags=["x"] if name != "Bob" else [])

    asked = {"filters": {"tags": "x"}, "sort": "-last_name", "fields": ["last_name"]}

    assert [row["Last name"] for row in rows(desk.export(**asked))] == ["Dan", "Cid", "Ann"]
    assert [row["Last name"] for row in rows(desk.export(**asked, q="dan"))] == ["Dan"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"filters": {"colour": "red"}}, "colour"),
        ({"filters": {"limit": "1"}}, "filters.limit"),
        ({"sort": "title"}, "sort"),
        ({"fields": ["last_name", "shoe"]}, "fields.1"),
        ({"format": "pdf"}, "format"),
    ],
)
def test_what_is_wrong_with_an_export_is_told_at_once(desk: Desk, body: Any, path: str) -> None:
    status, problem = desk.call("export_contacts", body)

    assert status == 422
    assert problem["errors"][0]["path"] == path


def test_rows_are_neither_dropped_nor_doubled_by_changes_meanwhile(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen, "BATCH", 2)
    made = [desk.make(last_name=f"P{n}") for n in range(7)]
    job = desk.start(sort="-updated_at", fields=["last_name"])
    seen = chosen.batch

    def meanwhile(session: Any, file_id: UUID, number: int) -> list[UUID]:
        if number == 1:
            # The first in order, one that is yet to come, a new one; and one that goes.
            desk.call("change_contact", {"title": "x"}, path={"id": made[0]["id"]}, if_match=1)
            desk.call("change_contact", {"title": "x"}, path={"id": made[6]["id"]}, if_match=1)
            desk.call("delete_contact", path={"id": made[2]["id"]}, if_match=1)
            desk.make(last_name="New")
        return seen(session, file_id, number)

    monkeypatch.setattr(chosen, "batch", meanwhile)
    desk.run(job)

    names = [row["Last name"] for row in rows(desk.content(job).decode())]
    assert names == ["P6", "P5", "P4", "P3", "P1", "P0"]


def test_a_job_that_is_taken_over_goes_on_where_it_was(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen, "BATCH", 2)
    for number in range(6):
        desk.make(last_name=f"P{number}")
    job = desk.start(sort="last_name", fields=["last_name"])
    seen = chosen.batch

    def dies(session: Any, file_id: UUID, number: int) -> list[UUID]:
        if number == 2:
            raise MemoryError
        return seen(session, file_id, number)

    monkeypatch.setattr(chosen, "batch", dies)
    with pytest.raises(MemoryError):
        desk.run(job)
    with desk.db.reading(desk.who) as session:
        assert (jobs.find(session, job).done, jobs.find(session, job).total) == (4, 6)
    monkeypatch.setattr(chosen, "batch", seen)
    desk.run(job)

    names = [row["Last name"] for row in rows(desk.content(job).decode())]
    assert names == [f"P{number}" for number in range(6)]


def left_behind(desk: Desk) -> int:
    with desk.db.reading(desk.who) as session:
        return int(session.scalar(text("SELECT count(*) FROM file_parts")) or 0)


def test_a_cancelled_export_leaves_nothing_behind(desk: Desk) -> None:
    desk.make(last_name="Lee")
    job = desk.start()
    run = in_hand(desk.db, desk.who, job)
    assert desk.call("cancel_job", path={"id": str(job)})[0] == 200

    with pytest.raises(Cancelled):
        desk.service.export_job(run)

    assert left_behind(desk) == 0
    status, problem = desk.call("get_export_content", path={"id": str(job)})
    assert (status, problem["code"]) == (409, "not_ready")


def test_a_finished_export_keeps_its_file_only_and_that_for_seven_days(
    fresh_database: Callable[[str], Database],
) -> None:
    desk = Desk(fresh_database("contacts"), about())
    desk.make(last_name="Lee")
    for format in ("csv", "xlsx"):
        job = desk.start(format=format)
        desk.run(job)
    # The header of the one, its rows, and the other whole.
    assert left_behind(desk) == 3

    for days, left in ((6, 3), (8, 0)):
        with desk.db.writing(desk.who) as session:
            aged = "UPDATE exports SET created_at = now() - make_interval(days => :days)"
            session.execute(text(aged), {"days": days})
            session.execute(text("SELECT tidy_exports()"))
        assert left_behind(desk) == left
    assert desk.call("get_export_content", path={"id": str(job)})[0] == 404


def test_rows_that_somebody_does_not_see_are_not_in_their_file(desk: Desk) -> None:
    mine = about(principal(desk.who.tenant, "*", user=uuid7(), rows={"contacts": "own"}))
    desk.make(last_name="Hidden")
    theirs = Desk(desk.db, mine)
    kept = theirs.make(last_name="Mine")
    lost = theirs.make(last_name="Lost")

    job = theirs.start(fields=["last_name"], sort="last_name")
    run = in_hand(desk.db, mine, job)
    picked = chosen.pick

    def handed_over(*given: Any) -> int:
        found = picked(*given)
        change = {"owner_id": None}
        desk.call("change_contact", change, path={"id": lost["id"]}, if_match=lost["version"])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chosen, "pick", handed_over)
        theirs.service.export_job(run)

    assert rows(theirs.content(job).decode()) == [{"Last name": kept["last_name"]}]


def test_a_file_is_for_who_asked_for_it_and_for_operators(desk: Desk) -> None:
    desk.make(last_name="Lee")
    may = ("contacts:read", "contacts:export", "jobs:read")
    clerk = principal(desk.who.tenant, *may)
    job = desk.start(who=clerk)
    desk.run(job, about(clerk))
    path = {"id": str(job)}

    def answered(who: Any) -> int:
        return call(desk.service, "get_export_content", who, path=path).status

    colleague = principal(desk.who.tenant, *may)
    operator = principal(desk.who.tenant, *may, "operations:manage")
    demoted = principal(desk.who.tenant, "contacts:read", "jobs:read", user=clerk.user)
    assert [answered(who) for who in (clerk, operator, colleague, about().principal)] == [
        200,
        200,
        404,
        404,
    ]
    assert answered(demoted) == 403
    assert desk.call("get_job", path={"id": str(job)}, who=colleague)[0] == 404
    assert desk.call("get_job", path={"id": str(job)}, who=clerk)[0] == 200
    companies = principal(desk.who.tenant, "companies:read")
    assert desk.call("export_contacts", {}, who=companies)[0] == 403


def test_who_may_only_see_a_list_may_not_take_it_out(desk: Desk) -> None:
    reader = principal(desk.who.tenant, "contacts:read", "jobs:read")

    assert desk.call("export_contacts", {}, who=reader)[0] == 403


def test_an_export_is_told_with_its_filters_and_names_nobody(desk: Desk) -> None:
    desk.make(last_name="Lee", stage="lead")
    where = {
        "combinator": "and",
        "rules": [{"field": "last_name", "operator": "=", "value": "Lee"}],
    }

    desk.export(
        filters={"stage": "lead", "last_name": "Lee"},
        q="Lee",
        where=json.dumps(where),
        fields=["last_name"],
        sort="created_at",
    )

    ((kind, said),) = [
        each for each in told(desk.db, desk.who.tenant) if each[0] == "list_exported"
    ]
    assert (said["record"], said["format"], said["rows"]) == ("contacts", "csv", 1)
    assert said["fields"] == ["last_name"]
    assert said["filters"] == [
        "stage=lead",
        "last_name",
        "q",
        "where: last_name",
        "sort=created_at",
    ]
    assert "Lee" not in json.dumps(said), kind
