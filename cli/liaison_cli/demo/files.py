"""The book as the files that go through Liaison's import, columns named as the fields they feed."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from liaison_cli.demo import words
from liaison_cli.demo.book import Book


@dataclass(frozen=True, slots=True)
class File:
    """A CSV file in memory; each column is called like the field that it feeds."""

    record: str
    columns: tuple[str, ...]
    body: bytes

    @property
    def name(self) -> str:
        """What it is called in the list of imports."""
        return f"demo-{self.record}.csv"


def files(book: Book) -> list[File]:
    """Every file, in the order in which they refer to each other."""
    return [users(book), products(), companies(book), contacts(book), opportunities(book)]


def users(book: Book) -> File:
    """Who works for us."""
    columns = ("external_id", "name", "email", "title", "manager", "team", "region")
    rows = ([getattr(user, column) for column in columns] for user in book.users)
    return _file("users", columns, rows)


def products() -> File:
    """What we sell, and what we do not sell any more."""
    rows = (
        (f"demo-{item.code}", item.code, item.name, item.family, f"{item.price:.2f} EUR", active)
        for items, active in ((words.CATALOGUE, "true"), ((words.RETIRED,), "false"))
        for item in items
    )
    columns = ("external_id", "code", "name", "family", "list_price", "active")
    return _file("products", columns, rows)


def companies(book: Book) -> File:
    """Whom we sell to."""
    columns = (
        "external_id", "name", "parent", "owner", "industry", "website", "year_founded",
        "employees", "annual_revenue", "email", "phone", "street", "postal_code", "city",
        "region", "country", "tags", "custom.size_band", "custom.sites",
    )  # fmt: skip
    rows = (
        (
            c.external_id, c.name, c.parent, c.owner.email, c.trade.industry, c.website, c.founded,
            c.employees, f"{c.revenue} {c.currency}", c.email, c.phone, c.street, c.postcode,
            c.town.name, c.town.area, words.COUNTRY_NAMES[c.town.country], ", ".join(c.tags),
            c.size, c.sites,
        )
        for c in book.companies
    )  # fmt: skip
    return _file("companies", columns, rows)


def contacts(book: Book) -> File:
    """The people who work for them."""
    columns = (
        "external_id", "first_name", "last_name", "title", "company", "owner", "email", "phone",
        "phone_2", "city", "country", "tags", "custom.language", "custom.newsletter",
    )  # fmt: skip
    rows = (
        (
            p.external_id, p.first_name, p.last_name, p.title, p.company.external_id,
            p.company.owner.email, p.email, p.phone or p.mobile, p.mobile if p.phone else "",
            p.company.town.name, words.COUNTRY_NAMES[p.company.town.country], ", ".join(p.tags),
            p.language, str(p.newsletter).lower(),
        )
        for p in book.people
    )  # fmt: skip
    return _file("contacts", columns, rows)


def opportunities(book: Book) -> File:
    """Two years of deals, but for the latest few."""
    columns = (
        "external_id", "name", "owner", "product", "company", "stage", "amount", "engaged_on",
        "expected_close", "closed_on", "win_reason", "lost_reason", "custom.source",
        "custom.competitor",
    )  # fmt: skip
    rows = (
        (
            d.external_id, d.name, d.owner.email, d.item.code, d.company.external_id, d.stage,
            f"{d.amount} {d.company.currency}", d.engaged_on, d.expected_close, d.closed_on or "",
            d.steps[-1].reason if d.stage == "won" else "",
            d.steps[-1].reason if d.stage == "lost" else "", d.source, d.competitor,
        )
        for d in book.deals
    )  # fmt: skip
    return _file("opportunities", columns, rows)


def _file(record: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> File:
    out = io.StringIO(newline="")
    lines = csv.writer(out)
    lines.writerow(columns)
    lines.writerows(rows)
    return File(record, tuple(columns), out.getvalue().encode())
