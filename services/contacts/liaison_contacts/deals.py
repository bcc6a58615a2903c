"""What sales tells of its deals, as people and companies live it: timeline and stage."""

import datetime as dt
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from liaison_contacts import lifecycle, timeline
from liaison_contacts.companies import COMPANIES
from liaison_contacts.people import PEOPLE
from liaison_sdk.contracts import sales
from liaison_sdk.events import Event


def opened(session: Session, event: sales.OpportunityOpened) -> None:
    """An opportunity was opened: its company and contact are worked on now."""
    _tell(session, event, "opportunity_opened", event.company_id, event.contact_id)
    if event.company_id:
        lifecycle.opened(session, COMPANIES, {event.company_id})
    if event.contact_id:
        lifecycle.opened(session, PEOPLE, {event.contact_id})


def moved(session: Session, event: sales.OpportunityMoved) -> None:
    """An opportunity came to another stage."""
    _tell(session, event, "opportunity_moved", event.company_id, event.contact_id)


def won(session: Session, event: sales.DealWon) -> None:
    """A won deal makes its company and its contact customers from the day it was won."""
    _tell(session, event, "deal_won", event.company_id, event.contact_id)
    because = f"won: {event.name}"
    if event.company_id:
        lifecycle.won(session, COMPANIES, {event.company_id: (event.won_on, because)})
    if event.contact_id:
        lifecycle.won(session, PEOPLE, {event.contact_id: (event.won_on, because)})


def lost(session: Session, event: sales.DealLost) -> None:
    """A deal was lost."""
    _tell(session, event, "deal_lost", event.company_id, event.contact_id)


def imported(session: Session, event: sales.OpportunitiesImported) -> None:
    """A sales book came in: its deals go to the timelines at their own dates."""
    entries: list[dict[str, Any]] = []
    first_won: dict[UUID, tuple[dt.date, str]] = {}
    open_with: set[UUID] = set()
    for deal in event.opportunities:
        if deal.company_id is None:
            continue
        on = deal.closed_on
        entries.append(
            {
                "id": deal.opportunity_id,
                "about_id": deal.company_id,
                "at": dt.datetime.combine(on, dt.time(), dt.UTC) if on else event.occurred_at,
                "kind": {"open": "opportunity_opened", "won": "deal_won", "lost": "deal_lost"}[
                    deal.kind
                ],
                "by": event.envelope.actor,
                "details": deal.model_dump(mode="json"),
            }
        )
        if deal.kind == "won" and on is not None:
            known = first_won.get(deal.company_id)
            if known is None or on < known[0]:
                first_won[deal.company_id] = (on, f"won: {deal.name}")
        elif deal.kind == "open":
            open_with.add(deal.company_id)
    timeline.tell(session, entries)
    lifecycle.won(session, COMPANIES, first_won)
    lifecycle.opened(session, COMPANIES, open_with - first_won.keys())


def _tell(session: Session, event: Event, kind: str, *about: UUID | None) -> None:
    wanted: Iterable[UUID] = [id for id in about if id is not None]
    timeline.tell(
        session,
        [
            {
                "id": event.envelope.id,
                "about_id": id,
                "at": event.occurred_at,
                "kind": kind,
                "by": event.envelope.actor,
                "details": event.model_dump(mode="json"),
            }
            for id in wanted
        ],
    )
