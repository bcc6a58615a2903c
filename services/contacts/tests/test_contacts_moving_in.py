"""People move in from other tools: what their files say arrives, or somebody has said otherwise."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from liaison_contacts.service import Contacts
from liaison_kit import tenants
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.imports.unfed import UndecidedColumns
from liaison_kit.plugins import Hooks
from liaison_kit.testing import about, at_work, call, in_hand
from liaison_sdk.contracts.identity import TenantRef, TenantSaved

Row = Mapping[str, str]


class Mover:
    """Somebody in France who brings their address books, as the gateway passes them on."""

    def __init__(self, db: Database, who: Context) -> None:
        self.db, self.who = db, who
        self.service = at_work(Contacts, db, hooks=Hooks("contacts", 5.0))
        there = {"time_zone": "Europe/Paris", "country": "FR", "currency": "EUR"}
        told = there | {"name": "Ours", "language": "fr", "version": 1}
        with db.writing(who) as session:
            ours = TenantRef.model_validate(told)
            tenants.keep(session, TenantSaved(tenant_id=who.tenant, tenant=ours))

    def call(self, name: str, body: Any = None, **meta: Any) -> tuple[int, Any]:
        """What an operation answers: its status and its JSON."""
        sent = b"" if body is None else json.dumps(body).encode()
        reply = call(self.service, name, self.who.principal, sent, **meta)
        return reply.status, json.loads(reply.body) if reply.body else None

    def hand_in(self, content: bytes, name: str = "book.csv", record: str = "contacts") -> Any:
        """A draft of an import."""
        id = uuid7()
        part = {"id": str(id), "part": 0}
        call(self.service, "put_part", self.who.principal, content, upload=part)
        upload = {
            "id": str(id),
            "name": name,
            "content_type": "text/csv",
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        status, found = self.call("create_import", upload=upload, query=[["record", record]])
        assert status == 201, found
        return found

    def change(self, draft: Any, **changes: Any) -> Any:
        """The draft, with what somebody says of it."""
        path = {"id": draft["id"]}
        status, found = self.call("change_import", changes, path=path, if_match=draft["version"])
        assert status == 200, found
        return found

    def look(self, draft: Any) -> Any:
        """What a preview says."""
        status, found = self.call("preview_import", path={"id": draft["id"]})
        assert status == 200, found
        return found

    def work(self, draft: Any, operation: str = "start_import") -> Any:
        """The import after its job has ended."""
        status, found = self.call(operation, path={"id": draft["id"]})
        assert status == 202, found
        run = in_hand(self.db, self.who, UUID(found["job"]))
        {
            "start_import": self.service.import_job,
            "dry_run_import": self.service.import_dry_run_job,
            "roll_back_import": self.service.import_rollback_job,
        }[operation](run)
        return self.call("get_import", path={"id": draft["id"]})[1]

    def bring(self, content: bytes, name: str = "book.csv", **options: Any) -> Any:
        """A file that goes in whole, companies made on the way."""
        given = {"on_missing": {"company": "create"}} | options
        done = self.work(self.change(self.hand_in(content, name), options=given))
        assert done["status"] == "done"
        assert not done["counts"]["failed"], done["problems"]
        return done

    def people(self) -> dict[str, Any]:
        """Everybody by last name, with their company as a whole and their notes."""
        found: dict[str, Any] = {}
        for person in self.call("list_contacts")[1]["items"]:
            path = {"id": person["company_id"]}
            person["company"] = path["id"] and self.call("get_company", path=path)[1]
            listed = self.call("list_contact_notes", path={"id": person["id"]})[1]["items"]
            person["notes"] = [note["body"] for note in listed]
            found[person["last_name"]] = person
        return found


@pytest.fixture
def mover(contacts_db: Database, someone: Context) -> Mover:
    """Somebody of a tenant of their own."""
    return Mover(contacts_db, someone)


@pytest.fixture
def address_books() -> Path:
    """Address books as other tools export them, where they are."""
    root = Path(__file__).resolve().parents[3]
    folder = Path(os.environ.get("LIAISON_DATA", root.parent / "shared" / "data"))
    if not (folder / "address-books").is_dir():
        pytest.skip("the shared data is not here")
    return folder / "address-books"


def written(*rows: Row) -> bytes:
    """A file of these rows."""
    out = io.StringIO(newline="")
    lines = csv.DictWriter(out, list(dict.fromkeys(name for row in rows for name in row)))
    lines.writeheader()
    lines.writerows(rows)
    return out.getvalue().encode()


def email(address: str, kind: str = "work") -> dict[str, str]:
    return {"address": address, "kind": kind}


def phone(number: str, kind: str = "work") -> dict[str, str]:
    return {"number": number, "kind": kind}


def place(street: str, code: str, city: str, country: str = "", **more: str) -> dict[str, str]:
    given = {"street": street, "postal_code": code, "city": city, "country": country}
    return {"region": "", "kind": "work"} | given | more


def arrived(person: Any, expected: Mapping[str, Any]) -> dict[str, Any]:
    """What has come of a person, as far as it is expected."""
    found = dict(person)
    company = found["company"] or {}
    found["company"] = company.get("name")
    found |= {f"company.{name}": company.get(name) for name in ("annual_revenue", "external_id")}
    return {name: found[name] for name in expected}


BOOKS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]]] = {
    "google.csv": (
        {},
        {
            "Le Goff": {
                "salutation": "Mme",
                "first_name": "Anaïs",
                "birthday": "1981-03-02",
                "title": "Gérante",
                "company": "Ex Bretagne SARL",
                "emails": [
                    email("anais.legoff@ex-bretagne.example"),
                    email("anais@perso.example"),
                    email("a2@perso.example", "home"),
                ],
                "phones": [phone("+33612345678", "mobile"), phone("+33298441010")],
                "addresses": [place("3 rue de Siam", "29200", "Brest", "FR", region="Bretagne")],
                "tags": ["Clients"],
                "notes": ["Rencontrée au salon\n2e ligne"],
            },
            "Dupont": {
                "first_name": "O'Neil",
                "company": None,
                "emails": [email("oneil@perso.example", "home")],
                "phones": [phone("+33144556677")],
                "addresses": [],
                "tags": [],
                "notes": [],
            },
        },
    ),
    "outlook.csv": (
        {"unmapped": "skip"},
        {
            "Martin": {
                "salutation": "Mr",
                "first_name": "Jean",
                "middle_name": "Paul",
                "suffix": "Jr",
                "company": "Martin et Fils",
                "department": "Achats",
                "title": "Directeur",
                "addresses": [
                    place("12, bd Voltaire, Bât. B", "75011", "Paris", "France"),
                    place("5 rue Lamartine", "69003", "Lyon", kind="home"),
                ],
                "phones": [
                    phone("+33143550000"),
                    phone("+33143550001"),
                    phone("+33698765432", "mobile"),
                ],
                "birthday": "1975-03-14",
                "tags": ["Client", "VIP"],
                "emails": [email("j.martin@martin-fils.example"), email("jp@perso.example")],
                "notes": ["Aime le café"],
                "websites": ["https://www.martin-fils.example"],
            }
        },
    ),
    "hubspot.csv": (
        {"unmapped": "custom"},
        {
            "Rossi": {
                "external_id": "51",
                "emails": [email("emma@rossi.example")],
                "phones": [phone("+39066982")],
                "company": "Rossi SpA",
                "company.annual_revenue": {"amount": "1250000.00", "currency": "EUR"},
                "company.external_id": "7001",
                "stage": "mql",
                "title": "CFO",
                "addresses": [place("", "", "Roma", "Italy")],
                "websites": ["https://rossi.example"],
                "custom": {
                    "last_activity_date": "2024-05-04 10:21",
                    "lead_status": "Open",
                    "marketing_contact_status": "Marketing contact",
                    "create_date": "2023-11-02 08:15",
                },
            },
            "Müller": {
                "external_id": "52",
                "company": "Müller GmbH",
                "company.annual_revenue": None,
                "stage": "customer",
                "addresses": [place("", "", "Berlin", "Germany")],
                "websites": ["https://mueller.example"],
            },
        },
    ),
    "contacts.vcf": (
        {"unmapped": "note"},
        {
            "Garçon": {
                "salutation": "Mme",
                "first_name": "Léa",
                "company": "Atelier Garçon",
                "emails": [email("lea@garcon.example")],
                "phones": [phone("+33612345679", "mobile"), phone("+33140000000")],
                "notes": ["Ligne une\nligne deux"],
            },
            "Okafor": {
                "salutation": "Dr.",
                "first_name": "Chinedu",
                "middle_name": "Emeka",
                "suffix": "PhD",
                "company": "Lagos Labs",
                "department": "Research",
                "title": "Head of, research",
                "birthday": "1979-12-01",
                "emails": [
                    email("c.okafor@lagoslabs.example"),
                    email("chinedu@perso.example", "other"),
                ],
                "phones": [phone("+23412710000"), phone("+2348030000000", "mobile")],
                "addresses": [place("12 Marina Road", "101001", "Lagos", "Nigeria")],
                "tags": ["Clients", "VIP"],
                "websites": ["https://lagoslabs.example"],
            },
            "Pérez": {
                "first_name": "Ana María",
                "company": "Pérez e Hijos",
                "emails": [email("ana@perez.example")],
                "phones": [phone("+34600000000", "mobile")],
                "birthday": None,
            },
        },
    ),
}


@pytest.mark.parametrize("name", BOOKS)
def test_an_address_book_arrives_field_by_field(
    mover: Mover, address_books: Path, name: str
) -> None:
    options, expected = BOOKS[name]

    mover.bring((address_books / name).read_bytes(), name, **options)

    people = mover.people()
    assert people.keys() == expected.keys()
    for last_name, fields in expected.items():
        assert arrived(people[last_name], fields) == fields


def test_a_home_made_sheet_arrives_without_its_titles_and_its_sums(
    mover: Mover, address_books: Path
) -> None:
    content = (address_books / "workbook.csv").read_bytes()
    options = {"on_missing": {"company": "create"}, "unmapped": "custom"}

    done = mover.work(mover.change(mover.hand_in(content, "workbook.csv"), options=options))

    # Of a company without a person only the company comes.
    told = {problem["message"]: problem["rows"] for problem in done["problems"]}
    assert told["A person needs a first or a last name"] == [6]
    assert told["The row holds the sums of others; it is left out"] == [8]
    assert (done["counts"]["created"], done["counts"]["failed"]) == (3, 1)
    people = mover.people()
    expected: dict[str, Any] = {
        "LEFÈVRE": {
            "first_name": "Hélène",
            "company": "Garage du Pont SARL",
            "emails": [email("h.lefevre@garage-pont.example")],
            "phones": [phone("+33472000001"), phone("+33611223344")],
            "notes": ["rappeler en avril"],
        },
        "Ng": {"first_name": "Thi Minh", "phones": [phone("+842838220000")]},
        "Dubois": {
            "first_name": "Jean-Marc",
            "phones": [phone("+33472000002")],
            "emails": [
                email("jm.dubois@garage-pont.example"),
                email("compta@garage-pont.example"),
            ],
        },
    }
    assert people.keys() == expected.keys()
    for last_name, fields in expected.items():
        assert arrived(people[last_name], fields) == fields


def mapped(mover: Mover, *rows: Row, record: str = "contacts") -> dict[str, str | None]:
    """Which column is proposed to feed which field."""
    found: dict[str, str | None] = mover.hand_in(written(*rows), record=record)["mapping"]
    return found


TOOLS: Mapping[str, Mapping[str, tuple[str, str | None]]] = {
    "Google, newer": {
        "First Name": ("Anaïs", "first_name"),
        "Middle Name": ("", "middle_name"),
        "Last Name": ("Le Goff", "last_name"),
        "Phonetic First Name": ("", None),
        "Name Prefix": ("Mme", "salutation"),
        "Nickname": ("Nana", None),
        "File As": ("", "full_name"),
        "Organization Name": ("Ex Bretagne", "company"),
        "Organization Title": ("Gérante", "title"),
        "Organization Department": ("Achats", "department"),
        "Birthday": ("1981-03-02", "birthday"),
        "Notes": ("x", "notes"),
        "Photo": ("https://lh3.example/photo.jpg", None),
        "Labels": ("* myContacts", "tags"),
        "E-mail 1 - Label": ("* Work", "email_kind"),
        "E-mail 1 - Value": ("a@b.example", "email"),
        "E-mail 3 - Label": ("Home", "email_kind_3"),
        "E-mail 3 - Value": ("c@d.example", "email_3"),
        "Phone 1 - Label": ("Mobile", "phone_kind"),
        "Phone 1 - Value": ("06 12 34 56 78", "phone"),
        "Address 1 - Label": ("Home", "address_kind"),
        "Address 1 - Formatted": ("x", "whole_address"),
        "Address 2 - Street": ("3 rue de Siam", "address_2_street"),
        "Address 2 - Postal Code": ("29200", "address_2_postal_code"),
        "Website 1 - Value": ("https://b.example", "website"),
    },
    "Outlook, French": {
        "Titre": ("M.", "salutation"),
        "Prénom": ("Jean", "first_name"),
        "Deuxième prénom": ("Paul", "middle_name"),
        "Nom": ("Martin", "last_name"),
        "Suffixe": ("", "suffix"),
        "Société": ("Martin et Fils", "company"),
        "Service": ("Achats", "department"),
        "Fonction": ("Directeur", "title"),
        "Rue (bureau)": ("12 bd Voltaire", "street"),
        "Rue (bureau) 2": ("Bât. B", "street_line_2"),
        "Ville (bureau)": ("Paris", "city"),
        "Dép/Région (bureau)": ("", "region"),
        "Code postal (bureau)": ("75011", "postal_code"),
        "Pays/Région (bureau)": ("France", "country"),
        "Rue (domicile)": ("5 rue Lamartine", "home_street"),
        "Ville (domicile)": ("Lyon", "home_city"),
        "Télécopie (bureau)": ("01 43 55 00 09", "fax"),
        "Téléphone (bureau)": ("01 43 55 00 00", "work_phone"),
        "Téléphone 2 (bureau)": ("01 43 55 00 01", "work_phone_2"),
        "Téléphone (domicile)": ("04 78 00 00 00", "home_phone"),
        "Tél. mobile": ("06 98 76 54 32", "mobile_phone"),
        "Téléphone (autre)": ("01", "other_phone"),
        "Adresse de messagerie": ("a@b.example", "email"),
        "Type de messagerie": ("SMTP", "email_kind"),
        "Adresse de messagerie 2": ("c@d.example", "email_2"),
        "Anniversaire": ("14/03/1975", "birthday"),
        "Catégories": ("Client;VIP", "tags"),
        "Langue": ("fr", "languages"),
        "Notes": ("x", "notes"),
        "Page Web": ("www.b.example", "website"),
    },
    "Salesforce": {
        "Contact ID": ("0035g", "external_id"),
        "Salutation": ("Ms.", "salutation"),
        "First Name": ("Ada", "first_name"),
        "Last Name": ("King", "last_name"),
        "Title": ("VP Sales", "title"),
        "Account Name": ("Acme", "company"),
        "Mailing Street": ("1 Main St", "street"),
        "Mailing City": ("Austin", "city"),
        "Mailing State/Province": ("TX", "region"),
        "Mailing Zip/Postal Code": ("78701", "postal_code"),
        "Mailing Country": ("USA", "country"),
        "Other City": ("Paris", "other_city"),
        "Phone": ("+1 512 555 0100", "phone"),
        "Fax": ("+1 512 555 0101", "fax"),
        "Mobile": ("+1 512 555 0102", "mobile_phone"),
        "Email": ("ada@acme.example", "email"),
        "Contact Owner": ("Sam", "owner"),
        "Birthdate": ("1980-01-02", "birthday"),
        "Department": ("Sales", "department"),
        "Lead Source": ("Web", None),
        "Description": ("x", "notes"),
    },
    "Pipedrive": {
        "Person - ID": ("7", "external_id"),
        "Person - Name": ("Ada King", "full_name"),
        "Person - First name": ("Ada", "first_name"),
        "Person - Last name": ("King", "last_name"),
        "Person - Organization": ("Acme", "company"),
        "Person - Owner": ("Sam", "owner"),
        "Person - Label": ("Hot lead", "tags"),
        "Person - Phone - Work": ("+1 512 555 0100", "work_phone"),
        "Person - Phone - Home": ("+1 512 555 0101", "home_phone"),
        "Person - Phone - Mobile": ("+1 512 555 0102", "mobile_phone"),
        "Person - Email - Work": ("ada@acme.example", "work_email"),
        "Person - Email - Home": ("ada@home.example", "home_email"),
        "Person - Job Title": ("VP", "title"),
        "Person - Closed deals": ("3", None),
    },
    "Zoho": {
        "Record Id": ("zcrm_1", "external_id"),
        "Contact Owner": ("Sam", "owner"),
        "First Name": ("Ada", "first_name"),
        "Last Name": ("King", "last_name"),
        "Account Name": ("Acme", "company"),
        "Email": ("ada@acme.example", "email"),
        "Secondary Email": ("ada@home.example", "other_email"),
        "Title": ("VP", "title"),
        "Department": ("Sales", "department"),
        "Home Phone": ("+1 512 555 0101", "home_phone"),
        "Asst Phone": ("+1 512 555 0103", None),
        "Date of Birth": ("1980-01-02", "birthday"),
        "Mailing Zip": ("78701", "postal_code"),
        "Tag": ("Hot", "tags"),
        "Lead Source": ("Web", None),
    },
    "Mailchimp": {
        "Email Address": ("ada@acme.example", "email"),
        "First Name": ("Ada", "first_name"),
        "Last Name": ("King", "last_name"),
        "Phone Number": ("+1 512 555 0101", "phone"),
        "MEMBER_RATING": ("4", None),
        "OPTIN_TIME": ("2020-01-01 10:00:00", None),
        "NOTES": ("x", "notes"),
        "TAGS": ('"Hot","VIP"', "tags"),
    },
    "Thunderbird": {
        "First Name": ("Ada", "first_name"),
        "Last Name": ("King", "last_name"),
        "Display Name": ("Ada King", "full_name"),
        "Primary Email": ("ada@acme.example", "email"),
        "Secondary Email": ("ada@home.example", "other_email"),
        "Work Phone": ("+1 512 555 0100", "work_phone"),
        "Fax Number": ("+1 512 555 0101", "fax"),
        "Mobile Number": ("+1 512 555 0102", "mobile_phone"),
        "Home Address": ("1 Main St", "home_street"),
        "Home Address 2": ("Flat 2", "home_street_line_2"),
        "Home ZipCode": ("78701", "home_postal_code"),
        "Work Address": ("2 Main St", "street"),
        "Work City": ("Austin", "city"),
        "Organization": ("Acme", "company"),
        "Web Page 1": ("https://acme.example", "website"),
    },
}


@pytest.mark.parametrize("tool", TOOLS)
def test_the_header_of_a_tool_is_understood(mover: Mover, tool: str) -> None:
    columns = TOOLS[tool]

    found = mapped(mover, {column: value for column, (value, _) in columns.items()})

    assert found == {column: field for column, (_, field) in columns.items()}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (["Mr", "Mrs.", "Dr", "M.", "Mme", "MLLE"], "salutation"),
        (["CEO", "Head of Sales", "Dr"], "title"),
    ],
)
def test_a_title_is_what_its_values_say(mover: Mover, values: list[str], field: str) -> None:
    rows = [{"Last name": "Lee", "Title": value} for value in values]

    assert mapped(mover, *rows)["Title"] == field


def test_the_companies_of_a_tool_are_understood(mover: Mover) -> None:
    found = mapped(
        mover,
        {
            "Organization - ID": "7",
            "Organization - Name": "Acme",
            "Organization - Owner": "Sam",
            "Company Domain Name": "acme.example",
            "Department": "Sales",
            "Billing City": "Austin",
        },
        record="companies",
    )

    assert found == {
        "Organization - ID": "external_id",
        "Organization - Name": "name",
        "Organization - Owner": "owner",
        "Company Domain Name": "website",
        "Department": None,
        "Billing City": "billing_city",
    }


# --- what feeds nothing ---------------------------------------------------------------------------

ROWS = [
    {"Last name": "Lee", "Size": "12", "Joined": "31/12/2025", "Vegan": "yes", "Telex": "FR 1"},
    {"Last name": "Kim", "Size": "2,5", "Joined": "01/02/2026", "Vegan": "no", "Code": "007"},
    {"Last name": "Ray", "Size": "", "Joined": "", "Vegan": "", "Telex": "-"},
]


def test_a_column_that_feeds_nothing_is_decided_before_anything_is_written(mover: Mover) -> None:
    draft = mover.hand_in(written(*ROWS))

    status, problem = mover.call("start_import", path={"id": draft["id"]})

    assert (status, problem["code"]) == (422, "undecided_columns")
    asked = ["mapping.Size", "mapping.Joined", "mapping.Vegan", "mapping.Telex", "mapping.Code"]
    assert [error["path"] for error in problem["errors"]] == asked
    assert "unmapped" in problem["detail"]
    assert mover.people() == {}


def test_a_dry_run_counts_what_would_be_lost(mover: Mover) -> None:
    draft = mover.change(mover.hand_in(written(*ROWS)), mapping={"Last name": "last_name"})

    unfed = {each["column"]: each for each in mover.look(draft)["unfed"]}
    tried = mover.work(draft, "dry_run_import")

    assert {column: (each["count"], each["kind"]) for column, each in unfed.items()} == {
        "Size": (2, "number"),
        "Joined": (2, "date"),
        "Vegan": (2, "boolean"),
        "Telex": (1, "text"),
        "Code": (1, "text"),
    }
    assert unfed["Telex"]["examples"] == ["FR 1"]
    assert tried["counts"]["would_create"] == 3
    assert tried["counts"]["would_lose"] == 8
    told = {each["column"]: each["message"] for each in tried["problems"]}
    assert told["Size"] == "2 values feed nothing and would be lost"


def test_what_only_later_rows_fill_is_decided_too(mover: Mover) -> None:
    rows: list[Row] = [{"Last name": f"P{n}", "Telex": ""} for n in range(250)]
    draft = mover.hand_in(written(*rows, {"Last name": "Late", "Telex": "FR 1"}))

    with pytest.raises(UndecidedColumns):
        mover.work(draft)

    refused = mover.call("get_import", path={"id": draft["id"]})[1]
    assert refused["status"] == "previewed"
    assert [p["column"] for p in refused["problems"] if "column" in p] == ["mapping.Telex"]
    assert mover.people() == {}
    done = mover.work(mover.change(refused, options={"unmapped": "note"}))
    assert (done["status"], done["counts"]["created"]) == ("done", 251)


def test_columns_become_custom_fields_of_the_kind_that_their_values_have(mover: Mover) -> None:
    mover.bring(written(*ROWS), unmapped="custom")

    people = mover.people()
    assert people["Lee"]["custom"] == {
        "size": 12,
        "joined": "2025-12-31",
        "vegan": True,
        "telex": "FR 1",
    }
    assert people["Kim"]["custom"] == {
        "size": 2.5,
        "joined": "2026-02-01",
        "vegan": False,
        "code": "007",
    }
    listed = mover.call("list_custom_fields", query=[["record", "contacts"]])[1]["items"]
    assert {field["name"]: field["kind"] for field in listed} == {
        "size": "number",
        "joined": "date",
        "vegan": "boolean",
        "telex": "text",
        "code": "text",
    }
    assert all(field["personal"] for field in listed)
    assert mapped(mover, *ROWS)["Telex"] == "custom.telex"


def test_columns_become_lines_of_a_note_which_is_added_once(mover: Mover) -> None:
    content = written({"Id": "1", "Last name": "Lee", "Notes": "Kind", "Telex": "FR 1", "Fee": "2"})

    for _ in range(2):
        draft = mover.hand_in(content)
        mapping = draft["mapping"] | {"Telex": "note", "Fee": "note"}
        done = mover.work(mover.change(draft, mapping=mapping))

    assert done["counts"]["unchanged"] == 1
    assert mover.people()["Lee"]["notes"] == ["Kind\nTelex: FR 1\nFee: 2"]


def test_a_column_that_is_left_out_in_so_many_words_is_left_out(mover: Mover) -> None:
    draft = mover.hand_in(written({"Last name": "Lee", "Telex": "FR 1"}))

    done = mover.work(mover.change(draft, mapping={"Last name": "last_name", "Telex": "-"}))

    assert done["counts"]["created"] == 1
    assert [(p["code"], p["message"]) for p in done["problems"]] == [
        ("unfed_column", "1 value is left out")
    ]


def test_what_an_import_has_noted_goes_with_it_unless_somebody_has_written_on(
    mover: Mover,
) -> None:
    mover.bring(written({"Id": "1", "Last name": "Lee"}, {"Id": "2", "Last name": "Kim"}))
    done = mover.bring(
        written({"Id": "1", "Last name": "Lee", "Notes": "Kind"},
                {"Id": "2", "Last name": "Kim", "Notes": "Tall"},
                {"Id": "3", "Last name": "Ray", "Notes": "New"})
    )  # fmt: skip
    path = {"id": mover.people()["Kim"]["id"]}
    (note,) = mover.call("list_contact_notes", path=path)[1]["items"]
    mover.call("change_note", {"body": "Taller"}, path={"id": note["id"]}, if_match=1)

    mover.work(done, "roll_back_import")

    people = mover.people()
    assert people.keys() == {"Lee", "Kim"}
    assert (people["Lee"]["notes"], people["Kim"]["notes"]) == ([], ["Taller"])


# --- next month's file ----------------------------------------------------------------------------


def test_the_next_file_of_the_same_header_is_proposed_what_this_one_had(mover: Mover) -> None:
    may = written({"Last name": "Lee", "Kind of firm": "X", "Stage": "Gold"})
    draft = mover.hand_in(may, "may.csv")
    mapping = {"Last name": "last_name", "Kind of firm": "department", "Stage": "stage"}
    said = {"stage": {"Gold": "customer"}}
    mover.work(mover.change(draft, mapping=mapping, value_map=said, options={"blanks": "clear"}))

    june = mover.hand_in(
        written({"LAST NAME": "Kim", "kind_of_firm": "Y", "stage": "gold"}), "june.csv"
    )
    other = mover.hand_in(written({"Last name": "Ray", "Kind of firm": "X"}))

    assert june["mapping"] == {
        "LAST NAME": "last_name",
        "kind_of_firm": "department",
        "stage": "stage",
    }
    assert (june["value_map"], june["options"]["blanks"]) == (said, "clear")
    assert june["file_info"]["saved"]["file_name"] == "may.csv"
    assert any("may.csv" in note for note in mover.look(june)["notes"])
    assert other["mapping"]["Kind of firm"] is None
    mover.work(june)
    assert mover.people()["Kim"]["stage"] == "customer"


def test_kept_mappings_are_listed_and_forgotten(mover: Mover) -> None:
    content = written({"Last name": "Lee", "Telex": "FR 1"})
    mover.bring(content, "may.csv", unmapped="note")

    (kept,) = mover.call("list_import_mappings")[1]["items"]
    gone, _ = mover.call("delete_import_mapping", path={"id": kept["id"]})

    assert (kept["record"], kept["file_name"]) == ("contacts", "may.csv")
    assert kept["options"]["unmapped"] == "note"
    assert gone == 204
    assert mover.call("list_import_mappings")[1]["items"] == []
    assert "saved" not in mover.hand_in(content)["file_info"]
    assert mover.call("delete_import_mapping", path={"id": kept["id"]})[0] == 404


def test_a_mapping_is_proposed_to_its_tenant_alone(mover: Mover, contacts_db: Database) -> None:
    content = written({"Last name": "Lee", "Telex": "FR 1"})
    mover.bring(content, unmapped="note")

    elsewhere = Mover(contacts_db, about())

    assert "saved" not in elsewhere.hand_in(content)["file_info"]
    assert elsewhere.call("list_import_mappings")[1]["items"] == []


# --- stages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "stage"),
    [
        ("marketingqualifiedlead", "mql"),
        ("Marketing Qualified Lead", "mql"),
        ("salesqualifiedlead", "sql"),
        ("Sales Qualified Lead", "sql"),
        ("Évangéliste", "customer"),
        ("evangelist", "customer"),
        ("other", "visitor"),
        ("subscriber", "subscriber"),
        ("former_customer", "churned"),
        ("Former customer", "churned"),
        ("Ancien client", "churned"),
        ("", "lead"),
    ],
)
def test_the_stages_of_other_tools_have_a_home(mover: Mover, said: str, stage: str) -> None:
    mover.bring(written({"Last name": "Lee", "Lifecycle Stage": said}))

    assert mover.people()["Lee"]["stage"] == stage
