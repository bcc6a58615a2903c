"""What a subject is found by in texts: however it is written, and nobody else's."""

import re

import pytest

from liaison_kit.privacy.traces import Traces, telling

CODE = Traces(texts=["B-4711 x", 'says "so"\nand so on and so on'])
ZOE = Traces(emails=["zoe@x.example"], phones=["+33612345678"], names=[("Zoé", "Martin")])


def found(text: str) -> bool:
    pattern = ZOE.pattern()
    assert pattern is not None
    return re.search(pattern, text, re.IGNORECASE) is not None


@pytest.mark.parametrize(
    "text",
    [
        "mail ZOE@x.example today",
        "06 12 34 56 78",
        "0612345678",
        "+33 (0)6.12.34.56.78",
        "0033612345678",
        "Dear Zoé  Martin,",
        "MARTIN, Zoé",
        "zoe martin",
        '"Zo\\u00e9 Martin"',
    ],
)
def test_a_subject_is_found(text: str) -> None:
    assert found(text)


@pytest.mark.parametrize(
    "text",
    [
        "carlazoe@x.example",
        "zoe@x.example-two.example",
        "06 12 34 56 79",
        "6123456780",
        "Zoé Martinez",
        "Martin",
        "Zoé",
    ],
)
def test_others_are_not(text: str) -> None:
    assert not found(text)


def test_who_shares_everything_is_found_by_nothing() -> None:
    assert Traces(phones=["112"], names=[("", "Lee")]).pattern() is None


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("badge B-4711 x.", True),
        ('{"badge": "b-4711 X"}', True),
        ("AB-4711 x", False),
        ("B-4711 xy", False),
        (r'{"a": "says \"so\"\nand so on and so on"}', True),
    ],
)
def test_what_a_personal_field_says_is_found_whole_and_as_json_writes_it(
    text: str, there: bool
) -> None:
    pattern = CODE.pattern()
    assert pattern is not None
    assert (re.search(pattern, text, re.IGNORECASE) is not None) == there


@pytest.mark.parametrize(
    ("value", "is_looked_for"),
    [
        ("B-4711", True),
        ("likes tea in the afternoon", True),
        ("vegetarian", False),
        ("1980-01-01", False),
        ("12", False),
        (150_000, False),
        (True, False),
    ],
)
def test_only_what_can_mean_nobody_else_is_looked_for(value: object, is_looked_for: bool) -> None:
    assert telling(value) == is_looked_for
