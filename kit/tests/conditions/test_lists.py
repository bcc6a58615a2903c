"""Lists take a condition beside their filters: it narrows, counts and pages as they do."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from liaison_kit import listing
from liaison_kit.calls.manifest import manifest
from liaison_kit.calls.operations import get
from liaison_kit.calls.wire import Raw
from liaison_kit.conditions import SCHEMA
from liaison_kit.conditions.tree import TESTS
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.listing.asked import ListQuery, Page
from liaison_kit.service import Service
from liaison_kit.testing import about, principal, statements
from liaison_sdk.errors import InvalidInput
from liaison_sdk.labels import Label

from .samples import NOW, SAMPLES, Sample, SampleShape

ME, OTHER = UUID(int=0xA1), UUID(int=0xA2)


@pytest.fixture
def ten(db: Database, somebody: Context) -> Context:
    """A tenant with ten samples, of sizes 0 to 9, mine and another's in turn."""
    with db.writing(somebody) as session:
        session.execute(text("DELETE FROM samples"))
        session.execute(
            insert(Sample),
            [
                {
                    "id": uuid7(),
                    "tenant_id": somebody.tenant,
                    "version": 1,
                    "created_at": NOW - dt.timedelta(days=size),
                    "updated_at": NOW,
                    "name": f"N{size}",
                    "size": size,
                    "owner_id": OTHER if size % 2 else ME,
                    "price_amount": Decimal(size),
                    "price_currency": "EUR",
                    "tags": ["vip"] if size > 6 else [],
                    "custom": {"number": size * 10},
                }
                for size in range(10)
            ],
        )
    return somebody


def page(db: Database, who: Context, *rules: Any, where: Any = None, **query: str) -> Any:
    if rules:
        listed = [dict(zip(("field", "operator", "value"), rule, strict=False)) for rule in rules]
        where = json.dumps({"combinator": "and", "rules": listed})
    pairs = [*query.items(), *([("where", where)] if where is not None else [])]
    with db.reading(who) as session:
        return json.loads(listing.page(session, SAMPLES, ListQuery(pairs)))


def names(found: Any) -> list[str]:
    return sorted(item["name"] for item in found["items"])


def test_a_condition_narrows_a_list_beside_its_filters(db: Database, ten: Context) -> None:
    assert names(page(db, ten, ("size", ">", 6))) == ["N7", "N8", "N9"]
    assert names(page(db, ten, ("size", ">", 6), owner_id=str(ME))) == ["N8"]
    assert names(page(db, ten, ("custom.number", "between", "30,40"))) == ["N3", "N4"]
    assert page(db, ten, ("size", ">", 6), limit="1", count="true")["count"] == 3


def test_a_row_rule_holds_for_what_a_condition_finds(db: Database, ten: Context) -> None:
    mine = about(principal(ten.tenant, "*", user=ME, rows={"samples": "own"}))

    assert names(page(db, mine, ("size", ">", 5))) == ["N6", "N8"]
    assert page(db, mine, ("owner_id", "=", str(OTHER)), count="true")["count"] == 0


@pytest.mark.parametrize("sort", ["name", "-price", "created_at"])
def test_pages_of_a_condition_are_its_whole_list(db: Database, ten: Context, sort: str) -> None:
    rule = ("size", "notIn", [3, 5])
    whole = page(db, ten, rule, sort=sort)["items"]

    seen: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        found = page(db, ten, rule, sort=sort, limit="3", **cursor)
        seen += found["items"]
        if found["next"] is None:
            break
        cursor = {"cursor": found["next"]}

    assert seen == whole
    assert len(seen) == 8


def test_a_cursor_belongs_to_its_condition(db: Database, ten: Context) -> None:
    first = page(db, ten, ("size", ">", 1), limit="2")

    assert page(db, ten, ("size", ">", "1"), limit="2", cursor=first["next"])["items"]
    for other in (("size", ">", 2), ("size", ">=", 1)):
        with pytest.raises(InvalidInput) as caught:
            page(db, ten, other, limit="2", cursor=first["next"])
        assert [error.path for error in caught.value.errors] == ["cursor"]
    with pytest.raises(InvalidInput):
        page(db, ten, limit="2", cursor=first["next"])


