"""Files as people have them, where they are at hand: each comes in as its owner means it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.system import Api, Tenant, wait_for

_ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("LIAISON_DATA", _ROOT.parent / "shared" / "data")) / "odd-files"

Seen = Callable[[dict[str, Any]], Any]


def price(item: dict[str, Any]) -> tuple[str, str]:
    return item["list_price"]["amount"], item["list_price"]["currency"]


def names(item: dict[str, Any]) -> tuple[str, str]:
    return item["first_name"], item["last_name"]


def city(item: dict[str, Any]) -> str:
    return str(item["addresses"][0]["city"])


FILES: dict[str, tuple[str, dict[str, int], Seen, set[Any]]] = {
    "01-blank-first-name.csv": (
        "contacts",
        {"created": 3},
        names,
        {("", "Blankfirst"), ("Blanklast", ""), ("Both", "Names")},
    ),
    "02-errors-file-503.csv": ("products", {"created": 1, "failed": 1}, lambda i: 1, {1}),
    "03a-dot-thousands-prices.csv": (
        "products",
        {"created": 3},
        price,
        {("1500.00", "EUR"), ("12000.00", "EUR"), ("2500.00", "EUR")},
    ),
    "03b-dot-thousands-companies.csv": (
        "companies",
        {"created": 3},
        lambda i: (i["employees"], i["annual_revenue"]["amount"]),
        {(1000, "2000000.00"), (12000, "3500.00"), (2000, "150000.00")},
    ),
    "05-unclosed-quote.csv": ("contacts", {"created": 3, "failed": 1}, lambda i: 1, {1}),
    "08-leading-zero-format.xlsx": (
        "contacts",
        {"created": 2},
        lambda i: i["addresses"][0]["postal_code"],
        {"01000"},
    ),
    "09-long-ids.xlsx": (
        "contacts",
        {"created": 6},
        lambda i: i["external_id"][:16],
        {"1234567890123456", "123456789012345", "12345", "12345.5", "1200000000000000", "true"},
    ),
    "10-currency-format.xlsx": (
        "products",
        # It shows ¥1,500 and holds 1500.4, of which no yen has the decimals.
        {"created": 1, "failed": 1},
        lambda i: i["list_price"]["currency"],
        {"USD"},
    ),
    "11-semicolons-in-cells.csv": ("contacts", {"created": 25}, lambda i: len(i["tags"]), {4}),
    "13a-odd-mail-domains.csv": (
        "contacts",
        {"created": 3},
        lambda i: i["emails"][0]["address"],
        {"loc.al@qa-corp.local", "un.der@qa_under.example", "te.st@qa-x.test"},
    ),
    "13b-unicode-mail.csv": (
        "contacts",
        {"created": 2},
        lambda i: i["emails"][0]["address"],
        {"info@bücher.example", "élodie@qa-uni.example"},
    ),
    "14-phones.csv": ("contacts", {"created": 20}, lambda i: i["last_name"], {"Phone"}),
    "15-last-comma-first.csv": ("contacts", {"created": 1}, names, {("Jean", "Dupont")}),
    "16-two-sheets.xlsx": ("contacts", {"created": 1}, names, {("Sec", "Sheet")}),
    "21-formula-in-errors-file.csv": (
        "contacts",
        {"created": 1, "failed": 2},
        lambda i: i["last_name"],
        {"Formula"},
    ),
    "25-long-cell.csv": ("contacts", {"created": 3, "failed": 1}, lambda i: 1, {1}),
}


@pytest.fixture(scope="module")
def folder() -> Path:
    if not FOLDER.is_dir():
        pytest.skip("the shared data is not here")
    return FOLDER


def ended(api: Api, started: Any) -> None:
    assert started.status_code == 202, started.text
    job = started.json()["job"]
    wait_for(
        "the job ends",
        lambda: api.see(f"/jobs/{job}")["status"] not in ("queued", "running"),
    )


def handed_in(api: Api, record: str, file: Path, **read_as: str) -> dict[str, Any]:
    made = api.post(
        "/imports",
        params={"record": record, **read_as},
        files={"file": (file.name, file.read_bytes())},
    )
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


def brought(api: Api, record: str, file: Path, **read_as: str) -> dict[str, Any]:
    """Try a file dry, then bring it in; both count the same rows."""
    id = handed_in(api, record, file, **read_as)["id"]
    ended(api, api.post(f"/imports/{id}/dry-run"))
    dry = api.see(f"/imports/{id}")
    ended(api, api.post(f"/imports/{id}/start"))
    real = api.see(f"/imports/{id}")
    would = {verb: dry["counts"].get(f"would_{verb}", 0) for verb in ("create", "update", "fail")}
    did = {verb: real["counts"].get(f"{verb}d", 0) for verb in ("create", "update")}
    assert would == did | {"fail": real["counts"].get("failed", 0)}
    return real


@pytest.mark.parametrize("name", FILES)
def test_an_odd_file_comes_in_as_it_is_meant(
    new_tenant: Callable[[], Tenant], folder: Path, name: str
) -> None:
    record, counts, seen, expected = FILES[name]
    api = new_tenant().api

    real = brought(api, record, folder / name)

    assert {n: c for n, c in real["counts"].items() if c and n != "left_out"} == counts, real
    assert {seen(item) for item in api.every(f"/{record}")} == expected
    if counts.get("failed"):
        errors = api.get(f"/imports/{real['id']}/errors")
        assert errors.status_code == 200
        assert len(errors.text.strip().splitlines()) > counts["failed"]


@pytest.mark.parametrize(
    ("name", "encoding", "expected"),
    [("04a-cp1251.csv", "windows-1251", "Илья"), ("04b-cp1250.csv", "windows-1250", "Jiří")],
)
def test_letters_of_another_country_are_read_or_asked_for(
    new_tenant: Callable[[], Tenant], folder: Path, name: str, encoding: str, expected: str
) -> None:
    api = new_tenant().api

    brought(api, "contacts", folder / name, encoding=encoding)

    assert expected in {item["first_name"] for item in api.every("/contacts")}


def test_two_products_of_one_name_are_two_and_are_taken_back_latest_first(
    new_tenant: Callable[[], Tenant], folder: Path
) -> None:
    api = new_tenant().api
    first = brought(api, "products", folder / "12a-sku-first.csv")
    second = brought(api, "products", folder / "12b-sku-second.csv")
    codes = {item["code"] for item in api.every("/products")}

    for each in (second, first):
        ended(api, api.post(f"/imports/{each['id']}/rollback"))

    assert codes == {"QC-1", "QC-2"}
    assert api.every("/products") == []
    assert api.see(f"/imports/{first['id']}")["counts"]["kept"] == 0


def test_the_errors_of_each_record_are_at_hand(tenant: Tenant, tmp_path: Path) -> None:
    bad = {
        "products": "name,list price\nGood,5\nBad,five\n",
        "opportunities": "name,amount\nGood,5\nBad,five\n",
        "users": "name,email\nGood,good@x.example\nBad,bad at x\n",
        "companies": "name,employees\nGood,5\nBad,five\n",
        "contacts": "last name,email\nGood,g@x.example\nBad,bad at x\n",
    }
    for record, rows in bad.items():
        file = tmp_path / f"{record}.csv"
        file.write_text(rows)

        real = brought(tenant.api, record, file)

        assert (real["counts"]["created"], real["counts"]["failed"]) == (1, 1), real
        errors = tenant.api.get(f"/imports/{real['id']}/errors")
        assert errors.status_code == 200, errors.text
        assert "Bad" in errors.text


def test_a_book_that_is_taken_back_takes_its_customers_with_it(
    tenant: Tenant, tmp_path: Path
) -> None:
    api = tenant.api
    company = api.make("/companies", name="Taken Back SA")
    file = tmp_path / "deals.csv"
    file.write_text("id,name,company,stage,close date\nD1,Chairs,Taken Back SA,Won,2020-02-03\n")

    def at(stage: str) -> dict[str, Any] | None:
        found = api.see(f"/companies/{company['id']}")
        return found if found["stage"] == stage else None

    def kinds() -> list[str]:
        return [e["kind"] for e in api.every(f"/companies/{company['id']}/timeline")]

    first = brought(api, "opportunities", file)
    wait_for("it is a customer", lambda: at("customer"))
    ended(api, api.post(f"/imports/{first['id']}/rollback"))
    back = wait_for("it is what it was", lambda: at(company["stage"]))
    assert back["customer_since"] is None
    assert "deal_won" not in kinds()

    brought(api, "opportunities", file)
    again = wait_for("it is a customer again", lambda: at("customer"))
    assert again["customer_since"] == "2020-02-03"
    assert kinds().count("deal_won") == 1
