"""Text becomes values: English and French ways of writing, and errors that quote the value."""

import datetime as dt
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison_kit.imports.converting import (
    PLAIN_EMAIL,
    Formats,
    converter,
    fold,
    parse_number,
)
from liaison_kit.imports.fields import ImportField, Kind
from liaison_kit.imports.formats import Evidence, question, settle_formats


def field(kind: Kind, **options: object) -> ImportField:
    return ImportField("x", {"en": "X", "fr": "X"}, kind, **options)  # type: ignore[arg-type]


def one(kind: Kind, value: str, formats: Formats | None = None, **options: object) -> str:
    """The converted value, or the code of what is wrong with it."""
    converted = converter(field(kind, **options), formats or Formats())([value])
    wrong = converted.problems | converted.left_out
    return wrong[0].code if wrong else converted.values[0]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2017-03-01", "2017-03-01"),
        ("01/03/2017", "2017-03-01"),
        ("1.3.17", "2017-03-01"),
        ("1/3/7", "bad_date"),
        ("2017/3/1", "2017-03-01"),
        ("20170301", "2017-03-01"),
        ("1 mars 2017", "2017-03-01"),
        ("1er août 2017", "2017-08-01"),
        ("Mar 1, 2017", "2017-03-01"),
        ("March 1st, 2017", "2017-03-01"),
        ("01-déc.-68", "2068-12-01"),
        ("Wednesday, 1 March 2017", "2017-03-01"),
        ("2017-03-01T09:30:00", "2017-03-01"),
        ("2017-03-01 00:00:00", "2017-03-01"),
        ("31/02/2017", "bad_date"),
        ("2017-13-01", "bad_date"),
        ("soon", "bad_date"),
        ("0000-00-00", "bad_date"),
        ("N/A", ""),
        (" ", ""),
    ],
)
def test_dates_are_read_as_people_write_them(written: str, meant: str) -> None:
    assert one("date", written) == meant


@given(st.dates(min_value=dt.date(1000, 1, 1)))
def test_every_date_is_read_in_each_order(day: dt.date) -> None:
    assert one("date", day.isoformat()) == day.isoformat()
    assert one("date", f"{day:%d/%m/}{day.year:04d}") == day.isoformat()
    american = Formats(dates="mdy")
    assert one("date", f"{day:%m/%d/}{day.year:04d}", american) == day.isoformat()


def settled(
    kind: Kind,
    *values: str,
    others: dict[str, str] | None = None,
    country: str | None = None,
    base: Formats | None = None,
) -> tuple[Formats, str]:
    """How a column of these values is written, and how sure that is."""
    evidence = Evidence()
    evidence.add(kind, values)
    return settle_formats(field(kind), evidence, base or Formats(), others or {}, country)


def test_a_columns_order_of_day_and_month_is_found_from_its_values() -> None:
    assert settled("date", "01/02/2017", "02/25/2017") == (Formats(dates="mdy"), "")
    assert settled("date", "01/02/2017", "25/02/2017") == (Formats(dates="dmy"), "")
    assert settled("date", "2017-02-01", "05/05/2017") == (Formats(dates="dmy"), "")


def test_days_that_tell_nothing_are_asked_of_other_columns_then_of_the_country() -> None:
    american = Formats(dates="mdy")

    assert settled("date", "01/02/2017", others={"dates": "mdy"}) == (american, "guessed")
    assert settled("date", "01/02/2017", country="US", base=american) == (american, "guessed")
    assert settled("date", "01/02/2017") == (Formats(dates="dmy"), "open")


@pytest.mark.parametrize(
    ("kind", "values", "others", "decimal", "doubt"),
    [
        ("money", ("1.500", "12.000"), {}, ",", "guessed"),
        ("money", ("1,500", "12,000"), {}, ".", "guessed"),
        ("money", ("1.500", "12,50"), {}, ",", ""),
        ("money", ("1.500", "12.5"), {}, ".", ""),
        ("money", ("3.500", "2.000.000"), {}, ",", ""),
        ("money", ("1.500",), {"decimal": "."}, ",", "open"),
        ("money", ("€ 1.500",), {"decimal": ","}, ",", "guessed"),
        ("integer", ("1.000",), {}, ",", "guessed"),
        ("integer", ("1.000",), {"decimal": "."}, ",", "open"),
        ("decimal", ("1.500",), {}, ".", "open"),
        ("decimal", ("1.500",), {"decimal": ","}, ",", "guessed"),
        ("decimal", ("0.500",), {}, ".", ""),
        ("decimal", ("1500", "12"), {}, ".", ""),
    ],
)
def test_three_digits_behind_a_sign_are_read_as_the_column_or_the_file_writes_numbers(
    kind: Kind, values: tuple[str, ...], others: dict[str, str], decimal: str, doubt: str
) -> None:
    formats, found = settled(kind, *values, others=others)

    assert (formats.decimal, found) == (decimal, doubt)


