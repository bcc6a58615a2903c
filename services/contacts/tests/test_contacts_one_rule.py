"""One set of rules: what a file brings in the API takes, and what a dry run says a run does."""

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from liaison_contacts.service import Contacts
from liaison_kit.database.database import Database
from liaison_kit.plugins import Hooks
from liaison_kit.testing import about, at_work, call, imported
from liaison_sdk.contracts import contacts as contract

_NAMES = st.sampled_from(
    ["Zoé", "Dupont", "O'Neil", "", "", " ", 'He said "so"', "=1+1", "x" * 200, "x" * 201, "李"]
)
_EMAILS = st.sampled_from(
    ["", "a@b.example", "A@B.Example", "x.y@corp.local", "u@qa_under.example", "t@a.test", "a@b",
     "jérôme@exämple.fr", "no at", "a@@b.example", "a..b@c.example", "<z@c.example>", "-@-.-"]
)  # fmt: skip
_PHONES = st.sampled_from(
    ["", "+33612345678", "06 12 34 56 78", "call me", "+1 415 555 2671 ext. 12", "5", "0" * 60]
)
_SITES = st.sampled_from(["", "example.com", "https://a.example/x", "no site", "http://"])
_TAGS = st.sampled_from(["", "vip", "vip; lyon, Zoé", "t" * 150, "t" * 201, ",".join("abc" * 20)])
_COUNTS = st.sampled_from(["", "0", "12", "-1", "10000000", "10000001", "1.5", "many"])
_YEARS = st.sampled_from(["", "1999", "999", "2200", "2201", "x"])
_MONEY = st.sampled_from(["", "12.50", "-3", "0.001", "9999999999999999", "1e30", "five"])
_CURRENCIES = st.sampled_from(["", "EUR", "usd", "XXQ", "pounds"])
_SHARED = {
    "email": _EMAILS,
    "phone": _PHONES,
    "city": st.sampled_from(["", "Paris", "c" * 201]),
    "country": st.sampled_from(["", "FR", "France", "Narnia", "n" * 61]),
    "tags": _TAGS,
    "stage": st.sampled_from(["", "lead", "customer", "nonsense"]),
}
ROWS = {
    "contacts": {
        "first_name": _NAMES,
        "last_name": _NAMES,
        "title": st.sampled_from(["", "Boss", "b" * 201]),
        **_SHARED,
    },
    "companies": {
        "name": st.sampled_from(["Acme", "Acme", "Zoé & fils", "", "n" * 201]),
        "industry": st.sampled_from(["", "retail", "Commerce", "nonsense"]),
        "website": _SITES,
        "year_founded": _YEARS,
        "employees": _COUNTS,
        "annual_revenue": _MONEY,
        "annual_revenue_currency": _CURRENCIES,
        **_SHARED,
    },
}
_NEW: dict[str, Any] = {"contacts": contract.NewContact, "companies": contract.NewCompany}
_ONE = {"contacts": "contact", "companies": "company"}


@pytest.fixture(scope="module")
def service(contacts_db: Database) -> Any:
    return at_work(Contacts, contacts_db, hooks=Hooks("contacts", 5.0))


def answer(service: Any, who: Any, name: str, body: Any = None, **meta: Any) -> tuple[int, Any]:
    sent = b"" if body is None else json.dumps(body).encode()
    reply = call(service, name, who.principal, sent, **meta)
    return reply.status, json.loads(reply.body) if reply.body else None


def book(rows: list[dict[str, str]]) -> Path:
    """A file of these rows, in a folder of its own."""
    path = Path(tempfile.mkdtemp()) / "rows.csv"
    with path.open("w", newline="") as file:
        lines = csv.DictWriter(file, list(rows[0]))
        lines.writeheader()
        lines.writerows(rows)
    return path


def number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        return text


def as_sent(record: str, row: dict[str, str]) -> dict[str, Any]:
    """A row as somebody sends it to the API who has no file."""
    plain = ("first_name", "last_name", "title", "name", "stage", "external_id", "website")
    body: dict[str, Any] = {n: row[n] for n in plain if row.get(n)}
    body |= {n: number(row[n]) for n in ("year_founded", "employees") if row.get(n)}
    if row.get("industry"):
        body["industry"] = row["industry"]
    if row.get("annual_revenue"):
        currency = row["annual_revenue_currency"].upper() or "EUR"
        body["annual_revenue"] = {"amount": row["annual_revenue"], "currency": currency}
    if row["email"]:
        body["emails"] = [{"address": row["email"]}]
    if row["phone"]:
        body["phones"] = [{"number": row["phone"]}]
    if row["city"] or row["country"]:
        body["addresses"] = [{"city": row["city"], "country": row["country"]}]
    if row["tags"]:
        body["tags"] = [tag.strip() for tag in row["tags"].replace(";", ",").split(",")]
    return body


def rows_of(record: str) -> Any:
    return st.lists(st.fixed_dictionaries(ROWS[record]), min_size=1, max_size=5)


def one_rule(service: Any, record: str, rows: list[dict[str, str]]) -> None:
    rows = [{"external_id": f"r{n}", **row} for n, row in enumerate(rows)]
    for row in rows:
        # The API has no way to say a currency of nothing.
        if not row.get("annual_revenue"):
            row |= {"annual_revenue_currency": ""} if record == "companies" else {}
    path, who, elsewhere = book(rows), about(), about()
    mapping: dict[str, str | None] = {name: name for name in rows[0]}

    dry = imported(service, who, record, path, mapping=mapping, dry=True)
    real = imported(service, who, record, path, mapping=mapping)

    assert dry.counts == real.counts
    assert dry.as_list() == real.as_list()
    assert (
        imported(service, who, record, path, dry=True).counts["unchanged"]
        == (real.counts["created"])
    )
    _, page = answer(service, who, f"list_{record}", query=[["limit", "50"]])
    come = {item["external_id"]: item for item in page["items"]}
    assert len(come) == real.counts["created"]
    for row in rows:
        made = come.get(row["external_id"])
        if made is not None:
            values = {n: v for n, v in made.items() if n in _NEW[record].model_fields}
            status, taken = answer(service, elsewhere, f"create_{_ONE[record]}", values)
            assert status == 201, taken
            assert {n: taken[n] for n in values} == values
        else:
            status, found = answer(
                service, elsewhere, f"create_{_ONE[record]}", as_sent(record, row)
            )
            assert status == 422, (row, found, real.as_list())


@pytest.mark.parametrize("record", list(ROWS))
def test_a_file_and_the_api_take_the_same_rows_and_a_try_says_which(
    service: Any, record: str
) -> None:
    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(rows_of(record))
    def over(rows: list[dict[str, str]]) -> None:
        one_rule(service, record, rows)

    over()
