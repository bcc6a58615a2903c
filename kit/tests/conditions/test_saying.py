"""Every condition has its words, in English and in French."""

import datetime as dt
from collections.abc import Callable
from typing import Any, get_args
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from liaison_kit.conditions import Condition, parse, said
from liaison_kit.conditions.moments import ANCHORS, UNITS
from liaison_kit.conditions.saying import PHRASES, Language
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.records.operators import BY_KIND
from liaison_kit.records.recordtype import FieldKind

from .samples import CUSTOM, SAMPLES

LANGUAGES: tuple[Language, ...] = get_args(Language)
VALUES: dict[str, Any] = {
    "text": "lead",
    "integer": 12345,
    "decimal": "12345.5",
    "money": {"amount": "12345.5", "currency": "EUR"},
    "date": "2026-03-01",
    "datetime": "2026-03-01T09:30:00Z",
    "boolean": True,
    "id": str(UUID(int=7)),
    "list": "lead",
}


def relative(anchor: str, offset: int = 0, unit: str = "day") -> dict[str, Any]:
    return {"mode": "relative", "anchor": anchor, "offset": offset, "unit": unit}


def test_a_whole_condition_reads_as_a_sentence(condition: Callable[..., Condition]) -> None:
    inner = {
        "combinator": "or",
        "rules": [
            {"field": "price", "operator": ">", "value": 10_000},
            {"field": "tags", "operator": "contains", "value": "vip"},
        ],
    }
    stage = {"field": "stage", "operator": "=", "value": "customer"}
    asked = condition(tree={"combinator": "and", "rules": [stage, inner]})

    assert said(asked, "en") == "Stage is customer and (amount is over 10,000 or tags has vip)"
    assert said(asked, "fr") == (
        "Étape est customer et (montant est au-dessus de 10\u202f000 ou étiquettes : avec vip)"
    )
    names = {"customer": "Client"}
    assert said(asked, "fr", names).startswith("Étape est Client et")


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", "Owner is one of me or Ann"), ("fr", "Responsable est parmi moi ou Ann")],
)
def test_who_reads_it_is_called_me(
    db: Database, somebody: Context, language: Language, words: str
) -> None:
    me, ann = UUID(int=1), UUID(int=2)
    rule = {"field": "owner_id", "operator": "in", "value": ["me", str(ann)]}
    with db.reading(somebody) as session:
        asked = parse(session, SAMPLES, {"combinator": "and", "rules": [rule]}, me=me)

    assert said(asked, language, {str(ann): "Ann"}, me=me) == words


def test_what_is_turned_round_stands_in_brackets(condition: Callable[..., Condition]) -> None:
    size = {"field": "size", "operator": "null"}
    one = {"combinator": "or", "rules": [size]}
    turned = {"combinator": "or", "not": True, "rules": [size, one]}
    asked = condition(tree={"combinator": "and", "rules": [one, turned]})

    assert said(asked, "en") == "Size is empty and not (size is empty or size is empty)"
    assert said(asked, "fr") == "Taille est vide et non (taille est vide ou taille est vide)"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_operator_of_every_kind_has_words_of_its_own(
    condition: Callable[..., Condition], language: Language
) -> None:
    told: dict[str, set[str]] = {}
    asked: set[tuple[str, str]] = set()
    fields = {
        name: ("text" if info.part else info.kind, info.operators)
        for name, info in SAMPLES.fields.items()
    }
    fields |= {"custom.pick": ("text", fields["stage"][1]), "custom.day": fields["made_on"]}
    for name, (kind, operators) in fields.items():
        for operator in operators:
            value: Any = VALUES[kind]
            if name == "custom.pick":
                value = "red"
            elif name == "code":
                value = "AB"
            if operator in ("between", "notBetween"):
                value = [value, value]
            words = said(condition((name, operator, value)), language)
            asked.add((kind, operator))
            told.setdefault(name, set()).add(words)
            assert "{" not in words
        # Two operators of a field are told apart, but for two names of the same.
        alike = {"text": 2, "list": 4, "id": 2}.get(kind, 2)
        assert len(told.get(name, ())) >= len(operators) - alike

    assert asked == {(kind, operator) for kind, all in BY_KIND.items() for operator in all}
    assert set(CUSTOM) >= {"pick", "day"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_relative_day_has_words_of_its_own(
    condition: Callable[..., Condition], language: Language
) -> None:
    words = {
        said(condition(("seen_at", "=", relative(anchor, offset, unit))), language)
        for anchor in ANCHORS
        for unit in UNITS
        if anchor == "now" or unit not in ("minute", "hour")
        for offset in (-2, -1, 1, 2)
    }

    # The start and the end of a day are the same day.
    assert len(words) == (len(ANCHORS) - 2) * 4 * 4 + 6 * 4


@pytest.mark.parametrize(
    ("rule", "en", "fr"),
    [
        (("size", "<=", 1999), "Size is at most 1999", "Taille est au plus à 1999"),
        (("ratio", ">", "0.12345"), "Ratio is over 0.12345", "Rapport est au-dessus de 0,12345"),
        (
            ("price", "<", {"amount": "1234.5", "currency": "EUR"}),
            "Amount is under €1,234.50",
            "Montant est en dessous de 1\u202f234,50\u00a0€",
        ),
        (
            ("made_on", "between", ["2026-03-01", "2026-04-01"]),
            "Made on is between March 1, 2026 and April 1, 2026",
            "Fait le est entre le 1 mars 2026 et le 1 avril 2026",
        ),
        (
            ("seen_at", ">=", "2026-03-01T09:30:00Z"),
            "Seen is not before March 1, 2026 at 10:30\u202fAM",
            "Vu le n'est pas avant le 1 mars 2026 à 10:30",
        ),
        (
            ("made_on", "<", relative("now", -30)),
            "Made on is before today minus 30 days",
            "Fait le est avant aujourd'hui moins 30 jours",
        ),
        (
            ("seen_at", ">", relative("endOfMonth", 1, "month")),
            "Seen is after the last day of this month plus 1 month",
            "Vu le est après le dernier jour de ce mois plus 1 mois",
        ),
        (("active", "=", False), "Active is false", "Actif est faux"),
        (
            ("stage", "in", "lead,customer,former"),
            "Stage is one of lead, customer or former",
            "Étape est parmi lead, customer ou former",
        ),
        (
            ("custom.word", "doesNotContain", "x"),
            "Word does not contain x",
            "Word (fr) ne contient pas x",
        ),
        (("name", "=", "{value}"), "Name is {value}", "Nom est {value}"),
    ],
    ids=str,
)  # fmt: skip
def test_values_are_written_as_the_language_writes_them(
    condition: Callable[..., Condition], rule: Any, en: str, fr: str
) -> None:
    zone = ZoneInfo("Europe/Paris")

    assert said(condition(rule), "en", zone=zone) == en
    assert said(condition(rule), "fr", zone=zone) == fr


def test_both_languages_say_the_same_things() -> None:
    assert {manner: set(phrases) for manner, phrases in PHRASES["en"].items()} == {
        manner: set(phrases) for manner, phrases in PHRASES["fr"].items()
    }
    assert set(BY_KIND) <= set(get_args(FieldKind))


def test_a_moment_is_told_where_the_reader_is(condition: Callable[..., Condition]) -> None:
    asked = condition(("seen_at", "=", "2026-03-01T23:30:00Z"))

    assert "March 1" in said(asked, "en", zone=dt.UTC)
    assert "March 2" in said(asked, "en", zone=ZoneInfo("Europe/Paris"))
