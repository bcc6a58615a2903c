"""Texts are folded alike by Python and by PostgreSQL, and as search folds them."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Text, bindparam, cast, select

from liaison_kit.conditions.folding import folded, folded_column
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.records.search import fold

COLUMN = select(folded_column(cast(bindparam("text", type_=Text), Text)))
# What PostgreSQL's text can hold.
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
# The letters of what is written here mostly, with their accents.
LATIN = st.text(st.characters(max_codepoint=0x24F, exclude_characters="\x00"))
SCRIPTS = st.text(st.characters(min_codepoint=0x1, max_codepoint=0x52F))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(texts=st.lists(TEXTS | LATIN | SCRIPTS, min_size=1, max_size=10))
def test_postgresql_folds_as_python_does(db: Database, someone: Context, texts: list[str]) -> None:
    with db.session(someone) as session:
        for text in texts:
            assert session.scalar(COLUMN, {"text": text}) == folded(text)


def test_every_character_that_may_have_an_accent_is_folded_alike(
    db: Database, someone: Context
) -> None:
    every = "".join(map(chr, range(1, 0x3000)))

    with db.session(someone) as session:
        assert session.scalar(COLUMN, {"text": every}) == folded(every)


@given(text=TEXTS | LATIN)
def test_folding_again_changes_nothing(text: str) -> None:
    assert folded(folded(text)) == folded(text)


@pytest.mark.parametrize(
    "text", ["Élan", "E\u0301lan", "Straße", "ŒUVRE", "Ǽsir", "İstanbul", "Łódź", "Ελλάδα", "Йод"]
)
def test_words_are_folded_as_search_folds_them(text: str) -> None:
    assert folded(text) == fold(text)
