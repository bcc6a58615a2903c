"""Opportunities are narrowed and summed up by a condition on what their readers get of them."""

import datetime as dt
import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liaison_kit.conditions import matches, parse
from liaison_kit.ids import uuid7
from liaison_kit.testing import at_work, principal, statements
from liaison_sales.opportunities import OPPORTUNITIES
from liaison_sales.service import Sales


def opened(desk: Any, name: str, **fields: Any) -> Any:
    reply = desk.call("create_opportunity", json.dumps({"name": name} | fields).encode())
    assert reply.status == 201, reply.body
    return json.loads(reply.body)


def asked(*rules: tuple[Any, ...], **more: Any) -> dict[str, Any]:
    listed = [dict(zip(("field", "operator", "value"), rule, strict=False)) for rule in rules]
    return {"combinator": "and", "rules": listed, **more}


def found(desk: Any, tree: Any, operation: str = "list_opportunities") -> Any:
    reply = desk.call(operation, query=[["where", json.dumps(tree)]])
    assert reply.status == 200, reply.body
    return json.loads(reply.body)


def names(desk: Any, *rules: tuple[Any, ...]) -> list[str]:
    return sorted(item["name"] for item in found(desk, asked(*rules))["items"])


@pytest.fixture
def three(desk: Any) -> Any:
    """A desk with deals of three regions: one of an owner's team, one of its own, one of none."""
    west = desk.user("Anna", "West")
    euros = {"amount": "10000.00", "currency": "EUR"}
    of_west = {"owner_id": str(west), "region": "East", "amount": euros}
    opened(desk, "Robots", expected_close="2026-03-31", **of_west)
    dollars = {"amount": "9.50", "currency": "USD"}
    opened(desk, "Pencils", region="East", amount=dollars, stage="engaging")
    opened(desk, "Élan")
    return desk


def test_deals_are_found_by_what_is_asked_of_them(three: Any) -> None:
    assert names(three, ("region", "=", "West")) == ["Robots"]
    assert names(three, ("region", "in", "West,East")) == ["Pencils", "Robots"]
    assert names(three, ("region", "!=", "East")) == ["Robots", "Élan"]
    assert names(three, ("region", "null")) == ["Élan"]
    assert names(three, ("region", "contains", "ST")) == ["Pencils", "Robots"]
    assert names(three, ("stage", "=", "engaging")) == ["Pencils"]
    assert names(three, ("stage", "notIn", ["engaging"])) == ["Robots", "Élan"]
    assert names(three, ("amount", ">", 9)) == ["Pencils", "Robots"]
    assert names(three, ("amount", "<", {"amount": 99999, "currency": "EUR"})) == ["Robots"]
    assert names(three, ("expected_close", "<=", "2026-03-31")) == ["Robots"]
    assert names(three, ("name", "beginsWith", "el")) == ["Élan"]


def test_a_summary_is_of_what_the_list_shows(three: Any) -> None:
    tree = asked(("amount", "notNull"), ("region", "=", "East"))

    summary = found(three, tree, "summarise")

    assert summary["total"]["count"] == 1
    assert summary["total"]["amounts"] == [{"amount": "9.50", "currency": "USD"}]


def test_a_list_by_a_condition_is_one_statement(three: Any) -> None:
    with statements(three.db) as seen:
        found(three, asked(("stage", "=", "engaging"), ("region", "!=", "West")))

    assert len(seen) == 1


REGIONS = ["West", "East", "north", ""]
STAGES = ["prospecting", "engaging", "negotiation", "won", "lost"]
RULES = st.one_of(
    st.tuples(st.just("region"), st.sampled_from(["=", "!="]), st.sampled_from(REGIONS[:3])),
    st.tuples(st.just("region"), st.sampled_from(["in", "notIn"]), st.just(["West", "East"])),
    st.tuples(st.just("region"), st.sampled_from(["null", "notNull"])),
    st.tuples(st.just("region"), st.sampled_from(["contains"]), st.sampled_from(["st", "ÉA"])),
    st.tuples(st.just("stage"), st.sampled_from(["=", "!="]), st.sampled_from(STAGES)),
    st.tuples(st.just("stage"), st.sampled_from(["in", "notIn"]), st.just(STAGES[:2])),
    st.tuples(st.just("status"), st.just("="), st.sampled_from(["open", "won"])),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rules=st.lists(RULES, min_size=1, max_size=3),
    combinator=st.sampled_from(["and", "or"]),
    turned=st.booleans(),
)
def test_what_the_service_looks_up_is_what_its_records_show(
    book: Any, rules: list[Any], combinator: str, turned: bool
) -> None:
    tree = asked(*rules) | {"combinator": combinator, "not": turned}
    everything = found(book, asked(("name", "notNull")))["items"]
    with book.db.reading(book.context()) as session:
        condition = parse(session, OPPORTUNITIES, tree)

    items = found(book, tree)["items"]

    now = dt.datetime.now(dt.UTC)
    matching = {item["id"] for item in everything if matches(condition, item, now)}
    assert {item["id"] for item in items} == matching


