"""What sales tells of its deals, as people and companies live it: timeline and stage."""

import datetime as dt
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy.orm import Session

from liaison_contacts import lifecycle, timeline
from liaison_contacts.companies import COMPANIES
from liaison_contacts.lifecycle import Cause
from liaison_contacts.people import PEOPLE
from liaison_contacts.timeline import Entry, Subject
from liaison_kit.privacy.moved import where_now
from liaison_sdk.contracts import sales

Happened = sales.OpportunityOpened | sales.OpportunityMoved | sales.DealWon | sales.DealLost


def opened(session: Session, event: sales.OpportunityOpened) -> None:
    """An opportunity was opened: its company and contact are worked on now."""
    _tell(session, event, "opportunity_opened")
    company, contact = _with(session, event)
    if company:
        lifecycle.opened(session, COMPANIES, {company})
    if contact:
        lifecycle.opened(session, PEOPLE, {contact})


def changed(session: Session, event: sales.OpportunityChanged) -> None:
    """An opportunity may belong to somebody else now, who sees what was told of it."""
    if "owner_id" in event.changed:
        timeline.belongs(session, [_subject(event.opportunity_id, event)])


def moved(session: Session, event: sales.OpportunityMoved) -> None:
    """An opportunity came to another stage."""
    _tell(session, event, "opportunity_moved")


def won(session: Session, event: sales.DealWon) -> None:
    """A won deal makes its company and its contact customers from the day it was won."""
    _tell(session, event, "deal_won")
    deal = Cause(event.opportunity_id, event.name, event.won_on)
    company, contact = _with(session, event)
    if company:
        lifecycle.won(session, COMPANIES, {company: deal})
    if contact:
        lifecycle.won(session, PEOPLE, {contact: deal})


def lost(session: Session, event: sales.DealLost) -> None:
    """A deal was lost."""
    _tell(session, event, "deal_lost")


def imported(session: Session, event: sales.OpportunitiesImported) -> None:
    """A sales book came in: its deals go to the timelines at their own dates."""
    entries: list[Entry] = []
    first_won: dict[UUID, Cause] = {}
    open_with: set[UUID] = set()
    for deal in event.opportunities:
        if deal.company_id is None:
            continue
        on = deal.closed_on
        entries.append(
            Entry(
                id=entry(deal.opportunity_id, deal.kind),
                about_id=deal.company_id,
                at=dt.datetime.combine(on, dt.time(), dt.UTC) if on else event.occurred_at,
                kind=_KINDS[deal.kind],
                by=event.envelope.actor,
                details=_shown(deal),
                subject_id=deal.opportunity_id,
            )
        )
        if deal.kind == "won" and on is not None:
            known = first_won.get(deal.company_id)
            if known is None or on < known.on:
                first_won[deal.company_id] = Cause(deal.opportunity_id, deal.name, on)
        elif deal.kind == "open":
            open_with.add(deal.company_id)
    timeline.belongs(session, [_subject(d.opportunity_id, d) for d in event.opportunities])
    timeline.tell(session, entries)
    moved = where_now(session, [*first_won, *open_with])
    won_with = {moved.get(id, id) or id: cause for id, cause in first_won.items()}
    still_open = {moved.get(id, id) or id for id in open_with} - won_with.keys()
    lifecycle.won(session, COMPANIES, won_with)
    lifecycle.opened(session, COMPANIES, still_open)


_KINDS = {"open": "opportunity_opened", "won": "deal_won", "lost": "deal_lost"}


def entry(id: UUID, kind: str) -> UUID:
    """The entry that tells how an import has left a deal: one for each way it may leave it."""
    return id if kind == "open" else uuid5(id, kind)


def kept(session: Session, event: sales.OpportunitiesSaved) -> None:
    """Sales tells again whose its opportunities are."""
    known = [Subject(d.id, _RECORD, d.owner_id, d.version) for d in event.opportunities]
    timeline.belongs(session, known)


_RECORD = "opportunities"


def _with(session: Session, event: Happened) -> tuple[UUID | None, UUID | None]:
    """The company and the person that a deal is with, by what they were merged into since."""
    ids = [id for id in (event.company_id, event.contact_id) if id is not None]
    moved = where_now(session, ids) if ids else {}
    company, contact = event.company_id, event.contact_id
    return company and moved.get(company, company), contact and moved.get(contact, contact)


def _tell(session: Session, event: Happened, kind: str) -> None:
    timeline.belongs(session, [_subject(event.opportunity_id, event)])
    timeline.tell(
        session,
        [
            Entry(
                id=event.envelope.id,
                about_id=id,
                at=event.occurred_at,
                kind=kind,
                by=event.envelope.actor,
                details=_shown(event),
                subject_id=event.opportunity_id,
            )
            for id in (event.company_id, event.contact_id)
            if id is not None
        ],
    )


def _subject(
    id: UUID, told: Happened | sales.OpportunityChanged | sales.ImportedOpportunity
) -> Subject:
    return Subject(id, _RECORD, told.owner_id, told.record_version)


def _shown(told: Happened | sales.ImportedOpportunity) -> dict[str, Any]:
    return told.model_dump(mode="json", exclude={"record_version"})
