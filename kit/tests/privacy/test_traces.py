"""What a subject is found by in texts: however it is written, and nobody else's."""

import re

import pytest

from liaison_kit.privacy.traces import Traces

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