def test_a_question_names_both_readings_and_the_option_that_answers_it() -> None:
    evidence = Evidence()
    evidence.add("decimal", ["1.500"])

    asked = question(field("decimal"), "Load", evidence, Formats(), "open")

    assert asked is not None
    assert asked.readings == {".": "1.5", ",": "1500"}
    assert asked.code == "ambiguous_numbers"
    assert "“1.500” may be 1.5, or 1500; options.formats.Load.decimal says" in asked.message


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1054", "1054"),
        ("1 054,50 €", "1054.50"),
        ("1 054,50", "1054.50"),
        ("1.054,50", "1054.50"),
        ("1,054.50", "1054.50"),
        ("1'054.50", "1054.50"),
        ("1,054", "1054"),
        ("1.234.567", "1234567"),
        ("0,5", "0.5"),
        ("(12.5)", "-12.5"),
        ("−3", "-3"),
        ("1e3", "1000"),
        ("1,2,3", None),
        ("12,34,567.5", None),
        ("", None),
        ("twelve", None),
        ("Infinity", None),
        ("NaN", None),
        ("١٢", "12"),
    ],
)
def test_numbers_are_read_as_people_write_them(written: str, meant: str | None) -> None:
    found = parse_number(written.removesuffix(" €"), Formats())

    assert found == (None if meant is None else Decimal(meant))


@given(st.decimals(-(10**12), 10**12, places=2))
def test_every_amount_is_read_in_french_and_in_english(amount: Decimal) -> None:
    english = f"{amount:,.2f}"
    french = english.replace(",", "\u202f").replace(".", ",")

    assert Decimal(one("money", english)) == amount
    assert Decimal(one("money", f"{french} €")) == amount
    assert Decimal(one("money", f"{amount:f}")) == amount


def test_a_columns_decimal_sign_settles_what_one_value_leaves_open() -> None:
    values = ["1,054", "2,5"]

    formats, _ = settled("decimal", *values)

    assert formats.decimal == ","
    assert one("decimal", "1,054", formats) == "1.054"


def test_an_amounts_own_currency_wins_over_the_files() -> None:
    converted = converter(field("money"), Formats(currency="EUR"))(
        ["12", "$5.5", "7 USD", "£3", "GBP 4", "", "5 € $", "1.005", "CHF 1'000.-"]
    )

    assert converted.values[:6] == ["12.00", "5.50", "7.00", "3.00", "4.00", ""]
    assert converted.currencies is not None
    assert converted.currencies[:6] == ["EUR", "USD", "USD", "GBP", "GBP", ""]
    assert {i: p.code for i, p in converted.problems.items()} == {6: "bad_money"}
    # Whether it may have so many decimals is known with the column of currencies.
    assert converted.values[7] == "1.005"
    assert (converted.values[8], converted.currencies[8]) == ("1000.00", "CHF")


def test_limits_are_kept() -> None:
    assert one("money", "-1", minimum=Decimal(0)) == "too_small"
    assert one("integer", "11", maximum=Decimal(10)) == "too_large"
    assert one("decimal", "9" * 17) == "too_large"
    assert one("integer", "1.5") == "bad_integer"
    assert one("text", "x" * 11, max_length=10) == "too_long"
    assert one("decimal", "12,5 %") == "0.125"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Jean.Dupont@Exemple.FR", "jean.dupont@exemple.fr"),
        ("mailto:a@b.co", "a@b.co"),
        ("Jean Dupont <jean@b.co>", "jean@b.co"),
        ("élodie@société.fr", "élodie@société.fr"),
        ("o'hara+x_y%z@sub.domain.museum", "o'hara+x_y%z@sub.domain.museum"),
        ("a..b@c.de", "bad_email"),
        (".a@c.de", "bad_email"),
        ("a@b", "bad_email"),
        ("a@-b.de", "bad_email"),
        ("a@b-.de", "bad_email"),
        ("a b@c.de", "bad_email"),
        ("a@b.de, c@d.de", "bad_email"),
        ("x" * 400 + "@b.de", "too_long"),
        ("n/a", ""),
    ],
)
def test_emails_are_checked(written: str, meant: str) -> None:
    assert one("email", written) == meant


