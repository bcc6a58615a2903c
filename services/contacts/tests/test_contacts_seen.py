"""What others tell is shown to who may see what it is about, also what was told before."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import create_engine, make_url, text

from liaison_contacts import companies, deals, timeline
from liaison_contacts.companies import COMPANIES
from liaison_kit import listing, records
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.database.migrations import Roles, migrate, prepare
from liaison_kit.ids import uuid7
from liaison_kit.testing import about, principal
from liaison_sdk.contracts import sales
from liaison_sdk.contracts.contacts import CompanyChanges, NewCompany
from liaison_sdk.events import Envelope, Event

ME, OTHER = uuid7(), uuid7()


def company(db: Database, who: Context) -> UUID:
    """A company that everybody sees."""
    with db.writing(who) as session:
        return companies.create(session, NewCompany(name="Acme")).id


def told(event: type[Event], who: Context, **data: Any) -> Any:
    """An event as it arrives."""
    return event.read(
        Envelope(
            id=uuid7(),
            type=event.type,
            source=event.source,
            seq=1,
            tenant=who.tenant,
            occurred_at=dt.datetime.now(dt.UTC),
            key="x",
            correlation_id=uuid7(),
            data=data,
        )
    )


@pytest.fixture
def before(postgres: str) -> Iterator[Roles]:
    """A database of contacts as the release before left it, under roles of its own."""
    server = make_url(postgres).set(drivername="postgresql+psycopg2", database="before_seen")
    roles = Roles(
        server.set(username="before_seen_owner", password="owner"),
        server.set(username="before_seen", password="service"),
    )
    prepare(make_url(postgres), roles)
    migrate("contacts", roles.owner, "0002")
    yield roles
    whole = make_url(postgres).set(drivername="postgresql+psycopg2")
    engine = create_engine(whole, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP DATABASE before_seen WITH (FORCE)"))
    engine.dispose()


def me(who: Context, rule: str = "own") -> Context:
    """Somebody of the same tenant who sees their own deals only."""
    return about(principal(who.tenant, "*", user=ME, rows={"opportunities": rule}))


def shown(db: Database, who: Context, id: UUID) -> tuple[list[str], str | None, str]:
    """What somebody is told: names on the timeline, the cause, the history."""
    with db.reading(who) as session:
        page = json.loads(timeline.of(session, COMPANIES, id, 50, None))
        found = listing.read(session, COMPANIES, id)
        history = records.history(session, COMPANIES, id).decode()
    assert found is not None
    names = [entry["details"]["name"] for entry in page["items"] if "name" in entry["details"]]
    return names, json.loads(found[0])["customer_because"], history


def test_entries_and_causes_from_before_are_shown_to_who_may_see_their_deals(
    before: Roles,
) -> None:
    who = about(principal())
    ids = {name: uuid4() for name in ("company", "mine", "theirs", "file", "lost")}
    with create_engine(before.owner).begin() as connection:
        _insert_as_before(connection, who, ids)

    migrate("contacts", before.owner)

    db = Database(before.service)
    try:
        mine = shown(db, me(who), ids["company"])
        everything = shown(db, who, ids["company"])
        with db.writing(who) as session:
            ref = sales.OpportunityRef(id=ids["file"], owner_id=ME, version=3)
            deals.kept(session, told_again(who, ref))
        told_after = shown(db, me(who), ids["company"])
    finally:
        db.dispose()
    assert sorted(everything[0]) == ["From a file", "Mine", "Theirs"]
    assert everything[1] == "won: Theirs"
    assert "won: Theirs" in everything[2]
    assert mine[0] == ["Mine"]
    assert mine[1] is None
    assert "Theirs" not in mine[2]
    assert sorted(told_after[0]) == ["From a file", "Mine"]


def _insert_as_before(connection: Any, who: Context, ids: dict[str, UUID]) -> None:
    connection.execute(
        text(
            "INSERT INTO companies (id, tenant_id, version, created_at, updated_at, name, stage,"
            " search, customer_since, customer_because) VALUES (:id, :tenant, 2, now(), now(),"
            " 'Acme', 'customer', ' acme ', '2026-01-01', 'won: Theirs')"
        ),
        {"id": ids["company"], "tenant": who.tenant},
    )
    for name, owner in (("Mine", ME), ("Theirs", OTHER), ("From a file", None)):
        details = {"opportunity_id": str(ids[name.split()[-1].lower()]), "name": name}
        if owner is not None:
            details["owner_id"] = str(owner)
        connection.execute(
            text(
                "INSERT INTO occurrences (id, about_id, tenant_id, at, kind, details)"
                " VALUES (gen_random_uuid(), :about, :tenant, now(), 'deal_won',"
                " CAST(:details AS jsonb))"
            ),
            {"about": ids["company"], "tenant": who.tenant, "details": json.dumps(details)},
        )
    changes = {"customer_because": [None, "won: Theirs"], "stage": ["lead", "customer"]}
    connection.execute(
        text(
            "INSERT INTO history (id, tenant_id, record, record_id, version, action, at, changes)"
            " VALUES (gen_random_uuid(), :tenant, 'companies', :id, 2, 'changed', now(),"
            " CAST(:changes AS jsonb))"
        ),
        {"id": ids["company"], "tenant": who.tenant, "changes": json.dumps(changes)},
    )


def told_again(who: Context, *refs: sales.OpportunityRef) -> Any:
    data = [ref.model_dump(mode="json") for ref in refs]
    return told(sales.OpportunitiesSaved, who, opportunities=data)


def of_deal(event: type, who: Context, deal: UUID, about_id: UUID, **more: Any) -> Any:
    facts = {"name": "Deal", "contact_id": None, "amount": None, "stage": "Open"}
    return told(event, who, opportunity_id=str(deal), company_id=str(about_id), **{**facts, **more})


@pytest.mark.parametrize(
    ("tellings", "owner"),
    [
        ([(1, OTHER), (2, ME)], ME),
        ([(2, ME), (1, OTHER)], ME),
        ([(2, OTHER), (1, ME), (1, ME)], OTHER),
        # A release before tells no version: what it tells last counts.
        ([(2, OTHER), (None, ME)], ME),
        ([(None, ME), (1, OTHER)], OTHER),
    ],
)
def test_the_owner_at_the_latest_version_sees_a_deal_in_whatever_order_it_is_told(
    contacts_db: Database, someone: Context, tellings: list[tuple[int | None, UUID]], owner: UUID
) -> None:
    id, deal = company(contacts_db, someone), uuid4()
    with contacts_db.writing(someone) as session:
        deals.opened(
            session, of_deal(sales.OpportunityOpened, someone, deal, id, owner_id=str(uuid4()))
        )
    for version, whose in tellings:
        event = of_deal(
            sales.OpportunityChanged,
            someone,
            deal,
            id,
            owner_id=str(whose),
            changed=["owner_id"],
            record_version=version,
        )
        with contacts_db.writing(someone) as session:
            deals.changed(session, event)

    names, _, _ = shown(contacts_db, me(someone), id)

    assert bool(names) == (owner == ME)
    assert shown(contacts_db, me(someone, "all"), id)[0] == ["Deal"]


def test_who_may_not_read_deals_is_told_of_none(contacts_db: Database, someone: Context) -> None:
    id, deal = company(contacts_db, someone), uuid4()
    won = of_deal(
        sales.DealWon, someone, deal, id, owner_id=str(ME), won_on="2026-03-01", record_version=1
    )
    with contacts_db.writing(someone) as session:
        deals.won(session, won)
    reader = about(principal(someone.tenant, "companies:read", user=ME))
    may_see = about(principal(someone.tenant, "companies:read", "opportunities:read"))

    assert shown(contacts_db, reader, id)[:2] == ([], None)
    assert "Deal" not in shown(contacts_db, reader, id)[2]
    assert shown(contacts_db, may_see, id)[:2] == (["Deal"], "won: Deal")


def test_what_is_done_by_hand_is_shown_to_everybody(
    contacts_db: Database, someone: Context
) -> None:
    id = company(contacts_db, someone)
    with contacts_db.writing(someone) as session:
        companies.change(session, id, 1, CompanyChanges(stage="customer"))

    _, cause, history = shown(contacts_db, me(someone), id)

    assert cause == "changed by hand"
    assert "changed by hand" in history