def test_a_page_goes_on_where_it_ended_while_time_goes_on(db: Database, ten: Context) -> None:
    rule = ("created_at", "<=", {"mode": "relative", "anchor": "now"})
    first = page(db, ten, rule, limit="2")

    later = about(ten.principal)

    assert later.now > ten.now
    assert page(db, later, rule, limit="2", cursor=first["next"])["items"]


def test_what_is_wrong_with_a_condition_is_named_among_the_rest(db: Database, ten: Context) -> None:
    with pytest.raises(InvalidInput) as caught:
        page(db, ten, ("size", "=", 1), ("nmae", "=", 1), limit="0")
    assert {error.path for error in caught.value.errors} == {"limit", "where.rules[1].field"}

    with pytest.raises(InvalidInput) as caught:
        page(db, ten, where="{")
    assert [error.path for error in caught.value.errors] == ["where"]

    twice = ListQuery([("where", '{"combinator": "and", "rules": []}')] * 2)
    with db.reading(ten) as session, pytest.raises(InvalidInput) as caught:
        listing.page(session, SAMPLES, twice)
    assert {error.code for error in caught.value.errors} == {"repeated", "no_rules"}


def test_a_list_by_a_condition_is_one_statement(db: Database, ten: Context) -> None:
    with statements(db) as seen:
        page(db, ten, ("size", ">", 6), ("tags", "=", "vip"), ("name", "contains", "n"))

    assert len(seen) == 1


def test_a_condition_of_very_many_rules_is_answered(db: Database, ten: Context) -> None:
    rules = [{"field": "name", "operator": "contains", "value": f"n{i}"} for i in range(500)]

    found = page(db, ten, where=json.dumps({"combinator": "or", "rules": rules}))

    assert len(found["items"]) == 10


def test_sums_take_a_condition(db: Database, ten: Context) -> None:
    rules = [{"field": "size", "operator": ">", "value": 6}]
    query: ListQuery[Any] = ListQuery(
        [("where", json.dumps({"combinator": "and", "rules": rules}))]
    )

    with db.reading(ten) as session:
        rows = listing.aggregate(
            session,
            SAMPLES,
            query,
            "sum of sizes",
            lambda where: select(func.sum(Sample.size)).where(*where),
        )

    assert rows[0][0] == 7 + 8 + 9


def test_the_manifest_tells_what_may_be_asked_and_how() -> None:

    class Sampling(Service):
        name = "sampling"
        label = Label(en="Sampling", fr="Échantillons")
        records = (SAMPLES,)

        @get("/samples", allow="samples:read", record=SAMPLES)
        def list_samples(
            self, session: Session, query: ListQuery[SampleShape]
        ) -> Raw[Page[SampleShape]]:
            """Samples."""
            raise NotImplementedError

    told = manifest(Sampling)

    fields = {field["name"]: field["operators"] for field in told["records"][0]["fields"]}
    assert fields["active"] == ["=", "!=", "null", "notNull"]
    assert "contains" in fields["name"]
    assert "contains" not in fields["stage"]
    assert "between" in fields["price"]
    assert fields["friends"] == fields["secret"] == fields["custom"] == []
    assert {operator for operators in fields.values() for operator in operators} == set(TESTS)
    (listed,) = [each for each in told["operations"] if each["name"] == "list_samples"]
    (where,) = [each for each in listed["query_params"] if each["name"] == "where"]
    assert where["schema"]["contentSchema"] == {"$ref": "#/components/schemas/Condition"}
    assert {"Condition", "ConditionRule", "ConditionValue"} <= told["schemas"].keys()
    assert told["schemas"].keys() >= SCHEMA["$defs"].keys()