@pytest.mark.parametrize("address", ["a@b.co", "jean.dupont+x_y@sub.exemple-sa.fr"])
def test_most_emails_need_no_second_look(address: str) -> None:
    assert PLAIN_EMAIL.fullmatch(address)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("(5) 555-4729", "(5) 555-4729"),
        ("030-0074321", "030-0074321"),
        ("+33\u00a06\u202f12 34 56 78", "+33 6 12 34 56 78"),
        ("(206) 555-9857 ext. 12", "(206) 555-9857 x12"),
        ("tel:+4930123", "+4930123"),
        ("01 99 00 12 34 / 01 99 00 56 78", "01 99 00 12 34 / 01 99 00 56 78"),
        ("0199001234/0199005678", "0199001234 / 0199005678"),
        ("0199001234, 0199005678", "0199001234 / 0199005678"),
        ("0199001234, 0199001234", "0199001234"),
        ("030/901820", "030/901820"),
        ("'0199001234", "0199001234"),
        ("=+33199001234", "+33199001234"),
        ("+1 555 010 0199 (Reception)", "+1 555 010 0199"),
        ("٠١٢٣٤٥٦٧٨٩", "0123456789"),
        ("1-800-FLOWERS", "1-800-FLOWERS"),
        ("n/a", ""),
        ("6.12E+08", "bad_phone"),
        ("call after 5pm", "bad_phone"),
        ("call me", "bad_phone"),
        ("12", "bad_phone"),
    ],
)
def test_phones_are_checked(written: str, meant: str) -> None:
    assert one("phone", written).replace("\u00a0", " ").replace("\u202f", " ") == meant


def test_a_phone_that_is_none_costs_nobody_the_rest_of_their_row() -> None:
    optional = converter(field("phone"), Formats())(["call me", "+33 1 99 00 12 34"])
    required = converter(field("phone", required=True), Formats())(["call me"])

    assert (optional.problems, optional.values) == ({}, ["", "+33 1 99 00 12 34"])
    assert optional.left_out[0].code == "bad_phone"
    assert required.problems[0].code == "bad_phone"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("Oui", "true"), ("non", "false"), ("1", "true"), ("VRAI", "true"), ("maybe", "bad_boolean")],
)
def test_yes_and_no_are_read_in_both_languages(written: str, meant: str) -> None:
    assert one("boolean", written) == meant


def test_moments_get_the_files_time_zone() -> None:
    paris = Formats(timezone="Europe/Paris")

    assert one("datetime", "2017-07-01 09:30", paris) == "2017-07-01T09:30:00+02:00"
    assert one("datetime", "01/07/2017 9h30", paris) == "2017-07-01T09:30:00+02:00"
    assert one("datetime", "2017-07-01T09:30:00Z", paris) == "2017-07-01T09:30:00+00:00"
    assert one("datetime", "01/07/2017", paris) == "2017-07-01T00:00:00+02:00"
    assert one("datetime", "01/07/2017 25:99") == "bad_datetime"


def test_tags_and_addresses() -> None:
    assert json.loads(one("tags", "vip; Lyon , vip|")) == ["vip", "Lyon"]
    assert one("tags", " ; ") == ""
    assert one("url", "www.exemple.fr/a?b") == "https://www.exemple.fr/a?b"
    assert one("url", "not an address") == "bad_url"


KINDS: list[Kind] = ["text", "email", "phone", "url", "integer", "decimal", "money", "date"]
KINDS += ["datetime", "boolean", "tags"]


@given(
    st.sampled_from(KINDS),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=20),
)
def test_whatever_stands_in_a_cell_becomes_a_value_or_an_error(
    kind: Kind, column: list[str]
) -> None:
    converted = converter(field(kind), Formats())(column)

    assert len(converted.values) == len(column)
    assert all(isinstance(value, str) for value in converted.values)
    assert all(converted.values[i] == "" for i in converted.problems)


@given(st.text(max_size=30))
def test_folding_twice_is_folding_once(value: str) -> None:
    assert fold(fold(value)) == fold(value)
