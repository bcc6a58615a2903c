"""Columns find their fields, values find what they name."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison_kit.imports.fields import Importable
from liaison_kit.imports.mapping import Suggestion, suggest, words
from liaison_kit.imports.matching import Choices, Seen, match_values, nearest

from .book import DEALS, FIRMS, PEOPLE, PRODUCTS, SECTORS


def suggestions(
    importable: Importable, header: list[str], rows: list[list[str]]
) -> dict[str, Suggestion]:
    fields = [copy for spec in importable.fields for copy in spec.expanded()]
    samples = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    return {found.column: found for found in suggest(header, samples, fields)}


def mapped(importable: Importable, header: list[str], *rows: list[str]) -> dict[str, str | None]:
    return {c: s.field for c, s in suggestions(importable, header, list(rows)).items()}


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("ContactName", "contact name"),
        ("contact_name", "contact name"),
        ("Prénom :", "prenom"),
        ("HTTPServerURL", "http server url"),
        ("Chiffre d’affaires (k€)", "chiffre d affaires k"),
    ],
)
def test_headers_are_compared_as_plain_words(name: str, plain: str) -> None:
    assert words(name) == plain


def test_french_and_english_headers_find_their_fields() -> None:
    assert mapped(PEOPLE, ["Nom", "Prénom", "E-mail", "Téléphone", "Code Postal", "X"]) == {
        "Nom": "last_name",
        "Prénom": "first_name",
        "E-mail": "email",
        "Téléphone": "phone",
        "Code Postal": "postcode",
        "X": None,
    }
    assert mapped(PEOPLE, ["LastName", "FirstName", "emailAddress", "Frist name"]) == {
        "LastName": "last_name",
        "FirstName": "first_name",
        "emailAddress": "email",
        "Frist name": None,
    }


def test_values_speak_where_the_header_does_not() -> None:
    found = suggestions(
        PEOPLE, ["a", "b"], [["x", "zoe@exemple.fr"], ["y", "luc@exemple.fr"], ["z", ""]]
    )

    assert found["b"].field == "email"
    assert "100%" in found["b"].reason
    assert found["a"].field is None


def test_a_field_gets_one_column_only() -> None:
    found = mapped(PEOPLE, ["email", "mail", "e-mail 2"], ["a@b.fr", "c@d.fr", "e@f.fr"])

    assert found == {"email": "email", "mail": None, "e-mail 2": "email_2"}


def test_a_name_whose_values_do_not_fit_is_less_sure() -> None:
    found = suggestions(DEALS, ["closed", "close dat"], [["soon", "later"], ["never", "x"]])

    assert found["closed"].confidence == 0.5 or found["closed"].field is None
    assert found["close dat"].field is None


@pytest.mark.parametrize(
    ("importable", "file", "expected"),
    [
        (
            FIRMS,
            "crm-sales-opportunities/accounts.csv",
            {
                "account": "name",
                "sector": "sector",
                "year_established": "founded",
                "revenue": "revenue",
                "employees": "staff",
                "office_location": "place",
                "subsidiary_of": "parent",
            },
        ),
        (
            DEALS,
            "crm-sales-opportunities/sales_pipeline.csv",
            {
                "opportunity_id": "external_id",
                "sales_agent": "agent",
                "product": "product",
                "account": "firm",
                "deal_stage": "stage",
                "engage_date": "opened",
                "close_date": "closed",
                "close_value": "value",
            },
        ),
        (
            FIRMS,
            "northwind/customers.csv",
            {
                "customer_id": "external_id",
                "company_name": "name",
                "contact_name": "contact",
                "contact_title": None,
                "address": None,
                "city": "place",
                "region": None,
                "postal_code": None,
                "country": None,
                "phone": "phone",
                "fax": None,
            },
        ),
    ],
)
def test_the_real_headers_are_understood(
    real_data: Path, importable: Importable, file: str, expected: dict[str, str | None]
) -> None:
    with (real_data / file).open(encoding="utf-8") as lines:
        header, *rows = list(csv.reader(lines))

    assert mapped(importable, header, *rows[:200]) == expected


def test_the_nearest_name_ignores_spaces_case_and_accents() -> None:
    assert nearest(["GTXPro", "gtx-basic"], PRODUCTS) == {
        "GTXPro": ("GTX Pro", 100),
        "gtx-basic": ("GTX Basic", 100),
    }
    assert nearest(["technolgy"], list(SECTORS))["technolgy"][0] == "technology"
    assert nearest(["something else entirely"], PRODUCTS) == {}


@given(st.lists(st.text(max_size=10), max_size=5), st.lists(st.text(max_size=10), max_size=5))
def test_the_nearest_name_is_always_one_of_the_names(values: list[str], names: list[str]) -> None:
    assert {name for name, _ in nearest(values, names).values()} <= set(names)


def seen(*values: str) -> Seen:
    found = Seen()
    found.add(range(2, 2 + len(values)), values)
    return found


def test_each_distinct_value_is_matched_once() -> None:
    column = ("Won", " won ", "GAGNÉ", "", "lots", "lots")
    choices = Choices({"won": ("gagné",), "lost": ("perdu",)})

    matched = match_values(None, "stage", "Stage", seen(*column), choices, value_map={})  # type: ignore[arg-type]

    converted = matched.convert(column)
    assert converted.values == ["won", "won", "won", "", "", ""]
    assert {i: p.code for i, p in converted.problems.items()} == {
        4: "unknown_value",
        5: "unknown_value",
    }
    (unknown,) = matched.unmatched
    assert (unknown.value, unknown.count, unknown.rows, unknown.nearest) == (
        "lots",
        2,
        (6, 7),
        "lost",
    )


def test_a_mapped_value_counts_as_what_it_is_mapped_to() -> None:
    choices = Choices({"GTX Pro": ()})
    value_map = {"gtxpro": "GTX Pro", "none of it": None}

    matched = match_values(
        None,  # type: ignore[arg-type]
        "product",
        "product",
        seen("GTXPro", "None of it", "GTX Pro"),
        choices,
        value_map=value_map,
    )

    assert matched.convert(["GTXPro", "None of it"]).values == ["GTX Pro", ""]
    assert not matched.unmatched
