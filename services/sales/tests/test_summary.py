"""The summary equals what plain Python makes of the same opportunities, to the cent and the row."""

import csv
import datetime as dt
import io
import json
import os
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from liaison_kit.calls.manifest import manifest
from liaison_kit.ids import uuid7
from liaison_kit.imports import engine
from liaison_kit.imports.mapping import suggest
from liaison_kit.imports.planning import Options
from liaison_kit.imports.reading import open_table
from liaison_kit.testing import principal, statements
from liaison_sales.importing import IMPORTABLES
from liaison_sales.service import Sales
from liaison_sdk.contracts.sales import SummaryBy

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("LIAISON_DATA") or ROOT.parent / "shared" / "data")
BOOK = DATA / "crm-sales-opportunities"
BYS: Sequence[str] = get_args(SummaryBy)

# A book with the faults that real ones have, for where the real one is not at hand.
SMALL = {
    "products.csv": "product,series,sales_price\nGTX Pro,GTX,4821\nMG Special,MG,55\n",
    "sales_teams.csv": "sales_agent,manager,regional_office\n"
    "Anna Snelling,Dustin Brinkmann,Central\n"
    "Mei-Mei Johns,Melvin Marxen,Central\n"
    "Zoë Faß,Cara Losch,East\n",
    "accounts.csv": "account,sector\nAcme Corporation,technolgy\nÉtablissements Noël,retail\n",
    "sales_pipeline.csv": "opportunity_id,sales_agent,product,account,deal_stage,engage_date,"
    "close_date,close_value\n"
    "A1,Anna Snelling,GTXPro,Acme Corporation,Won,2016-10-20,2017-03-01,1054\n"
    "A2,Anna Snelling,GTXPro,Acme Corporation,Won,2016-10-25,2017-03-11,4514.55\n"
    "A3,Mei-Mei Johns,MG Special,Établissements Noël,Lost,2016-10-25,2017-03-07,0\n"
    "A4,Zoë Faß,MG Special,,Engaging,2016-11-02,,\n"
    "A5,Zoë Faß,GTXPro,,Prospecting,,,\n"
    "A6,zoe fass,MG Special,etablissements noel,Lost,2017-01-01,2017-01-01,0\n",
}


# --- the oracle ----------------------------------------------------------------------------------


def rounded(number: Fraction, places: int) -> str:
    """Half up, as people round."""
    scaled = number * 10**places
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return str(Decimal(whole).scaleb(-places))


def expected(deals: Sequence[Mapping[str, Any]], by: str) -> dict[str, Any]:
    """What a summary says of deals given as plain facts, rows by label."""
    groups: dict[str | None, list[Mapping[str, Any]]] = defaultdict(list)
    for deal in deals:
        groups[deal[by]].append(deal)
    return {
        "rows": {label: figures(members) for label, members in groups.items()},
        "total": figures(deals),
    }


