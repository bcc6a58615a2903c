"""A SIREN is kept once its digits check, and its panel tells what follows from it."""

from typing import Any
from uuid import uuid4

import pluggy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import liaison_siren as plugin
from liaison_sdk import hooks
from liaison_sdk.hooks import Done, RecordFacts, Refused


def company(number: Any = None) -> RecordFacts:
    return RecordFacts("companies", uuid4(), {"name": "Acme", "custom": {plugin.FIELD: number}})


@pytest.mark.parametrize(
    "entered",
    ["732829320", "732 829 320", "732.829.320", "73282932000074", "732 829 320 00074"],
)
def test_a_siren_or_a_siret_is_taken_however_it_is_spaced(entered: str) -> None:
    answer = plugin.do_action("enter", company(), {"number": entered})

    assert answer == Done({"siren_number": "732829320"})


@pytest.mark.parametrize(
    "entered", ["732829321", "73282932000075", "7328293", "FR44732829320", "٧٣٢٨٢٩٣٢٠", ""]
)
def test_what_is_none_is_refused_and_why_is_said(entered: str) -> None:
    answer = plugin.do_action("enter", company(), {"number": entered})

    assert isinstance(answer, Refused)
    assert set(answer.errors) == {"number"}


@given(st.integers(0, 10**8 - 1), st.integers(0, 8), st.integers(1, 9))
def test_one_wrong_digit_is_found_out(start: int, place: int, by: int) -> None:
    eight = f"{start:08d}"
    siren = next(f"{eight}{last}" for last in range(10) if plugin.siren_of(f"{eight}{last}"))
    wrong = siren[:place] + str((int(siren[place]) + by) % 10) + siren[place + 1 :]

    assert plugin.siren_of(siren) == siren
    assert plugin.siren_of(wrong) is None


def test_post_offices_have_numbers_of_their_own() -> None:
    assert plugin.siren_of("356 000 000 00002") is None
    assert plugin.siren_of("356 000 000 49837") == "356000000"


def test_the_panel_shows_the_number_its_vat_number_and_the_register() -> None:
    number, vat = plugin.draw_panel("card", company("732829320")).rows

    assert (number.value, number.tone) == ("732 829 320", "green")
    assert number.link == "https://annuaire-entreprises.data.gouv.fr/entreprise/732829320"
    assert vat.value == "FR44732829320"


def test_the_panel_says_that_there_is_none_or_that_it_is_wrong() -> None:
    none, wrong = (plugin.draw_panel("card", company(n)) for n in (None, "123"))

    assert (none.rows, none.note is not None) == ((), True)
    assert [row.tone for row in wrong.rows] == ["red"]
    assert wrong.note is not None


def test_it_answers_the_hooks_that_the_sdk_specifies() -> None:
    manager = pluggy.PluginManager("liaison")
    manager.add_hookspecs(hooks)

    manager.register(plugin)

    manager.check_pending()
    for name in ("screen_additions", "draw_panel", "do_action"):
        assert getattr(manager.hook, name).get_hookimpls()
