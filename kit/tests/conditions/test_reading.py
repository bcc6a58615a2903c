"""A condition is checked whole: what is wrong with it is named, and costs no more than it may."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liaison_kit.conditions import Condition, matches, parse, raw_rules, read
from liaison_kit.conditions.reading import DEEPEST, LONGEST, MOST_RULES
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.testing import about, principal, statements
from liaison_sdk.errors import InvalidInput

from .samples import NOW, SAMPLES

RULE = {"field": "size", "operator": "=", "value": 1}


def wrong(db: Database, who: Context, tree: Any) -> dict[str, str]:
    """What is refused of a tree: codes by path."""
    with db.reading(who) as session, pytest.raises(InvalidInput) as caught:
        parse(session, SAMPLES, tree)
    assert all(error.message for error in caught.value.errors)
    return {error.path: error.code for error in caught.value.errors}


def test_every_bad_rule_is_named_by_its_path(db: Database, somebody: Context) -> None:
    def rule(field: Any, operator: Any = "=", value: Any = "1", **more: Any) -> dict[str, Any]:
        return {"field": field, "operator": operator, "value": value, **more}

    inner = {
        "combinator": "xor",
        "not": "yes",
        "rules": [
            rule("nmae"),
            rule("secret"),
            rule("custom"),
            rule("friends", "in"),
            rule("folded"),
            rule("custom.gone"),
            rule(None),
        ],
    }
    tree = {
        "combinator": "and",
        "rules": [
            RULE,
            inner,
            {"combinator": "or", "rules": []},
            rule("active", "<"),
            rule("stage", "contains", "lead"),
            rule("size", None),
            rule("size", "between", "1"),
            rule("size", "between", [3, 1]),
            rule("size", "in", [1, "x", None, True]),
            rule("stage", "=", "boss"),
            rule("custom.pick", "in", ["red", "green"]),
            rule("name", "=", ""),
            rule("name", "=", 5),
            rule("name", "=", "a\x00"),
            rule("name", "=", "a" * 201),
            rule("name", "contains", "\u0301"),
            rule("active", "=", "maybe"),
            rule("made_on", "=", "2026-02-30"),
            rule("made_on", "=", {"relative": "-30 days"}),
            rule("seen_at", "in", ["yesterday", "9999-12-31", "0001-01-01T00:00:00+02:00"]),
            rule("price", "=", {"amount": "1", "currency": "XYZ"}),
            rule("owner_id", "=", "me"),
            rule("size", "=", {"a": 1}),
            rule("name", "=", "size", valueSource="field"),
            rule("name", "=", "x", muted=True),
            rule("name", "=", "x", negate=True),
            "and",
            7,
        ],
    }  # fmt: skip

    assert wrong(db, somebody, tree) == {
        "rules[1].combinator": "choice",
        "rules[1].not": "boolean",
        "rules[1].rules[0].field": "unknown_field",
        "rules[1].rules[1].field": "not_filterable",
        "rules[1].rules[2].field": "not_filterable",
        "rules[1].rules[3].field": "not_filterable",
        "rules[1].rules[4].field": "not_filterable",
        "rules[1].rules[5].field": "unknown_field",
        "rules[1].rules[6].field": "missing",
        "rules[2].rules": "no_rules",
        "rules[3].operator": "operator",
        "rules[4].operator": "operator",
        "rules[5].operator": "operator",
        "rules[6].value": "two_values",
        "rules[7].value": "order",
        "rules[8].value[1]": "integer_parsing",
        "rules[8].value[2]": "missing",
        "rules[8].value[3]": "integer_type",
        "rules[9].value": "choice",
        "rules[10].value[1]": "choice",
        "rules[11].value": "missing",
        "rules[12].value": "text_type",
        "rules[13].value": "unusable_characters",
        "rules[14].value": "too_long",
        "rules[15].value": "missing",
        "rules[16].value": "boolean",
        "rules[17].value": "date_parsing",
        "rules[18].value": "relative",
        "rules[19].value[0]": "datetime_parsing",
        "rules[19].value[1]": "year",
        "rules[19].value[2]": "datetime_parsing",
        "rules[20].value.currency": "choice",
        "rules[21].value": "nobody_asks",
        "rules[22].value": "integer_type",
        "rules[23].valueSource": "unexpected",
        "rules[24].muted": "unexpected",
        "rules[25].negate": "unexpected",
        "rules[26]": "rule",
        "rules[27]": "rule",
    }


@pytest.mark.parametrize(
    "tree", [None, [], 5, "and", {}, {"rules": [RULE]}, {"combinator": "and"}, RULE]
)
def test_what_is_no_group_is_no_condition(db: Database, somebody: Context, tree: Any) -> None:
    assert wrong(db, somebody, tree)


def test_what_the_builder_keeps_for_itself_changes_nothing(
    condition: Callable[..., Condition],
) -> None:
    bare = {"combinator": "or", "rules": [RULE]}
    kept = {"id": "a", "path": [0], "disabled": True, "meta": {"x": 1}}
    built = bare | kept | {"not": False, "rules": [RULE | kept | {"valueSource": "value"}]}

    assert condition(tree=built).root == condition(tree=bare).root


def nested(depth: int, inside: Any = RULE) -> Any:
    for _ in range(depth):
        inside = {"combinator": "and", "rules": [inside]}
    return inside


def test_a_condition_has_so_many_rules_and_lies_so_deep_and_no_further(
    db: Database, somebody: Context, condition: Callable[..., Condition]
) -> None:
    def wide(count: int, part: Any = RULE) -> Any:
        return {"combinator": "and", "rules": [part] * count}

    assert len(list(condition(tree=wide(MOST_RULES)).rules)) == MOST_RULES
    assert matches(condition(tree=nested(DEEPEST)), {"size": 1}, NOW)

    last = f"rules[{MOST_RULES}]"
    assert wrong(db, somebody, wide(10_000)) == {last: "too_many_rules"}
    assert wrong(db, somebody, wide(10_000, {"rules": []})) == {last: "too_many_rules"}
    in_groups = wide(300, wide(2))
    assert wrong(db, somebody, in_groups) == {"rules[250].rules[0]": "too_many_rules"}
    too_deep = ".".join(["rules[0]"] * DEEPEST)
    assert wrong(db, somebody, nested(DEEPEST + 1)) == {too_deep: "too_deep"}
    assert wrong(db, somebody, nested(500)) == {too_deep: "too_deep"}
    among = {"field": "size", "operator": "in", "value": list(range(500))}
    assert len(list(condition(tree=wide(10, among)).rules)) == 10
    assert wrong(db, somebody, wide(11, among)) == {"rules[10]": "too_many_values"}
    among = {"field": "size", "operator": "in", "value": list(range(501))}
    assert wrong(db, somebody, wide(1, among)) == {"rules[0].value": "too_many"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "json"),
        ("{", "json"),
        ("[" * 90_000, "json"),
        ("9" * 90_000, "json"),
        (" " * (LONGEST + 1), "too_long"),
    ],
    ids=["nothing", "half", "deep", "number", "long"],
)
def test_what_is_no_json_is_refused(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(text, "where")

    assert [(error.path, error.code) for error in caught.value.errors] == [("where", code)]


@pytest.mark.parametrize("value", [10**1000, -(10**30), 1e300, float("nan"), float("inf"), "1e-99"])
@pytest.mark.parametrize("field", ["size", "ratio", "price", "custom.number"])
def test_a_number_that_no_column_could_hold_is_refused(
    db: Database, somebody: Context, field: str, value: Any
) -> None:
    tree = nested(1, {"field": field, "operator": "=", "value": value})

    assert wrong(db, somebody, tree).keys() == {"rules[0].value"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rule=st.dictionaries(
        st.sampled_from(["field", "operator", "value", "rules", "not", "combinator", "id"]),
        JSON | st.sampled_from(["size", "name", "seen_at", "price", "=", "in", "between", "null"]),
    )
)
def test_whatever_comes_is_understood_or_refused(
    db: Database, somebody: Context, rule: dict[str, Any]
) -> None:
    with db.reading(somebody) as session, suppress(InvalidInput):
        asked = parse(session, SAMPLES, nested(1, rule))
        assert matches(asked, {}, NOW) in (True, False)
    assert len(list(raw_rules(nested(1, rule)))) <= MOST_RULES


def test_only_who_asks_for_fields_of_their_own_has_them_looked_up(
    db: Database, somebody: Context
) -> None:
    own = {"field": "custom.word", "operator": "=", "value": "x"}

    with db.reading(somebody) as session, statements(db) as seen:
        parse(session, SAMPLES, nested(1))
        assert seen == []
        parse(session, SAMPLES, {"combinator": "and", "rules": [own] * 3})
        assert len(seen) == 1


def test_a_record_that_the_caller_may_not_see_is_nobody(db: Database, somebody: Context) -> None:
    shown, hidden, none = UUID(int=0xF1), UUID(int=0xF2), uuid4()
    with db.connection() as connection:
        connection.exec_driver_sql(
            f"SET liaison.tenant = '{somebody.tenant}'; INSERT INTO makers (id, tenant_id) VALUES"
            f" ('{shown}', '{somebody.tenant}'), ('{hidden}', '{somebody.tenant}')"
            " ON CONFLICT DO NOTHING; RESET liaison.tenant"
        )
        connection.commit()
    narrow = about(principal(somebody.tenant, "*", rows={"makers": "own"}))

    def said(who: Context, operator: str, *ids: UUID) -> list[bool]:
        """What is said of records that point at the shown, the hidden and at nothing."""
        rule = {"field": "maker_id", "operator": operator, "value": [str(id) for id in ids]}
        with db.reading(who) as session:
            asked = parse(session, SAMPLES, nested(1, rule))
        records = [{"maker_id": str(shown)}, {"maker_id": str(hidden)}, {"maker_id": None}]
        return [matches(asked, record, NOW) for record in records]

    for operator in ("in", "notIn"):
        assert said(narrow, operator, hidden) == said(narrow, operator, none)
        assert said(narrow, operator, shown, hidden) == said(narrow, operator, shown)
    assert said(somebody, "in", hidden) == [False, True, False]
    assert said(narrow, "in", shown) == [True, False, False]


def test_the_rules_of_a_tree_are_found_before_it_is_checked() -> None:
    tree = {"rules": [RULE, {"rules": [RULE, 5, {"rules": "x"}]}, "and"]}

    assert list(raw_rules(tree)) == [RULE, RULE, {"rules": "x"}]
    assert list(raw_rules(json.loads("5"))) == []
    assert list(raw_rules(nested(100))) == []