def figures(deals: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of one row."""
    kinds = {kind: [d for d in deals if d["kind"] == kind] for kind in ("open", "won", "lost")}
    won, closed = len(kinds["won"]), len(kinds["won"]) + len(kinds["lost"])
    cycles = [
        (d["closed"] - d["engaged"]).days for d in kinds["won"] if d["closed"] and d["engaged"]
    ]
    return {
        "count": len(deals),
        **{kind: len(members) for kind, members in kinds.items()},
        "amounts": monies(kinds["open"] + kinds["won"]),
        **{f"{kind}_amounts": monies(members) for kind, members in kinds.items()},
        "weighted": monies(kinds["open"], weighted=True),
        "win_rate": rounded(Fraction(won, closed), 4) if closed else None,
        "mean_cycle_days": rounded(Fraction(sum(cycles), len(cycles)), 2) if cycles else None,
    }


def monies(deals: Sequence[Mapping[str, Any]], weighted: bool = False) -> list[dict[str, str]]:
    """The sum of the amounts, per currency."""
    sums: dict[str, Fraction] = defaultdict(Fraction)
    for deal in deals:
        if deal["amount"] is not None:
            share = Fraction(deal["probability"], 100) if weighted else 1
            sums[deal["currency"]] += Fraction(deal["amount"]) * share
    return [
        {"amount": rounded(amount, 2), "currency": currency}
        for currency, amount in sorted(sums.items())
    ]


def told(desk: Any, by: str, *filters: tuple[str, str]) -> dict[str, Any]:
    """What the product says, rows by label."""
    reply = desk.call("summarise", query=[["by", by], *map(list, filters)])
    assert reply.status == 200, reply.body
    answer = json.loads(reply.body)
    labels = [row["label"] for row in answer["rows"]]
    assert len(set(labels)) == len(labels)
    for row in (*answer["rows"], answer["total"]):
        row.pop("key")
    rows = {row.pop("label"): row for row in answer["rows"]}
    answer["total"].pop("label")
    return {"rows": rows, "total": answer["total"]}


# --- any book ------------------------------------------------------------------------------------

STAGES = {
    "Prospecting": ("open", 10),
    "Proposal": ("open", 50),
    "Won": ("won", 100),
    "Lost": ("lost", 0),
}
DAYS = st.none() | st.dates(dt.date(2025, 11, 1), dt.date(2026, 2, 28))


@st.composite
def deals(draw: st.DrawFn) -> dict[str, Any]:
    stage = draw(st.sampled_from(sorted(STAGES)))
    kind, usual = STAGES[stage]
    amount = draw(st.none() | st.decimals(0, 10**12, places=2))
    engaged = draw(DAYS)
    closed = draw(DAYS) if kind != "open" else None
    if engaged and closed and closed < engaged:
        engaged, closed = closed, engaged
    probability = draw(st.none() | st.integers(0, 100))
    return {
        "stage": stage,
        "kind": kind,
        "amount": amount,
        "currency": None if amount is None else draw(st.sampled_from(["EUR", "USD", "CHF"])),
        "engaged": engaged,
        "closed": closed,
        "given": probability,
        "probability": usual if probability is None else probability,
        "rep": draw(st.sampled_from([None, "Anna", "Bruno", "Carla"])),
        "own_region": draw(st.sampled_from([None, "North", "West"])),
        "product": draw(st.sampled_from([None, "GTX", "MG"])),
    }


REPS = {"Anna": ("West", "Max"), "Bruno": ("East", "Max"), "Carla": (None, None)}


@given(book=st.lists(deals(), max_size=25))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_book_adds_up(desk: Any, book: list[dict[str, Any]]) -> None:
    here = type(desk)(desk.db, principal())
    manager = uuid7()
    users = {
        name: here.user(name, region, manager=boss, manager_id=manager if boss else None)
        for name, (region, boss) in REPS.items()
    }
    stages = stages_of(here)
    products = {name: product(here, name) for name in ("GTX", "MG")}
    with here.db.writing(here.context()) as session:
        for deal in book:
            insert(session, here.who.tenant, deal, stages, users, products)
    for deal in book:
        region, boss = REPS.get(deal["rep"] or "", (None, None))
        deal["region"] = region or deal["own_region"]
        deal["manager"] = boss
        deal["month"] = deal["closed"].strftime("%Y-%m") if deal["closed"] else None

    for by in BYS:
        assert told(here, by) == expected(book, by), by

    west = [deal for deal in book if deal["region"] == "West"]
    assert told(here, "stage", ("region", "West")) == expected(west, "stage")
    late = [deal for deal in book if deal["closed"] and deal["closed"] >= dt.date(2026, 1, 1)]
    assert told(here, "rep", ("closed_on[gte]", "2026-01-01")) == expected(late, "rep")


def stages_of(desk: Any) -> dict[str, tuple[str, str]]:
    """The default pipeline's stages by name: (stage, pipeline)."""
    pipeline = json.loads(desk.call("list_pipelines").body)["items"][0]
    return {stage["name"]: (stage["id"], pipeline["id"]) for stage in pipeline["stages"]}


def product(desk: Any, name: str) -> str:
    reply = desk.call("create_product", json.dumps({"name": name}).encode())
    return str(json.loads(reply.body)["id"])


INSERT = text("""
    INSERT INTO opportunities (id, tenant_id, version, created_at, updated_at, name, search,
        pipeline_id, stage_id, stage_since, status, product_id, owner_id, region, amount_amount,
        currency, probability, engaged_on, closed_on)
    VALUES (:id, :tenant, 1, now(), now(), 'x', ' x', :pipeline, :stage, now(), :status, :product,
        :owner, :region, :amount, :currency, :probability, :engaged, :closed)
""")


def insert(
    session: Any,
    tenant: UUID,
    deal: Mapping[str, Any],
    stages: Mapping[str, tuple[str, str]],
    users: Mapping[str, UUID],
    products: Mapping[str, str],
) -> None:
    stage, pipeline = stages[deal["stage"]]
    session.execute(
        INSERT,
        {
            "id": uuid7(),
            "tenant": tenant,
            "pipeline": pipeline,
            "stage": stage,
            "status": deal["kind"],
            "product": products.get(deal["product"]),
            "owner": users.get(deal["rep"]),
            "region": deal["own_region"],
            "amount": deal["amount"],
            "currency": deal["currency"],
            "probability": deal["given"],
            "engaged": deal["engaged"],
            "closed": deal["closed"],
        },
    )


def test_a_summary_has_no_pages_and_no_order(desk: Any) -> None:
    (operation,) = (o for o in manifest(Sales)["operations"] if o["name"] == "summarise")
    sent = {"sort": "password", "limit": "10", "cursor": "x", "count": "true"}

    problem = json.loads(desk.call("summarise", query=[[*pair] for pair in sent.items()]).body)

    assert not sent.keys() & {parameter["name"] for parameter in operation["query_params"]}
    assert {"by", "stage", "amount[gte]"} <= {p["name"] for p in operation["query_params"]}
    assert problem["status"] == 422
    assert [(e["path"], e["code"]) for e in problem["errors"]] == [
        (name, "unknown_parameter") for name in sent
    ]


def test_a_summary_is_one_statement_and_has_no_search(desk: Any) -> None:
    with statements(desk.db) as seen:
        empty = told(desk, "stage")

    assert len(seen) == 1
    assert empty == expected([], "stage")
    assert desk.call("summarise", query=[["q", "robots"]]).status == 422
    assert desk.call("summarise", query=[["by", "mood"]]).status == 422


# --- a book in files -----------------------------------------------------------------------------


class Steps:
    """A job that does not die: each step is a transaction."""

    def __init__(self, desk: Any) -> None:
        self.desk = desk
        self.checkpoint: dict[str, Any] = {}
        self.done = 0
        self.total: int | None = None

    @contextmanager
    def step(self) -> Iterator[Any]:
        with self.desk.db.writing(self.desk.context()) as session:
            yield session

    def asking(self, work: Any) -> Any:
        """Work in one transaction; here are no other services to ask."""
        with self.step() as session:
            return work(session)


def brought_in(
    desk: Any, record: str, file: Path, value_map: Mapping[str, Mapping[str, str]] | None = None
) -> tuple[Any, dict[str, int]]:
    """Import a file with the columns that the product suggests for it; the plan and the counts."""
    importable = next(found for found in IMPORTABLES if found.record == record)
    table = open_table(file)
    with desk.db.reading(desk.context()) as session:
        fields = importable.all_fields(session)
    mapping = {s.column: s.field for s in suggest(table.header, {}, fields)}
    plan, tally = engine.run(
        Steps(desk), importable, table, mapping, value_map or {}, Options(), uuid7(), uuid7()
    )
    return plan, {name: number for name, number in tally.counts.items() if number}


@pytest.fixture(params=["small", "real"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with a sales book in four files."""
    if request.param == "real":
        if not BOOK.is_dir():
            pytest.skip("the real book is not here")
        return BOOK
    for name, content in SMALL.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


def rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))


def facts(book: Path) -> list[dict[str, Any]]:
    """The deals of a book by plain reading; its one alien product name is settled by hand."""
    teams = {row["sales_agent"]: row for row in rows(book / "sales_teams.csv")}
    teams["zoe fass"] = teams.get("Zoë Faß", {})
    kinds = {"Won": ("won", 100), "Lost": ("lost", 0), "Engaging": ("open", 30)}
    found = []
    for row in rows(book / "sales_pipeline.csv"):
        kind, probability = kinds.get(row["deal_stage"], ("open", 10))
        day = {
            name: dt.date.fromisoformat(row[f"{name}_date"]) if row[f"{name}_date"] else None
            for name in ("engage", "close")
        }
        team = teams[row["sales_agent"]]
        found.append(
            {
                "stage": row["deal_stage"],
                "kind": kind,
                "probability": probability,
                "amount": Decimal(row["close_value"]) if row["close_value"] else None,
                "currency": "EUR" if row["close_value"] else None,
                "engaged": day["engage"],
                "closed": day["close"],
                "month": row["close_date"][:7] or None,
                "rep": team["sales_agent"],
                "region": team["regional_office"],
                "manager": team["manager"],
                "product": row["product"].replace("GTXPro", "GTX Pro"),
            }
        )
    return found


def test_an_imported_book_adds_up_and_again_changes_nothing(desk: Any, book: Path) -> None:
    bosses = {row["manager"]: uuid7() for row in rows(book / "sales_teams.csv")}
    for row in rows(book / "sales_teams.csv"):
        boss = row["manager"]
        desk.user(row["sales_agent"], row["regional_office"], manager=boss, manager_id=bosses[boss])
    for row in rows(book / "accounts.csv"):
        desk.company(row["account"])
    deals = facts(book)
    catalogue = rows(book / "products.csv")

    _, counts = brought_in(desk, "products", book / "products.csv")
    assert counts == {"created": len(catalogue)}
    plan, counts = brought_in(desk, "opportunities", book / "sales_pipeline.csv")
    aliens = sum(row["product"] == "GTXPro" for row in rows(book / "sales_pipeline.csv"))
    assert counts == {"created": len(deals) - aliens, "failed": aliens}
    assert [(u.value, u.count, u.nearest) for u in plan.unmatched] == [
        ("GTXPro", aliens, "GTX Pro")
    ]
    settled = {"product": {"GTXPro": "GTX Pro"}}
    _, counts = brought_in(desk, "opportunities", book / "sales_pipeline.csv", settled)
    assert counts == {"created": aliens, "unchanged": len(deals) - aliens}

    before = everything(desk)
    for by in BYS:
        assert told(desk, by) == expected(deals, by), by
    _, counts = brought_in(desk, "opportunities", book / "sales_pipeline.csv", settled)
    assert counts == {"unchanged": len(deals)}
    _, counts = brought_in(desk, "products", book / "products.csv")
    assert counts == {"unchanged": len(catalogue)}
    assert everything(desk) == before


def everything(desk: Any) -> tuple[Any, ...]:
    """Fingerprints of all rows that an import could touch, and how many events there are."""
    with desk.db.reading(desk.context()) as session:
        prints = [
            tuple(
                session.execute(
                    text(f"SELECT count(*), md5(string_agg(t::text, '' ORDER BY t.id)) FROM {t} t")
                ).one()
            )
            for t in ("opportunities", "products", "stage_changes", "history")
        ]
        events = session.scalar(
            text("SELECT count(*) FROM outbox WHERE body LIKE :mine"),
            {"mine": f"%{desk.who.tenant}%"},
        )
    return (*prints, events)


def test_imported_opportunities_are_named_dated_and_told(desk: Any, tmp_path: Path) -> None:
    for name, content in SMALL.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    for rep in ("Anna Snelling", "Mei-Mei Johns", "Zoë Faß"):
        desk.user(rep)
    desk.company("Acme Corporation")
    noel = desk.company("Établissements Noël")
    brought_in(desk, "products", tmp_path / "products.csv")

    settled = {"product": {"GTXPro": "GTX Pro"}}
    brought_in(desk, "opportunities", tmp_path / "sales_pipeline.csv", settled)

    def one(external_id: str) -> dict[str, Any]:
        reply = desk.call("list_opportunities", query=[["external_id", external_id]])
        found: dict[str, Any] = json.loads(reply.body)["items"][0]
        return found

    won, lost, lone = one("A1"), one("A6"), one("A5")
    assert won["name"] == "Acme Corporation – GTX Pro"
    assert (won["stage_name"], won["closed_on"]) == ("Won", "2017-03-01")
    assert won["stage_since"].startswith("2017-03-01T00:00:00")
    assert (lost["company_id"], lost["owner_name"]) == (str(noel), "Zoë Faß")
    assert (lone["name"], lone["amount"]) == ("A5", None)
    found = json.loads(desk.call("list_opportunities", query=[["q", "noel"]]).body)["items"]
    assert {item["external_id"] for item in found} == {"A3", "A6"}
    stages = json.loads(desk.call("list_stage_changes", path={"id": won["id"]}).body)["items"]
    assert [(s["from_stage"], s["to_stage"], s["at"][:10]) for s in stages] == [
        (None, "Won", "2017-03-01")
    ]
    changed = SMALL["sales_pipeline.csv"].replace(
        "Engaging,2016-11-02,,", "Won,2016-11-02,2017-05-01,70"
    )
    (tmp_path / "sales_pipeline.csv").write_text(changed, encoding="utf-8")
    _, counts = brought_in(desk, "opportunities", tmp_path / "sales_pipeline.csv", settled)
    assert counts == {"updated": 1, "unchanged": 5}
    assert (one("A4")["status"], one("A4")["version"]) == ("won", 2)
    stages = json.loads(desk.call("list_stage_changes", path={"id": one("A4")["id"]}).body)
    assert [s["to_stage"] for s in stages["items"]] == ["Engaging", "Won"]


def test_a_file_and_a_hand_date_the_same_deal_alike(
    desk: Any, today: dt.date, tmp_path: Path
) -> None:
    ahead = (today + dt.timedelta(days=30)).isoformat()
    deals = [
        {"stage": "engaging", "engaged_on": "2020-02-03"},
        {"stage": "prospecting", "engaged_on": "2020-02-03"},
        {"stage": "won", "engaged_on": "2020-02-03", "closed_on": "2020-03-04"},
        {"stage": "proposal", "engaged_on": ahead},
        {"stage": "prospecting"},
    ]

    def stages(id: str) -> list[tuple[str, str, int | None]]:
        reply = desk.call("list_stage_changes", path={"id": id})
        items = json.loads(reply.body)["items"]
        return [(s["to_stage"], s["at"][:10], s["seconds"]) for s in items]

    by_hand = []
    with (tmp_path / "deals.csv").open("w") as file:
        book = csv.DictWriter(file, ["id", "stage", "engaged_on", "closed_on"])
        book.writeheader()
        for i, deal in enumerate(deals):
            body = json.dumps({"name": "x", **deal}).encode()
            by_hand.append(json.loads(desk.call("create_opportunity", body).body))
            book.writerow({"id": f"F{i}", **deal})
    brought_in(desk, "opportunities", tmp_path / "deals.csv")

    for i, deal in enumerate(by_hand):
        reply = desk.call("list_opportunities", query=[["external_id", f"F{i}"]])
        (filed,) = json.loads(reply.body)["items"]
        day = (today.isoformat(), "2020-02-03", "2020-03-04")[(1, 1, 2, 0, 0)[i]]
        assert stages(filed["id"]) == stages(deal["id"]) == [(deal["stage_name"], day, None)]
        assert filed["stage_since"][:10] == deal["stage_since"][:10] == day


def test_a_file_that_moves_a_deal_does_not_date_the_move_by_its_engagement(
    desk: Any, today: dt.date, tmp_path: Path
) -> None:
    head = "id,stage,engaged_on,closed_on\n"
    for rows in (
        "A,Engaging,2020-01-01,\nB,Engaging,2020-01-01,\n",
        "A,Proposal,2020-01-01,\nB,Won,2020-01-01,2020-01-31\n",
    ):
        (tmp_path / "deals.csv").write_text(head + rows)
        brought_in(desk, "opportunities", tmp_path / "deals.csv")

    for name, day in (("A", today), ("B", dt.date(2020, 1, 31))):
        reply = desk.call("list_opportunities", query=[["external_id", name]])
        id = json.loads(reply.body)["items"][0]["id"]
        moved = json.loads(desk.call("list_stage_changes", path={"id": id}).body)["items"][1]
        assert moved["at"][:10] == day.isoformat()
        assert moved["seconds"] // 86_400 == (day - dt.date(2020, 1, 1)).days


def test_large_books_stay_cheap(desk: Any) -> None:
    """A hundred thousand opportunities: the covering index is what is read."""
    random.seed(7)
    users = [str(desk.user(f"Rep {i}", f"Region {i % 5}")) for i in range(40)]
    stages = list(stages_of(desk).values())
    with desk.db.writing(desk.context()) as session:
        session.execute(
            text("""
                INSERT INTO opportunities (id, tenant_id, version, created_at, updated_at, name,
                    search, pipeline_id, stage_id, stage_since, status, owner_id, amount_amount,
                    currency, engaged_on, closed_on)
                SELECT gen_random_uuid(), :tenant, 1, now(), now(), 'Deal ' || n, ' deal ' || n,
                       :pipeline, s.id, now(), s.kind, (CAST(:users AS uuid[]))[1 + n % 40],
                       n % 5000, 'EUR', date '2025-01-01' + n % 300,
                       CASE WHEN s.kind <> 'open' THEN date '2025-01-01' + n % 300 + n % 90 END
                  FROM generate_series(1, 20000) n
                  JOIN stages s ON s.pipeline_id = :pipeline AND s.position = n % 6
            """),
            {"tenant": desk.who.tenant, "pipeline": stages[0][1], "users": users},
        )

    for by in BYS:
        assert told(desk, by)["total"]["count"] == 20000
