"""Opportunities are opened, moved, won, lost and reopened by the rules, with their history."""

import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from sqlalchemy import text

from liaison_kit import tenants
from liaison_kit.calls.manifest import manifest
from liaison_kit.context import Context
from liaison_kit.ids import uuid7
from liaison_kit.run.process import wait_until
from liaison_kit.testing import principal, statements
from liaison_sales import opportunities
from liaison_sales.service import Sales
from liaison_sdk.contracts.identity import TenantRef, TenantSaved
from liaison_sdk.contracts.sales import NewOpportunity, Win
from liaison_sdk.hooks import OwnerSuggestion, hook


def send(desk: Any, name: str, body: Any, if_match: int | None = None, **path: Any) -> Any:
    reply = desk.call(
        name, json.dumps(body).encode(), if_match, path={k: str(v) for k, v in path.items()}
    )
    assert reply.status < 300, reply.body
    return json.loads(reply.body) if reply.body else None


def refused(desk: Any, name: str, body: Any, if_match: int | None = None, **path: Any) -> Any:
    reply = desk.call(
        name, json.dumps(body).encode(), if_match, path={k: str(v) for k, v in path.items()}
    )
    assert reply.status >= 400, reply.body
    return json.loads(reply.body)


def opened(desk: Any, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = send(desk, "create_opportunity", {"name": "Ten robots"} | fields)
    return found


def moved(desk: Any, deal: Any, stage: str, **more: Any) -> Any:
    return send(desk, "move_opportunity", {"stage": stage} | more, deal["version"], id=deal["id"])


def told(desk: Any) -> list[tuple[str, dict[str, Any]]]:
    with desk.db.connection() as connection:
        rows = connection.execute(
            text("SELECT body FROM outbox WHERE body LIKE :mine ORDER BY seq"),
            {"mine": f"%{desk.who.tenant}%"},
        ).scalars()
        events = [json.loads(body) for body in rows]
    return [(event["type"], event["data"]) for event in events]


def test_a_new_opportunity_starts_in_the_first_stage_of_the_default_pipeline(desk: Any) -> None:
    company = desk.company("Acme")
    owner = desk.user("Anna Snelling", "West")

    deal = opened(
        desk,
        company_id=str(company),
        owner_id=str(owner),
        amount={"amount": "1200.5", "currency": "EUR"},
    )

    assert deal["stage"] == "prospecting"
    assert deal["status"] == "open"
    assert deal["probability"] == 10
    assert deal["amount"] == {"amount": "1200.50", "currency": "EUR"}
    assert (deal["company_name"], deal["owner_name"]) == ("Acme", "Anna Snelling")
    assert deal["region"] == "West"
    assert deal["engaged_on"] is None
    assert told(desk)[-1][0] == "opportunity_opened"


def test_every_move_is_kept_with_the_time_spent(desk: Any, today: dt.date) -> None:
    deal = opened(desk)

    deal = moved(desk, deal, "Engaging")
    deal = moved(desk, deal, "negotiation")
    deal = send(
        desk,
        "win_opportunity",
        {"amount": {"amount": "5", "currency": "USD"}, "reason": "Price"},
        deal["version"],
        id=deal["id"],
    )

    assert (deal["status"], deal["stage"], deal["win_reason"]) == ("won", "won", "Price")
    assert deal["closed_on"] == deal["engaged_on"] == today.isoformat()
    assert deal["amount"] == {"amount": "5.00", "currency": "USD"}
    stages = json.loads(desk.call("list_stage_changes", path={"id": deal["id"]}).body)["items"]
    assert [(s["from_stage"], s["to_stage"]) for s in stages] == [
        (None, "Prospecting"),
        ("Prospecting", "Engaging"),
        ("Engaging", "Negotiation"),
        ("Negotiation", "Won"),
    ]
    assert all(s["seconds"] >= 0 for s in stages[1:])
    history = json.loads(
        desk.call("list_history", query=[["record", "opportunities"], ["id", deal["id"]]]).body
    )["items"]
    assert history[0]["changes"]["status"] == ["open", "won"]
    assert history[0]["changes"]["amount_amount"] == [None, "5.00"]
    kinds = [kind for kind, _ in told(desk)]
    assert kinds == ["opportunity_opened", *["opportunity_moved"] * 3, "deal_won"]
    assert told(desk)[-1][1]["won_on"] == today.isoformat()


def test_a_move_costs_two_statements_and_the_outbox(desk: Any) -> None:
    deal = opened(desk)

    with statements(desk.db) as seen:
        moved(desk, deal, "engaging")

    assert len(seen) == 3


def test_a_new_one_and_its_first_stage_are_one_statement(desk: Any) -> None:
    opened(desk)

    with statements(desk.db) as seen:
        opened(desk)

    # One looks up the pipeline, one writes and answers, one writes the event and commits.
    assert len(seen) == 3


@pytest.mark.parametrize("operation", ["create_opportunity", "change_opportunity"])
def test_a_product_that_is_deleted_meanwhile_is_a_conflict(desk: Any, operation: str) -> None:
    deal = opened(desk)
    product = send(desk, "create_product", {"name": "GTX"})

    def waits() -> bool:
        with desk.db.connection() as connection:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            return bool(connection.execute(text(waiting)).scalar_one())

    def name_it() -> Any:
        known = {} if operation == "create_opportunity" else {"id": deal["id"], "if_match": 1}
        return refused(desk, operation, {"name": "Late", "product_id": product["id"]}, **known)

    with ThreadPoolExecutor(1) as elsewhere:
        with desk.db.writing(desk.context()) as session:
            session.execute(text("DELETE FROM products WHERE id = :id"), {"id": product["id"]})
            problem = elsewhere.submit(name_it)
            assert wait_until(waits, seconds=20, every=0.02)

        assert problem.result()["status"] == 409
    names = [item["name"] for item in json.loads(desk.call("list_opportunities").body)["items"]]
    assert names == ["Ten robots"]


def test_time_in_a_first_stage_runs_from_the_day_of_engagement(desk: Any) -> None:
    deal = opened(desk, stage="engaging", engaged_on="2026-03-10")

    moved(desk, deal, "proposal", on="2026-03-13")

    assert deal["stage_since"].startswith("2026-03-10T00:00:00")
    stages = json.loads(desk.call("list_stage_changes", path={"id": deal["id"]}).body)["items"]
    assert [(s["at"][:10], s["seconds"]) for s in stages] == [
        ("2026-03-10", None),
        ("2026-03-13", 3 * 86_400),
    ]


def test_a_lost_one_tells_why_and_can_be_reopened_where_it_was(desk: Any) -> None:
    deal = moved(desk, opened(desk), "proposal")

    deal = send(desk, "lose_opportunity", {"reason": "Too dear"}, deal["version"], id=deal["id"])

    assert (deal["status"], deal["lost_reason"]) == ("lost", "Too dear")
    problem = refused(
        desk, "move_opportunity", {"stage": "engaging"}, deal["version"], id=deal["id"]
    )
    assert problem["status"] == 409
    deal = send(desk, "reopen_opportunity", {}, deal["version"], id=deal["id"])
    assert (deal["stage"], deal["closed_on"], deal["lost_reason"]) == ("proposal", None, None)


def test_a_deal_can_not_end_before_it_was_engaged_or_in_the_future(
    desk: Any, today: dt.date
) -> None:
    deal = opened(desk, engaged_on="2026-03-10")

    early = refused(desk, "win_opportunity", {"on": "2026-03-09"}, deal["version"], id=deal["id"])
    late = refused(
        desk,
        "win_opportunity",
        {"on": (today + dt.timedelta(days=3)).isoformat()},
        deal["version"],
        id=deal["id"],
    )

    assert (early["status"], early["errors"][0]["code"]) == (422, "before_engaged")
    assert (late["status"], late["errors"][0]["code"]) == (422, "in_future")


def test_a_stale_version_gets_the_record_as_it_is(desk: Any) -> None:
    deal = opened(desk)
    moved(desk, deal, "engaging")

    problem = refused(
        desk, "move_opportunity", {"stage": "proposal"}, deal["version"], id=deal["id"]
    )

    assert problem["status"] == 412
    assert problem["current"]["stage"] == "engaging"


def test_a_change_may_hold_a_stage_and_fields_and_is_one_version(desk: Any) -> None:
    deal = opened(desk)

    deal = send(
        desk,
        "change_opportunity",
        {"stage": "won", "closed_on": "2026-01-31", "name": "Eleven robots", "engaged_on": None},
        deal["version"],
        id=deal["id"],
    )

    assert deal["version"] == 2
    assert (deal["status"], deal["closed_on"], deal["name"]) == (
        "won",
        "2026-01-31",
        "Eleven robots",
    )
    found = json.loads(desk.call("list_opportunities", query=[["q", "eleven"]]).body)["items"]
    assert [item["id"] for item in found] == [deal["id"]]


def test_changing_nothing_writes_nothing(desk: Any) -> None:
    deal = opened(desk)
    before = len(told(desk))

    same = send(desk, "change_opportunity", {"name": "Ten robots"}, deal["version"], id=deal["id"])
    still = moved(desk, deal, "prospecting")

    assert same == still == deal
    assert len(told(desk)) == before


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"company_id": "0190a000-0000-7000-8000-000000000000"}, "company_id"),
        ({"owner_id": "0190a000-0000-7000-8000-000000000000"}, "owner_id"),
        ({"product_id": str(uuid7())}, "product_id"),
        ({"pipeline_id": str(uuid7())}, "pipeline_id"),
        ({"stage": "nowhere"}, "stage"),
        ({"stage_id": str(uuid7())}, "stage_id"),
        ({"closed_on": "2020-01-01"}, "closed_on"),
        ({"lost_reason": "x"}, "lost_reason"),
        ({"amount": {"amount": "-1", "currency": "EUR"}}, "amount.amount"),
        ({"amount": {"amount": "1", "currency": "XXZ"}}, "amount.currency"),
        ({"probability": 101}, "probability"),
        ({"name": "a\u0000b"}, "name"),
        ({"engaged_on": "2020-02-30"}, "engaged_on"),
        ({"custom": {"nope": 1}}, "custom.nope"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_bad_fields_are_named(desk: Any, fields: dict[str, Any], path: str) -> None:
    problem = refused(desk, "create_opportunity", {"name": "x"} | fields)

    assert problem["status"] == 422
    assert path in [error["path"] for error in problem["errors"]]


def test_a_person_is_asked_of_contacts_when_they_are_named_anew(desk: Any) -> None:
    known, unknown = uuid7(), uuid7()
    asked = []

    def ask(service: str, operation: str, body: bytes, about: Context, _seconds: float) -> bytes:
        asked.append((service, operation, about.tenant))
        ids = json.loads(body)["ids"]
        if operation == "known_users":
            return b'{"users": []}'
        return json.dumps({"ids": [id for id in ids if id == str(known)]}).encode()

    desk.service.ask = ask

    wrong = {"name": "x", "contact_id": str(unknown), "owner_id": str(unknown)}
    problem = refused(desk, "create_opportunity", wrong)
    deal = send(desk, "create_opportunity", {"name": "x", "contact_id": str(known)})
    stolen = refused(desk, "change_opportunity", {"contact_id": str(unknown)}, 1, id=deal["id"])
    send(desk, "change_opportunity", {"contact_id": None}, 1, id=deal["id"])

    assert [e["path"] for e in problem["errors"]] == ["owner_id", "contact_id"]
    assert [e["path"] for e in stolen["errors"]] == ["contact_id"]
    asked_contacts = ("contacts", "known_people", desk.who.tenant)
    assert asked == [
        asked_contacts,
        ("identity", "known_users", desk.who.tenant),
        asked_contacts,
        asked_contacts,
    ]


def test_a_product_of_another_tenant_is_nothing_of_ours(desk: Any) -> None:
    theirs = type(desk)(desk.db, principal())
    product = send(theirs, "create_product", {"name": "GTX"})

    problem = refused(desk, "create_opportunity", {"name": "x", "product_id": product["id"]})

    assert problem["errors"][0]["path"] == "product_id"


def test_who_sees_their_own_rows_only_gets_no_other(desk: Any) -> None:
    mine = desk.user("Mine")
    deal = opened(desk, owner_id=str(desk.user("Somebody else")))
    rep = type(desk)(
        desk.db,
        principal(desk.who.tenant, "*", user=mine, rows={"opportunities": "own"}),
    )

    own = opened(rep, name="Own")

    assert own["owner_id"] == str(mine)
    listed = json.loads(rep.call("list_opportunities").body)["items"]
    assert [item["id"] for item in listed] == [own["id"]]
    problem = refused(rep, "move_opportunity", {"stage": "won"}, deal["version"], id=deal["id"])
    assert problem["status"] == 404
    for owner in (deal["owner_id"], None):
        given = refused(rep, "change_opportunity", {"owner_id": owner}, 1, id=own["id"])
        assert [error["path"] for error in given["errors"]] == ["owner_id"]
    summary = json.loads(rep.call("summarise").body)
    assert summary["total"]["count"] == 1


def test_a_plugin_suggests_the_owner_and_the_reason_is_shown(desk: Any) -> None:
    anna, bruno = desk.user("Anna", "West"), desk.user("Bruno", "West")
    desk.user("Gone", "West", active=False)
    seen: list[Any] = []

    class Fewest:
        @hook
        def sales_suggest_owner(self, opportunity: Any, reps: Any) -> OwnerSuggestion:
            seen.append((opportunity.region, {rep.name: rep.open_opportunities for rep in reps}))
            return OwnerSuggestion(min(reps, key=lambda r: r.open_opportunities).id, "Is free")

    class Stranger:
        @hook(tryfirst=True)
        def sales_suggest_owner(self, opportunity: Any, reps: Any) -> OwnerSuggestion:
            return OwnerSuggestion(uuid7(), "Not one of us")

    class Broken:
        @hook(tryfirst=True)
        def sales_suggest_owner(self, opportunity: Any, reps: Any) -> OwnerSuggestion:
            raise ValueError

    opened(desk, owner_id=str(anna))
    for plugin in (Fewest(), Stranger(), Broken()):
        desk.hooks.register(plugin, type(plugin).__name__)

    deal = opened(desk, region="West")

    assert seen == [("West", {"Anna": 1, "Bruno": 0})]
    assert (deal["owner_id"], deal["owner_reason"]) == (str(bruno), "Is free")
    changed = send(
        desk, "change_opportunity", {"owner_id": str(anna)}, deal["version"], id=deal["id"]
    )
    assert changed["owner_reason"] is None


def test_the_region_of_a_company_is_where_its_owner_sells(desk: Any) -> None:
    anna = desk.user("Anna", "West")
    company = desk.company("Acme", owner_id=anna)

    deal = opened(desk, company_id=str(company))

    assert deal["region"] == "West"


def test_lists_filter_by_stage_region_amount_and_dates(desk: Any) -> None:
    west, east = desk.user("W", "West"), desk.user("E", "East")
    a = opened(desk, owner_id=str(west), amount={"amount": "10", "currency": "EUR"}, stage="won")
    b = opened(desk, owner_id=str(east), amount={"amount": "20", "currency": "EUR"})
    c = opened(desk, region="West", expected_close="2027-01-01")

    def found(*pairs: tuple[str, str]) -> set[str]:
        reply = desk.call("list_opportunities", query=[list(pair) for pair in pairs])
        assert reply.status == 200, reply.body
        return {item["id"] for item in json.loads(reply.body)["items"]}

    assert found(("region", "West")) == {a["id"], c["id"]}
    assert found(("stage", "won")) == {a["id"]}
    assert found(("stage[in]", "won,prospecting"), ("region[in]", "West,North")) == {
        a["id"],
        c["id"],
    }
    assert found(("stage[ne]", "won")) == {b["id"], c["id"]}
    # Who has no owner and who has one of another region: neither sells in the East.
    assert found(("region[ne]", "East")) == {a["id"], c["id"]}
    assert found(("status", "open")) == {b["id"], c["id"]}
    assert found(("amount[gte]", "15")) == {b["id"]}
    assert found(("expected_close[gt]", "2026-12-31")) == {c["id"]}
    assert found(("closed_on[null]", "false")) == {a["id"]}
    assert found(("q", "robo"), ("sort", "closed_on")) == {a["id"], b["id"], c["id"]}
    for sort in ("name", "-expected_close", "expected_close", "-closed_on", "created_at"):
        assert len(found(("sort", sort), ("limit", "2"))) == 2


@pytest.mark.parametrize("name", ["stage[null]", "region[gte]", "manager_id[lt]"])
def test_an_operator_that_a_filter_does_not_know_is_refused(desk: Any, name: str) -> None:
    problem = json.loads(desk.call("list_opportunities", query=[[name, "true"]]).body)

    assert problem["status"] == 422
    assert [(error["path"], error["code"]) for error in problem["errors"]] == [(name, "operator")]


def test_every_parameter_of_a_list_is_documented_once() -> None:
    for operation in manifest(Sales)["operations"]:
        names = [parameter["name"] for parameter in operation["query_params"]]
        assert len(names) == len(set(names)), operation["name"]


AMOUNTS = st.none() | st.sampled_from(["0", "9", "10", "10.5", "100", "9999999999999999.99"])


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    amounts=st.lists(AMOUNTS, max_size=12),
    limit=st.integers(1, 5),
    descending=st.booleans(),
    above=st.sampled_from([None, 9]),
)
def test_pages_by_amount_are_the_whole_list_in_order(
    desk: Any, amounts: list[str | None], limit: int, descending: bool, above: int | None
) -> None:
    fresh = type(desk)(desk.db, principal())
    for i, amount in enumerate(amounts):
        opened(fresh, amount=amount and {"amount": amount, "currency": ("EUR", "USD")[i % 2]})
    query = [["q", "rob"]] if above is None else [["amount[gt]", str(above)]]

    seen: list[Decimal | None] = []
    after: list[list[str]] = []
    while True:
        asked = [*query, ["sort", "-" * descending + "amount"], ["limit", str(limit)], *after]
        page = json.loads(fresh.call("list_opportunities", query=asked).body)
        seen += [item["amount"] and Decimal(item["amount"]["amount"]) for item in page["items"]]
        if page["next"] is None:
            break
        after = [["cursor", page["next"]]]

    known = sorted((Decimal(a) for a in amounts if a is not None), reverse=descending)
    if above is None:
        # What has no amount comes last, whichever way round.
        assert seen == known + [None] * amounts.count(None)
    else:
        assert seen == [amount for amount in known if amount > above]


