"""The demo company: the same every time, believable, and nobody real in it."""

import csv
import datetime as dt
import io
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from typing import Any

import pytest

from liaison_cli.demo import words
from liaison_cli.demo.book import Book, Deal, Size, make, slug
from liaison_cli.demo.files import File, files

TODAY = dt.date(2026, 3, 31)
# What ARCEP and Ofcom keep for films and books.
FICTION = re.compile(
    r"\+33(199 ?00|261 ?91|353 ?01|465 ?71|536 ?49|639 ?98)\d{4}"
    r"|\+44(1(13|14|15|17|18|21|31|41|51|61)4960\d{3}|2079460\d{3}|2920180\d{3}|1632960\d{3})"
    r"|\+447700900\d{3}"
)


@pytest.fixture(scope="module")
def book() -> Book:
    return make(Size(), TODAY)


@pytest.fixture(scope="module")
def deals(book: Book) -> list[Deal]:
    return book.deals + book.live


@pytest.fixture(scope="module")
def made(book: Book) -> dict[str, list[dict[str, str]]]:
    return {file.record: rows(file) for file in files(book)}


def rows(file: File) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.body.decode())))


def test_the_same_seed_and_day_make_the_same_book_in_any_process() -> None:
    script = (
        "import datetime as dt, hashlib; from liaison_cli.demo.book import *;"
        "from liaison_cli.demo.files import files;"
        "book = make(Size(40, 200), dt.date(2026, 3, 31));"
        "print(hashlib.sha256(repr((files(book), book.live, book.notes)).encode()).hexdigest())"
    )

    said = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }

    assert len(said) == 1


def test_another_seed_makes_another_company_up(book: Book) -> None:
    other = make(Size(seed=7), TODAY)

    shared = {c.name for c in other.companies} & {c.name for c in book.companies}
    assert len(shared) < 60


def test_more_people_do_not_change_the_companies(book: Book) -> None:
    assert make(Size(people=10), TODAY).companies == book.companies


def test_it_is_as_large_as_asked(made: dict[str, list[dict[str, str]]], book: Book) -> None:
    sizes = {record: len(found) for record, found in made.items()}

    assert sizes["companies"] == 300
    assert sizes["contacts"] == 3000
    assert sizes["opportunities"] + len(book.live) == 2400


@pytest.mark.parametrize("size", [Size(1, 1, 1), Size(3, 1, 1), Size(1, 20, 5)])
def test_small_ones_hold_together(size: Size) -> None:
    book = make(size, TODAY)

    assert len(book.companies) == size.companies
    assert len(book.people) == size.people
    assert book.live[0].external_id == "demo-live-001"


def test_nobody_real_can_be_reached(made: dict[str, list[dict[str, str]]]) -> None:
    for record in made.values():
        for row in record:
            for name in ("email", "website"):
                if row.get(name):
                    assert re.search(r"[@./]example\.(com|org|net)$", row[name]), row[name]
            for name in ("phone", "phone_2"):
                assert not row.get(name) or FICTION.fullmatch(row[name]), row[name]


def test_the_made_up_towns_use_numbers_kept_for_fiction() -> None:
    patterns = {town.phone for town in words.TOWNS} | set(words.MOBILES.values())

    for pattern in patterns:
        assert FICTION.fullmatch(pattern.replace(" ", "").replace("#", "1")), pattern


def test_names_of_both_countries_keep_their_accents(book: Book) -> None:
    text = " ".join(f"{person.first_name} {person.last_name}" for person in book.people)

    assert set("éèçï") & set(text.lower())
    assert Counter(person.language for person in book.people).keys() == {"fr", "en"}


def test_nothing_is_there_twice(made: dict[str, list[dict[str, str]]]) -> None:
    for record, name in [
        ("users", "name"),
        ("users", "email"),
        ("companies", "name"),
        ("companies", "website"),
        *((record, "external_id") for record in made),
    ]:
        values = Counter(row[name] for row in made[record] if row[name])
        assert values.most_common(1)[0][1] == 1, (record, name, values.most_common(1))
    emails = Counter(row["email"] for row in made["contacts"] if row["email"])
    assert emails.most_common(1)[0][1] == 1


def test_every_reference_is_in_an_earlier_file(made: dict[str, list[dict[str, str]]]) -> None:
    users = {row["email"] for row in made["users"]}
    companies = {row["external_id"] for row in made["companies"]}
    products = {row["code"] for row in made["products"]}

    assert {row["owner"] for row in made["companies"]} <= users
    assert {row["parent"] for row in made["companies"]} <= companies | {""}
    assert {row["company"] for row in made["contacts"]} <= companies
    assert {row["product"] for row in made["opportunities"]} <= products
    assert {row["company"] for row in made["opportunities"]} <= companies


def test_a_deal_goes_forward_in_time_and_never_beyond_today(deals: list[Deal]) -> None:
    for deal in deals:
        days = [step.on for step in deal.steps]
        assert days == sorted(days)
        assert days[-1] <= TODAY
        assert deal.amount > 0
        assert all(day.weekday() < 5 for day in days)


def test_there_is_a_pipeline_today_and_two_years_behind_it(deals: list[Deal]) -> None:
    stages = Counter(deal.stage for deal in deals)

    assert set(stages) == {"prospecting", "engaging", "proposal", "negotiation", "won", "lost"}
    assert 100 < sum(n for stage, n in stages.items() if stage not in ("won", "lost")) < 500
    assert (TODAY - min(deal.engaged_on for deal in deals)).days > 700


def test_august_is_quiet_and_reps_differ(deals: list[Deal]) -> None:
    months = Counter(deal.engaged_on.month for deal in deals)
    closed: dict[str, list[bool]] = defaultdict(list)
    for deal in deals:
        if deal.closed_on:
            closed[deal.owner.name].append(deal.stage == "won")
    rates = sorted(sum(won) / len(won) for won in closed.values())

    assert months[8] < months[9] / 1.5
    assert rates[0] < 0.35
    assert rates[-1] > 0.5


def test_many_companies_are_not_customers_yet(book: Book, deals: list[Deal]) -> None:
    customers = {deal.company.external_id for deal in deals if deal.stage == "won"}

    assert 0.4 < len(customers) / len(book.companies) < 0.8


def test_some_deals_are_entered_one_by_one(book: Book) -> None:
    assert {deal.stage for deal in book.live} >= {"won", "lost"}
    assert not {d.external_id for d in book.live} & {d.external_id for d in book.deals}


def test_a_slug_is_plain() -> None:
    assert slug("Boulangeries L'Œuvre & Fils") == "boulangeries-loeuvre-and-fils"


def test_a_second_run_finds_it_done(signed_in: Any, liaison: Any) -> None:
    signed_in.answers("GET", "/opportunities", (200, {"items": [{"id": "1"}], "next": None}))

    done = liaison("demo")

    assert done.exit_code == 0, done.output
    assert "in already" in done.stdout
    assert [request.method for request in signed_in.seen] == ["GET"]
    assert json.dumps(signed_in.seen[0].query["external_id"]) == '"demo-live-001"'
