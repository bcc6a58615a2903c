"""The lifecycle: how far the relation with a person or company has come, since when and why."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Uuid,
    case,
    column,
    exists,
    literal_column,
    or_,
    table,
)
from sqlalchemy.orm import Session

from liaison_contacts.models import Company, Party, Person
from liaison_kit import records, sight
from liaison_kit.context import context
from liaison_kit.events.outbox import emit
from liaison_kit.records import Held
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.contracts.contacts import (
    EARLIER_STAGES,
    LifecycleMoved,
    LifecycleStage,
    StageMoved,
)

P = TypeVar("P", bound=Party)
BY_HAND = "changed by hand"

_subjects = table("seen_subjects", column("id", Uuid))


def cause(model: type[Party]) -> ColumnElement[Any]:
    """SQL of what made somebody a customer; a deal is told to who may see it."""
    deal_seen = exists().where(_subjects.c.id == model.because_id)
    everything: ColumnElement[bool] = literal_column(sight.everything("opportunities"), Boolean)
    told = or_(everything, model.customer_because == BY_HAND, deal_seen)
    return case((told, model.customer_because), else_=None)


EARLY: Sequence[str] = ("visitor", "subscriber", "lead", "mql", "sql")
"""Stages of those with whom there has been no opportunity."""


@dataclass(frozen=True, slots=True)
class Cause:
    """The won deal that makes somebody a customer, and since when."""

    id: UUID
    name: str
    on: dt.date


def move(
    session: Session,
    kind: RecordType,
    party: Held[P],
    stage: str,
    *,
    because: str = BY_HAND,
    deal: Cause | None = None,
) -> Held[P]:
    """Move to a stage; becoming a customer keeps the date and the cause."""
    before = party.stage
    values: dict[str, object] = {"stage": stage}
    if stage == "customer":
        values["customer_since"] = deal.on if deal else context(session).now.date()
        values["customer_because"] = f"won: {deal.name}" if deal else because
        values["because_id"] = deal.id if deal else None
    party, changed = records.change(session, kind, party, values)
    if not changed:
        return party
    record = cast(Literal["contacts", "companies"], kind.name)
    emit(
        session,
        StageMoved(
            record=record,
            record_id=party.id,
            before=cast(LifecycleStage, before),
            after=cast(LifecycleStage, stage),
            because=because,
        ),
    )
    earlier, now = EARLIER_STAGES[before], EARLIER_STAGES[stage]
    if earlier != now:
        # For one release, for those who know the earlier stages only.
        emit(
            session,
            LifecycleMoved(
                record=record, record_id=party.id, before=earlier, after=now, because=because
            ),
        )
    return party


def won(session: Session, kind: RecordType, ids: Mapping[UUID, Cause]) -> None:
    """Deals were won with these: each becomes a customer, on the day of its first won deal.

    One who is a customer already stays it from the earlier of the two days.
    """
    if not ids:
        return
    model: type[Party] = Company if kind.name == "companies" else Person
    earliest = min(deal.on for deal in ids.values())
    # Only who has to move is locked: many deals may be won with one company at the same time.
    parties = records.locked(
        session,
        kind,
        model,
        model.id.in_(ids),
        or_(
            model.stage != "customer",
            model.customer_since.is_(None),
            model.customer_since > earliest,
        ),
    )
    for party in parties:
        deal = ids[party.id]
        if party.stage == "customer" and party.customer_since and party.customer_since <= deal.on:
            continue
        # Whoever hears of it may not be one who may see the deal: its name is not told.
        move(session, kind, party, "customer", because="a deal was won", deal=deal)


def opened(session: Session, kind: RecordType, ids: set[UUID]) -> None:
    """Opportunities were opened with these: who was a lead or less is an opportunity now."""
    model: type[Party] = Company if kind.name == "companies" else Person
    early = model.stage.in_(EARLY)
    parties = records.locked(session, kind, model, model.id.in_(ids), early)
    for party in parties:
        move(session, kind, party, "opportunity", because="an opportunity was opened")