def test_money_is_told_to_be_sortable() -> None:
    told_of = manifest(Sales)

    (field,) = (
        field
        for record in told_of["records"]
        for field in record["fields"]
        if (record["name"], field["name"]) == ("opportunities", "amount")
    )
    (listed,) = (o for o in told_of["operations"] if o["name"] == "list_opportunities")
    (sort,) = (p for p in listed["query_params"] if p["name"] == "sort")
    assert field["sortable"]
    assert {"amount", "-amount"} <= set(sort["schema"]["enum"])


def test_a_deleted_opportunity_is_gone_with_its_stages(desk: Any) -> None:
    deal = opened(desk)

    reply = desk.call("delete_opportunity", if_match=deal["version"], path={"id": deal["id"]})

    assert reply.status == 204
    assert desk.call("get_opportunity", path={"id": deal["id"]}).status == 404
    assert told(desk)[-1][0] == "opportunities_removed"


def test_a_failed_transaction_tells_nothing(desk: Any) -> None:
    opened(desk, external_id="A-1")
    before = len(told(desk))

    problem = refused(desk, "create_opportunity", {"name": "Again", "external_id": "A-1"})

    assert problem["status"] == 409
    assert len(told(desk)) == before
    other = opened(desk)
    problem = refused(
        desk, "change_opportunity", {"external_id": "A-1"}, other["version"], id=other["id"]
    )
    assert problem["status"] == 409


