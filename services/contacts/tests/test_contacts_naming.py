"""A name in one piece is taken apart by what it says itself, or by the habit of its list."""

import pytest

from liaison_contacts import naming


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("Dupont, Jean", "Jean", "Dupont"),
        ("van den Berg , Anna Maria", "Anna Maria", "van den Berg"),
        ("Smith, John, Jr.", "John", "Smith, Jr."),
        ("John Smith, PhD", "John", "Smith, PhD"),
        ("Jean Dupont", "Jean", "Dupont"),
        ("Jean-Paul Marie Dupont", "Jean-Paul Marie", "Dupont"),
        ("Vincent van Gogh", "Vincent", "van Gogh"),
        ("Charles de Gaulle", "Charles", "de Gaulle"),
        ("Madonna", "", "Madonna"),
        ("Acme, Inc.", "", "Acme, Inc."),
        ("Dupont,", "", "Dupont"),
        ("", "", ""),
        (",", "", ","),
    ],
)
def test_one_name_is_split_by_itself(name: str, first: str, last: str) -> None:
    assert naming.split([name, "Anne Roy", "Bo Li"])[0] == (first, last)


def test_capitals_tell_the_last_name_where_the_list_has_the_habit() -> None:
    first = ["DUPONT Jean", "DE LA TOUR Anne Marie", "O'NEIL Bo", "Roy, Léa"]
    last = ["Jean DUPONT", "Anne Marie DE LA TOUR", "J. P. MARTIN"]

    assert naming.split(first) == [
        ("Jean", "DUPONT"),
        ("Anne Marie", "DE LA TOUR"),
        ("Bo", "O'NEIL"),
        ("Léa", "Roy"),
    ]
    assert naming.split(last) == [
        ("Jean", "DUPONT"),
        ("Anne Marie", "DE LA TOUR"),
        ("J. P.", "MARTIN"),
    ]


def test_one_name_in_capitals_is_no_habit() -> None:
    names = ["IBM Support", "Jean Dupont", "Anne Roy", "Bo Li", "Léa Petit"]

    assert naming.split(names)[0] == ("IBM", "Support")


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("LEFÈVRE Hélène", "Hélène", "LEFÈVRE"),
        ("Dubois (M.) Jean-Marc", "Jean-Marc", "Dubois"),
        ("Ng Thi Minh", "Thi Minh", "Ng"),
        ("Le Goff Anaïs", "Anaïs", "Le Goff"),
        ("de La Tour Jean", "Jean", "de La Tour"),
        ("Dupont, Jean", "Jean", "Dupont"),
        ("Cher", "", "Cher"),
        ("Le", "", "Le"),
        ("", "", ""),
    ],
)
def test_a_heading_may_say_that_last_names_come_first(name: str, first: str, last: str) -> None:
    assert naming.split_last_first([name]) == [(first, last)]
