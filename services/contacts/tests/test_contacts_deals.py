"""What sales tells changes the stage and the timeline of those it is about, once."""

import datetime as dt
import json
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

from liaison_contacts import companies, deals, deals_taken_back, notes, timeline
from liaison_contacts.companies import COMPANIES
from liaison_kit import listing
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.testing import statements
from liaison_sdk.contracts import sales
from liaison_sdk.contracts.contacts import NewCompany, NewNote
from liaison_sdk.events import Envelope, Event


def company(db: Database, who: Context) -> UUID:
    with db.writing(who) as session:
        return companies.create(session, NewCompany(name="Acme")).id


def told(event: type[Event], who: Context, **data: Any) -> Any:
    envelope = Envelope(
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
    return event.read(envelope)


def won(who: Context, company_id: UUID, on: str) -> Any:
    return told(
        sales.DealWon,
        who,
        opportunity_id=str(uuid4()),
        company_id=str(company_id),
        contact_id=None,
        owner_id=None,
        name="Big deal",
        amount={"amount": "10.00", "currency": "EUR"},
        won_on=on,
    )


def lost(who: Context, company_id: UUID) -> Any:
    return told(
        sales.DealLost,
        who,
        **dict.fromkeys(("contact_id", "owner_id", "amount", "reason")),
        opportunity_id=str(uuid4()),
        company_id=str(company_id),
        name="Deal",
        lost_on="2026-01-02",
    )


def read(db: Database, who: Context, id: UUID) -> dict[str, Any]:
    with db.reading(who) as session:
        found = listing.read(session, COMPANIES, id)
    assert found is not None
    record: dict[str, Any] = json.loads(found[0])
    return record


def kinds(db: Database, who: Context, id: UUID) -> list[str]:
    with db.reading(who) as session:
        page = json.loads(timeline.of(session, COMPANIES, id, 50, None))
    return [entry["kind"] for entry in page["items"]]


def test_a_won_deal_makes_its_company_a_customer_with_date_and_cause(
    contacts_db: Database, someone: Context
) -> None:
    id = company(contacts_db, someone)

    with contacts_db.writing(someone) as session:
        deals.won(session, won(someone, id, "2026-03-01"))

    record = read(contacts_db, someone, id)
    assert record["stage"] == "customer"
    assert record["customer_since"] == "2026-03-01"
    assert record["customer_because"] == "won: Big deal"
    assert set(kinds(contacts_db, someone, id)) == {"created", "changed", "deal_won"}


def test_the_earliest_won_deal_is_the_cause_in_whatever_order_they_come(
    contacts_db: Database, someone: Context
) -> None:
    id = company(contacts_db, someone)

    for on in ("2026-03-01", "2026-05-01", "2025-01-01"):
        with contacts_db.writing(someone) as session:
            deals.won(session, won(someone, id, on))

    assert read(contacts_db, someone, id)["customer_since"] == "2025-01-01"


def test_the_same_event_twice_is_one_entry(contacts_db: Database, someone: Context) -> None:
    id = company(contacts_db, someone)
    event = won(someone, id, "2026-03-01")

    for _ in range(2):
        with contacts_db.writing(someone) as session:
            deals.won(session, event)

    assert kinds(contacts_db, someone, id).count("deal_won") == 1


def test_an_imported_book_reaches_timelines_at_its_own_dates(
    contacts_db: Database, someone: Context
) -> None:
    id = company(contacts_db, someone)

    def deal(kind: str, on: str | None) -> dict[str, Any]:
        return {
            "opportunity_id": str(uuid4()),
            "company_id": str(id),
            "name": "Deal",
            "stage": kind,
            "kind": kind,
            "amount": None,
            "closed_on": on,
        }

    event = told(
        sales.OpportunitiesImported,
        someone,
        opportunities=[deal("won", "2017-03-01"), deal("won", "2017-01-05"), deal("open", None)],
    )
    with contacts_db.writing(someone) as session:
        deals.imported(session, event)

    assert read(contacts_db, someone, id)["customer_since"] == "2017-01-05"
    assert kinds(contacts_db, someone, id).count("deal_won") == 2


def test_what_a_transaction_is_told_is_one_statement_and_kept_with_it(
    contacts_db: Database, someone: Context
) -> None:
    ids = [company(contacts_db, someone) for _ in range(3)]
    events = [
        told(
            sales.OpportunityMoved,
            someone,
            **dict.fromkeys(("contact_id", "owner_id")),
            **dict.fromkeys(("opportunity_id", "from_stage_id", "to_stage_id"), str(uuid4())),
            company_id=str(id),
            name="Deal",
            from_stage="A",
            to_stage="B",
            kind="open",
        )
        for id in ids
    ]

    with statements(contacts_db) as seen, contacts_db.writing(someone) as session:
        for event in events:
            deals.moved(session, event)
    with suppress(ZeroDivisionError), contacts_db.writing(someone) as session:
        deals.lost(session, lost(someone, ids[0]))
        _ = 1 / 0
    with contacts_db.writing(someone) as session:
        deals.lost(session, lost(someone, ids[0]))
        with suppress(ZeroDivisionError), session.begin_nested():
            deals.lost(session, lost(someone, ids[1]))
            _ = 1 / 0
        with session.begin_nested():
            deals.lost(session, lost(someone, ids[2]))

    assert len([sql for sql in seen if "occurrences" in sql]) == 1
    moved = "opportunity_moved"
    assert kinds(contacts_db, someone, ids[0])[:2] == ["deal_lost", moved]
    assert kinds(contacts_db, someone, ids[1])[:1] == [moved]
    assert kinds(contacts_db, someone, ids[2])[:2] == ["deal_lost", moved]


def test_the_timeline_pages_through_everything_once(
    contacts_db: Database, someone: Context
) -> None:
    id = company(contacts_db, someone)
    for i in range(7):
        with contacts_db.writing(someone) as session:
            notes.add(session, COMPANIES, id, NewNote(body=f"note {i}"))

    seen: list[str] = []
    cursor = None
    while True:
        with contacts_db.reading(someone) as session:
            page = json.loads(timeline.of(session, COMPANIES, id, 3, cursor))
        seen += [entry["id"] for entry in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break

    assert len(seen) == len(set(seen)) == 8


def imported(db: Database, who: Context, *those: dict[str, Any]) -> None:
    event = told(sales.OpportunitiesImported, who, opportunities=list(those))
    with db.writing(who) as session:
        deals.imported(session, event)


def taken_back(db: Database, who: Context, **kinds: str | None) -> None:
    those = [{"opportunity_id": id, "kind": kind} for id, kind in kinds.items()]
    event = told(sales.OpportunitiesTakenBack, who, opportunities=those)
    with db.writing(who) as session:
        deals_taken_back.taken_back(session, event)


def of_a_book(company_id: UUID, kind: str, on: str | None, id: str | None = None) -> dict[str, Any]:
    return {
        "opportunity_id": id or str(uuid7()),
        "company_id": str(company_id),
        "name": f"Deal of {on}",
        "stage": kind,
        "kind": kind,
        "amount": None,
        "closed_on": on,
    }


def test_a_book_that_is_taken_back_takes_what_it_caused_with_it(
    contacts_db: Database, someone: Context
) -> None:
    won_with, open_with = company(contacts_db, someone), company(contacts_db, someone)
    book = [
        of_a_book(won_with, "won", "2017-03-01"),
        of_a_book(won_with, "open", None),
        of_a_book(open_with, "open", None),
    ]
    imported(contacts_db, someone, *book)
    assert read(contacts_db, someone, won_with)["stage"] == "customer"
    assert read(contacts_db, someone, open_with)["stage"] == "opportunity"

    taken_back(contacts_db, someone, **dict.fromkeys((d["opportunity_id"] for d in book), None))

    for id in (won_with, open_with):
        record = read(contacts_db, someone, id)
        assert (record["stage"], record["customer_since"]) == ("lead", None)
        assert record["customer_because"] is None
        assert set(kinds(contacts_db, someone, id)) == {"created", "changed"}


def test_who_has_another_won_deal_stays_a_customer_because_of_that_one(
    contacts_db: Database, someone: Context
) -> None:
    id = company(contacts_db, someone)
    imported(contacts_db, someone, of_a_book(id, "won", "2018-06-01"))
    first = of_a_book(id, "won", "2017-03-01")
    imported(contacts_db, someone, first)
    assert read(contacts_db, someone, id)["customer_since"] == "2017-03-01"

    taken_back(contacts_db, someone, **{first["opportunity_id"]: None})

    record = read(contacts_db, someone, id)
    assert (record["stage"], record["customer_since"]) == ("customer", "2018-06-01")
    assert record["customer_because"] == "won: Deal of 2018-06-01"


def test_who_was_an_opportunity_before_the_book_still_is(
    contacts_db: Database, someone: Context
) -> None:
    id = company(contacts_db, someone)
    imported(contacts_db, someone, of_a_book(id, "open", None))
    second = of_a_book(id, "open", None)
    imported(contacts_db, someone, second)

    taken_back(contacts_db, someone, **{second["opportunity_id"]: None})

    assert read(contacts_db, someone, id)["stage"] == "opportunity"
    assert kinds(contacts_db, someone, id).count("opportunity_opened") == 1


def test_a_deal_that_comes_in_again_as_won_shows_and_one_restored_to_open_no_more(
    contacts_db: Database, someone: Context
) -> None:
    id = company(contacts_db, someone)
    deal = of_a_book(id, "open", None)
    imported(contacts_db, someone, deal)

    again = of_a_book(id, "won", "2020-02-02", deal["opportunity_id"])
    imported(contacts_db, someone, again)

    assert {"opportunity_opened", "deal_won"} <= set(kinds(contacts_db, someone, id))
    assert read(contacts_db, someone, id)["customer_since"] == "2020-02-02"
    taken_back(contacts_db, someone, **{deal["opportunity_id"]: "open"})
    assert "deal_won" not in kinds(contacts_db, someone, id)
    assert read(contacts_db, someone, id)["stage"] == "opportunity"
    imported(contacts_db, someone, again)
    assert kinds(contacts_db, someone, id).count("deal_won") == 1