# --- the state machine ---------------------------------------------------------------------------

DAYS = st.dates(dt.date(2026, 1, 1), dt.date(2026, 3, 1))
STAGES = st.sampled_from(["prospecting", "engaging", "proposal", "negotiation", "won", "lost"])


def test_any_order_of_moves_keeps_the_rules(desk: Any) -> None:
    class Moves(RuleBasedStateMachine):
        """The product against a model that knows the rules from their one-page description."""

        deal: dict[str, Any]
        stage: str
        engaged: dt.date | None
        closed: dt.date | None
        path: list[str]

        @initialize()
        def start(self) -> None:
            self.deal = opened(desk)
            self.stage, self.engaged, self.closed = "prospecting", None, None
            self.path = ["prospecting"]

        def _do(self, name: str, body: dict[str, Any], expect: int) -> bool:
            reply = desk.call(
                name, json.dumps(body).encode(), self.deal["version"], path={"id": self.deal["id"]}
            )
            assert reply.status == expect, (name, body, reply.body)
            if reply.status == 200:
                self.deal = json.loads(reply.body)
            return bool(reply.status == 200)

        def _go(self, name: str, body: dict[str, Any], stage: str, day: dt.date) -> None:
            open_now = self.stage not in ("won", "lost")
            if not open_now:
                expect = 200 if stage == self.stage and name == "move_opportunity" else 409
            elif stage == self.stage:
                expect = 200
            else:
                ends = stage in ("won", "lost")
                expect = 422 if ends and self.engaged is not None and day < self.engaged else 200
            if self._do(name, body, expect) and open_now and stage != self.stage:
                if self.engaged is None and stage != "prospecting":
                    self.engaged = day
                self.stage = stage
                self.path.append(stage)
                self.closed = day if stage in ("won", "lost") else None

        @rule(stage=STAGES, day=DAYS)
        def move(self, stage: str, day: dt.date) -> None:
            self._go("move_opportunity", {"stage": stage, "on": day.isoformat()}, stage, day)

        @rule(day=DAYS)
        def win(self, day: dt.date) -> None:
            self._go("win_opportunity", {"on": day.isoformat()}, "won", day)

        @rule(day=DAYS)
        def lose(self, day: dt.date) -> None:
            body = {"on": day.isoformat(), "reason": "No budget"}
            self._go("lose_opportunity", body, "lost", day)

        @rule(stage=st.none() | STAGES)
        def reopen(self, stage: str | None) -> None:
            closed = self.stage in ("won", "lost")
            ends = stage in ("won", "lost")
            expect = 200 if closed and not ends else 422 if closed else 409
            body = {} if stage is None else {"stage": stage}
            if self._do("reopen_opportunity", body, expect):
                last = next(s for s in reversed(self.path) if s not in ("won", "lost"))
                self.stage, self.closed = stage or last, None
                self.path.append(self.stage)

        @precondition(lambda self: self.deal["closed_on"] is not None)
        @rule(day=DAYS)
        def correct_the_day(self, day: dt.date) -> None:
            early = self.engaged is not None and day < self.engaged
            if self._do(
                "change_opportunity", {"closed_on": day.isoformat()}, 422 if early else 200
            ):
                self.closed = day

        def teardown(self) -> None:
            if not hasattr(self, "deal"):
                return
            reply = desk.call("list_stage_changes", path={"id": self.deal["id"]})
            kept = [item["to_stage"].lower() for item in json.loads(reply.body)["items"]]
            assert kept == self.path
            now = json.loads(desk.call("get_opportunity", path={"id": self.deal["id"]}).body)
            assert now == self.deal
            assert now["stage"] == self.stage
            assert now["status"] == (self.stage if self.closed else "open")
            assert now["closed_on"] == (self.closed.isoformat() if self.closed else None)
            assert now["engaged_on"] == (self.engaged.isoformat() if self.engaged else None)

    machine: Any = Moves
    machine.TestCase.settings = settings(
        max_examples=25,
        stateful_step_count=15,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine.TestCase().runTest()


def test_a_deal_that_is_won_in_the_evening_is_won_that_day_where_the_tenant_is(desk: Any) -> None:
    """Half past eight in the evening in New York is tomorrow in Greenwich."""
    at = Context(
        tenant=desk.who.tenant,
        principal=desk.who,
        now=dt.datetime(2026, 3, 2, 1, 30, tzinfo=dt.UTC),
    )
    there = {"time_zone": "America/New_York", "country": "US", "currency": "USD"}
    ours = TenantRef.model_validate(there | {"name": "Ours", "language": "en", "version": 1})
    with desk.db.writing(at) as session:
        tenants.keep(session, TenantSaved(tenant_id=at.tenant, tenant=ours))
    with desk.db.writing(at) as session:
        deal = opportunities.create(session, desk.hooks, NewOpportunity(name="x"))
    with desk.db.writing(at) as session:
        won = opportunities.win(session, deal.id, deal.version, Win())

    assert won.closed_on == won.engaged_on == dt.date(2026, 3, 1)
    assert won.stage_since == at.now
