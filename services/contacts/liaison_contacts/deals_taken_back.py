"""An import of deals is taken back: so is what it has made of people and companies here."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from liaison_contacts import deals, lifecycle, timeline
from liaison_contacts.companies import COMPANIES
from liaison_contacts.lifecycle import Cause
from liaison_contacts.models import Company, Party, Person
from liaison_contacts.people import PEOPLE
from liaison_kit import records
from liaison_kit.database.statements import Statement
from liaison_kit.privacy.moved import where_now
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.contracts import sales

SKEW = dt.timedelta(minutes=1)
"""By how much the clocks of two services may differ."""

_KINDS: Final[Mapping[type[Party], RecordType]] = {Company: COMPANIES, Person: PEOPLE}


def taken_back(session: Session, event: sales.OpportunitiesTakenBack) -> None:
    """Take back the timeline's entries of these deals, and the stages that came of them."""
    gone = [deal.opportunity_id for deal in event.opportunities if deal.kind is None]
    not_so = [
        deals.entry(deal.opportunity_id, kind)
        for deal in event.opportunities
        for kind in ("won", "lost")
        if deal.kind is not None and kind != deal.kind
    ]
    about = timeline.take_back(session, gone, not_so)
    _not_won(session, [deal.opportunity_id for deal in event.opportunities if deal.kind != "won"])
    _not_opened(session, about, gone)
    again = [d.company_id for d in event.opportunities if d.kind == "open" and d.company_id]
    moved = where_now(session, again) if again else {}
    lifecycle.opened(session, COMPANIES, {moved.get(id, id) or id for id in again})


def _not_won(session: Session, deals: Sequence[UUID]) -> None:
    """These deals were not won after all: who is a customer because of one is what they were.

    Or a customer because of the next that was won with them.
    """
    for model, kind in _KINDS.items():
        because = model.because_id.in_(deals)
        parties = records.locked(session, kind, model, because, model.stage == "customer")
        if not parties:
            continue
        asked = {"ids": [party.id for party in parties], "record": kind.name}
        others = {
            UUID(str(about)): Cause(UUID(str(deal)), name, on)
            for about, deal, name, on in _WON_WITH.run(session, asked)
        }
        before = _stages_before(session, kind, "customer", [party.id for party in parties])
        for party in parties:
            other = others.get(party.id)
            if other is not None:
                lifecycle.move(
                    session, kind, party, "customer", because="a deal was won", deal=other
                )
                continue
            none = dict.fromkeys(("customer_since", "customer_because", "because_id"))
            party, _ = records.change(session, kind, party, none)
            stage = before.get(party.id, ("lead", None))[0]
            lifecycle.move(session, kind, party, stage, because="a deal was taken back")


def _not_opened(session: Session, ids: Sequence[UUID], deals: Sequence[UUID]) -> None:
    """Of these, those with whom there is no deal left are no opportunity any more.

    As long as it was one of these deals that made them one: nothing older than the deals did.
    """
    made = min((_made(deal) for deal in deals), default=None)
    if made is None:
        return
    busy = {UUID(str(id)) for (id,) in _WITH_DEALS.run(session, {"ids": list(ids)})}
    rest = [id for id in ids if id not in busy]
    for model, kind in _KINDS.items():
        parties = records.locked(
            session, kind, model, model.id.in_(rest), model.stage == "opportunity"
        )
        before = _stages_before(session, kind, "opportunity", [party.id for party in parties])
        for party in parties:
            stage, at = before.get(party.id, ("", None))
            if stage and at is not None and at >= made - SKEW:
                lifecycle.move(session, kind, party, stage, because="a deal was taken back")


def _made(id: UUID) -> dt.datetime:
    """When a record was made, to the millisecond, as its id of version 7 tells."""
    return dt.datetime.fromtimestamp((id.int >> 80) / 1000, dt.UTC)


def _stages_before(
    session: Session, kind: RecordType, stage: str, ids: Sequence[UUID]
) -> dict[UUID, tuple[str, dt.datetime]]:
    """What these were before they came to a stage, and when they did."""
    asked = {"ids": list(ids), "record": kind.name, "stage": stage}
    return {UUID(str(id)): (before, at) for id, before, at in _BEFORE.run(session, asked)}


_BEFORE = Statement("""
    SELECT DISTINCT ON (record_id) record_id, changes -> 'stage' ->> 0, at
      FROM history
     WHERE record = %(record)s AND record_id = ANY(%(ids)s) AND changes -> 'stage' ->> 1 = %(stage)s
     ORDER BY record_id, version DESC
""")
# Of each deal the last that is known of it, of those with a party the one that was won first.
_WON_WITH = Statement("""
    SELECT DISTINCT ON (about_id) about_id, subject_id, details ->> 'name', won
      FROM (SELECT DISTINCT ON (about_id, subject_id) about_id, subject_id, kind, details,
                   coalesce(details ->> 'won_on', details ->> 'closed_on')::date AS won
              FROM occurrences
             WHERE about_id = ANY(%(ids)s)
               AND kind IN ('opportunity_moved', 'opportunity_opened', 'deal_won', 'deal_lost')
             ORDER BY about_id, subject_id, at DESC, id DESC) known
     WHERE kind = 'deal_won' AND won IS NOT NULL
     ORDER BY about_id, won
""")
_WITH_DEALS = Statement("""
    SELECT DISTINCT about_id FROM occurrences
     WHERE about_id = ANY(%(ids)s)
       AND kind IN ('opportunity_moved', 'opportunity_opened', 'deal_won', 'deal_lost')
""")
