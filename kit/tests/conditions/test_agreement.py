"""SQL and Python say the same of every record, and a condition turned round says the opposite."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, text

from liaison_kit.conditions import SCHEMA, Condition, matches, parse, sql, values
from liaison_kit.conditions.tree import TESTS
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.records.recordtype import as_json

from .samples import CUSTOM, EVERYBODYS, NOW, SAMPLES, VALUES, ZONES, Sample, rows

OPERATORS = {name: info.operators for name, info in SAMPLES.fields.items() if name in VALUES} | {
    f"custom.{name}": {
        "text": SAMPLES.fields["name"].operators,
        "number": SAMPLES.fields["ratio"].operators,
        "date": SAMPLES.fields["made_on"].operators,
        "boolean": SAMPLES.fields["active"].operators,
        "choice": SAMPLES.fields["stage"].operators,
    }[kind]
    for name, kind in CUSTOM.items()
}


ME = UUID(int=1)
"""Who asks: one of those whose samples they are."""

SCHEMA_SAYS = jsonschema_rs.validator_for(SCHEMA)


@st.composite
def rules(draw: Callable[[Any], Any]) -> dict[str, Any]:
    name = draw(st.sampled_from(sorted(VALUES)))
    operator = draw(st.sampled_from(OPERATORS[name]))
    of_field = VALUES[name]
    match TESTS[operator][0]:
        case "empty":
            return {"field": name, "operator": operator}
        case "within":
            value = draw(st.lists(of_field, min_size=2, max_size=2))
        case _ if operator in ("in", "notIn"):
            value = draw(st.lists(of_field, min_size=1, max_size=4))
        case _:
            value = draw(of_field)
    return {"field": name, "operator": operator, "value": value}


def groups(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {
            "combinator": st.sampled_from(["and", "or"]),
            "not": st.booleans(),
            "rules": st.lists(parts, min_size=1, max_size=3),
        }
    )


TREES = groups(st.recursive(rules(), groups, max_leaves=6))


def mended(tree: Any) -> Any:
    """The tree, in which what lies between two values has them in their order and currency."""
    if "rules" in tree:
        return tree | {"rules": [mended(inner) for inner in tree["rules"]]}
    if tree["operator"] not in ("between", "notBetween"):
        return tree
    first, last = tree["value"]
    currencies = [v["currency"] for v in (first, last) if isinstance(v, dict) and "currency" in v]
    if currencies:
        amounts = [v["amount"] if isinstance(v, dict) else v for v in (first, last)]
        amounts.sort(key=float)
        return tree | {"value": [{"amount": a, "currency": currencies[0]} for a in amounts]}
    if isinstance(first, dict) or isinstance(last, dict):
        return tree
    by = str if isinstance(first, str) and "-" in first[1:] else float
    return tree | {"value": sorted(tree["value"], key=by)}


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    some=st.lists(rows(), min_size=1, max_size=8),
    trees=st.lists(TREES.map(mended), min_size=1, max_size=6),
    zone=st.sampled_from(ZONES),
)
def test_sql_and_python_say_the_same(
    db: Database, somebody: Context, some: list[Any], trees: list[Any], zone: Any
) -> None:
    with db.session(somebody) as session:
        session.execute(text("DELETE FROM samples"))
        session.execute(insert(Sample), [row | {"tenant_id": somebody.tenant} for row in some])
        records = [json.loads(row[0]) for row in session.execute(as_json(SAMPLES.select()))]
        for tree in trees:
            condition = parse(session, SAMPLES, tree, me=ME)
            negated = {"combinator": "and", "not": True, "rules": [tree]}
            turned = parse(session, SAMPLES, negated, me=ME)

            found, others = (
                {
                    str(id)
                    for id in session.scalars(
                        select(Sample.id).where(sql(each)), values(each, NOW, zone)
                    )
                }
                for each in (condition, turned)
            )

            matching = {r["id"] for r in records if matches(condition, r, NOW, zone)}
            assert found == matching, (tree, [r for r in records if r["id"] in found ^ matching])
            assert others == {r["id"] for r in records} - found
            assert all(matches(turned, r, NOW, zone) != (r["id"] in found) for r in records)


@given(tree=TREES.map(mended))
def test_the_schema_tells_of_whatever_is_understood(tree: Any) -> None:
    assert SCHEMA_SAYS.is_valid(json.loads(json.dumps(tree)))


@pytest.mark.parametrize(
    "tree",
    [
        {"combinator": "and", "rules": []},
        {"combinator": "xor", "rules": [{"field": "size", "operator": "null"}]},
        {"combinator": "and", "rules": [{"field": "size", "operator": "like", "value": 1}]},
        {"combinator": "and", "rules": [{"field": "size", "operator": "=", "value": {"a": 1}}]},
        {"combinator": "and", "rules": ["and"]},
    ],
    ids=str,
)
def test_the_schema_tells_of_no_other_form(tree: Any) -> None:
    assert not SCHEMA_SAYS.is_valid(tree)


# --- what is decided ------------------------------------------------------------------------------

NOTHING: dict[str, Any] = {"name": "", "tags": [], "custom": {}}


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        # What is empty is not equal to anything, does not contain it, is none of it.
        (("note", "!=", "x"), [{"note": None}, {"note": ""}, {"note": "y"}], [{"note": "x"}]),
        (("note", "doesNotContain", "x"), [{"note": None}, {"note": "y"}], [{"note": "axe"}]),
        (("note", "notIn", ["x", "y"]), [{"note": None}, {"note": "z"}], [{"note": "x"}]),
        (("size", "notBetween", [1, 3]), [{"size": None}, {"size": 4}], [{"size": 3}]),
        (("size", "<", 3), [{"size": 2}], [{"size": None}, {"size": 3}]),
        (("active", "!=", True), [{"active": None}, {"active": False}], [{"active": True}]),
        # Empty is null, an empty text, an empty list, a field of one's own that is not there.
        (("note", "null"), [{"note": None}, {"note": ""}, {}], [{"note": " "}]),
        (("tags", "null"), [{"tags": None}, {"tags": []}], [{"tags": ["vip"]}]),
        (("custom.word", "null"), [{}, {"custom": {"word": None}}], [{"custom": {"word": "a"}}]),
        (("size", "notNull"), [{"size": 0}], [{"size": None}]),
        # Equal is exactly equal; parts are looked for without case and accents.
        (("name", "=", "Élan"), [{"name": "Élan"}], [{"name": "elan"}, {"name": "élan"}]),
        (("name", "contains", "ela"), [{"name": "ÉLAN"}, {"name": "E\u0301lan"}], [{"name": "éa"}]),
        (("name", "contains", "STRASSE"), [{"name": "Hauptstraße 1"}], [{"name": "Straf"}]),
        (("name", "beginsWith", "oe"), [{"name": "Œuf"}], [{"name": "un œuf"}]),
        (("name", "endsWith", "é"), [{"name": "CAFE"}], [{"name": "cafés"}]),
        (("name", "contains", "%"), [{"name": "50 %"}], [{"name": "50"}]),
        # A list has elements, whole ones.
        (("tags", "=", "vip"), [{"tags": ["a", "vip"]}], [{"tags": ["VIP"]}, {"tags": ["vips"]}]),
        (("tags", "contains", "vip"), [{"tags": ["a", "vip"]}], [{"tags": ["vips"]}, {"tags": []}]),
        (("tags", "in", "vip,gold"), [{"tags": ["gold"]}], [{"tags": ["a"]}, {"tags": None}]),
        (("tags", "notIn", "vip,gold"), [{"tags": ["a"]}, {"tags": None}], [{"tags": ["vip"]}]),
        # Money is compared by its amount, and within a currency where one is named.
        (
            ("price", ">=", 10),
            [{"price": {"amount": "10.00", "currency": "JPY"}}],
            [{"price": None}, {"price": {"amount": "9.99", "currency": "JPY"}}],
        ),
        (
            ("price", "=", {"amount": 10, "currency": "EUR"}),
            [{"price": {"amount": "10.00", "currency": "EUR"}}],
            [{"price": {"amount": "10.00", "currency": "USD"}}],
        ),
        (
            ("price", "!=", {"amount": 10, "currency": "EUR"}),
            [{"price": {"amount": "10.00", "currency": "USD"}}, {"price": None}],
            [{"price": {"amount": "10.00", "currency": "EUR"}}],
        ),
        (
            ("custom.number", "=", 10),
            [{"custom": {"number": 10.0}}, {"custom": {"number": 10}}],
            [{"custom": {"number": "10"}}],
        ),
        (("made_on", "=", "9999-12-31"), [{"made_on": "9999-12-31"}], [{"made_on": None}]),
        # A bare date is a whole day.
        (
            ("seen_at", "=", "2026-03-28"),
            [{"seen_at": "2026-03-28T23:59:59.999999+00:00"}],
            [{"seen_at": "2026-03-29T00:00:00+00:00"}],
        ),
        (
            ("seen_at", "<=", "2026-03-28"),
            [{"seen_at": "2026-03-28T23:59:59+00:00"}],
            [{"seen_at": "2026-03-29T00:00:00+00:00"}],
        ),
        (
            ("seen_at", ">", "2026-03-28"),
            [{"seen_at": "2026-03-29T00:00:00+00:00"}],
            [{"seen_at": "2026-03-28T23:59:59+00:00"}],
        ),
    ],
    ids=str,
)  # fmt: skip
def test_what_users_expect(
    condition: Callable[..., Condition], rule: tuple[Any, ...], yes: list[Any], no: list[Any]
) -> None:
    asked = condition(rule)

    for record in yes:
        assert matches(asked, NOTHING | record, NOW), record
    for record in no:
        assert not matches(asked, NOTHING | record, NOW), record


def test_a_value_that_may_be_meant_in_one_way_only_may_be_written_in_several(
    condition: Callable[..., Condition],
) -> None:
    same = [
        [("size", "=", 10), ("size", "=", "10"), ("size", "=", 10.0)],
        [("ratio", "<", 0.5), ("ratio", "<", "0.5")],
        [("active", "=", True), ("active", "=", "true")],
        [("size", "in", "1, 2"), ("size", "in", [1, "2"])],
        [("size", "between", "1,2"), ("size", "between", [1, 2])],
        [("size", "in", 1), ("size", "in", [1]), ("size", "in", "1,")],
        [("tags", "in", "a\\,b,c"), ("tags", "in", ["a,b", "c"])],
        [("price", "=", 10), ("price", "=", "10")],
        [("custom.checked", "=", False), ("custom.checked", "=", "false")],
    ]

    for ways in same:
        assert len({condition(way).identity for way in ways}) == 1, ways


def test_many_values_are_found_one_by_one_and_by_look_up_alike(
    db: Database, somebody: Context
) -> None:
    codes = [f"C{number:03}" for number in range(40)]
    with db.session(somebody) as session:
        session.execute(text("DELETE FROM samples"))
        made = {"tenant_id": somebody.tenant, "version": 1, "created_at": NOW, "updated_at": NOW}
        session.execute(
            insert(Sample), [made | {"name": "x", "code": code, "custom": {}} for code in codes]
        )
        for count in (1, 20, 21, 39):
            rule = {"field": "code", "operator": "in", "value": codes[:count]}
            asked = parse(session, EVERYBODYS, {"combinator": "and", "rules": [rule]})

            found = session.scalars(select(Sample.code).where(sql(asked)), values(asked, NOW))

            assert set(found) == set(codes[:count])