@pytest.fixture
def book(desk: Any) -> Any:
    """A desk with a deal of every stage, of owners with and without a region and of nobody."""
    owners = [desk.user("Anna", "West"), desk.user("Bob"), None]
    for number, stage in enumerate(STAGES):
        for region in REGIONS:
            owner = owners[(number + len(region)) % 3]
            closing = {"lost_reason": "Price"} if stage == "lost" else {}
            opened(desk, f"{stage} {region}", stage=stage, region=region or None,
                   owner_id=owner and str(owner), **closing)  # fmt: skip
    return desk


def test_people_whom_the_caller_may_not_see_are_nobody_in_a_condition(desk: Any) -> None:
    shown, hidden = uuid4(), uuid4()
    questions: list[Any] = []

    def known(_service: str, operation: str, body: bytes, *_rest: Any) -> bytes:
        ids = json.loads(body)["ids"]
        questions.append((operation, sorted(ids)))
        return json.dumps({"ids": [id for id in ids if id == str(shown)]}).encode()

    def everybody(_service: str, _operation: str, body: bytes, *_rest: Any) -> bytes:
        return json.dumps({"ids": json.loads(body)["ids"]}).encode()

    desk.service = at_work(Sales, desk.db, hooks=desk.hooks, ask=staticmethod(everybody))
    for name, person in (("Shown", shown), ("Hidden", hidden), ("None", None)):
        opened(desk, name, contact_id=person and str(person))
    desk.service = at_work(Sales, desk.db, hooks=desk.hooks, ask=staticmethod(known))
    desk.who = principal(desk.who.tenant, "*", user=uuid7(), rows={"contacts": "own"})

    def by(operator: str, value: Any) -> list[str]:
        return names(desk, ("contact_id", operator, value))

    assert by("=", str(hidden)) == []
    assert by("=", f"{{{hidden}}}") == []
    assert by("in", f"{hidden},{shown}") == ["Shown"]
    assert by("in", [str(hidden), f"urn:uuid:{shown}"]) == ["Shown"]
    assert by("!=", str(hidden)) == ["Hidden", "None", "Shown"]
    deep = {"combinator": "or", "rules": [asked(("contact_id", "=", str(hidden)))] * 3}
    questions.clear()
    assert found(desk, asked() | {"rules": [deep, deep]})["items"] == []
    assert questions == [("known_people", [str(hidden)])]
    filtered = desk.call("list_opportunities", query=[["contact_id", f"{{{hidden}}}"]])
    assert json.loads(filtered.body)["items"] == []


@pytest.mark.parametrize("where", ["{", "[" * 5000, "5", '{"rules": [5]}'])
def test_what_is_no_condition_is_named_to_who_may_not_see_all(desk: Any, where: str) -> None:
    desk.who = principal(desk.who.tenant, "*", user=uuid7(), rows={"contacts": "own"})

    reply = desk.call("list_opportunities", query=[["where", where]])

    assert reply.status == 422
    assert all(e["path"].startswith("where") for e in json.loads(reply.body)["errors"])


def test_a_condition_is_about_fields_and_not_about_filters(desk: Any) -> None:
    rule = asked(("manager_id", "=", str(UUID(int=1))))

    reply = desk.call("list_opportunities", query=[["where", json.dumps(rule)]])

    assert reply.status == 422
    (error,) = json.loads(reply.body)["errors"]
    assert (error["path"], error["code"]) == ("where.rules[0].field", "not_filterable")
