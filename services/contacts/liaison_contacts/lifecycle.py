"""The lifecycle: how far the relation with a person or company has come, since when and why."""

import datetime as dt
from typing import Literal, TypeVar, cast
from uuid import UUID

from sqlalchemy import or_
from sqlalchemy.orm import Session

from liaison_contacts.models import Company, Party, Person
from liaison_kit import records
from liaison_kit.context import context
from liaison_kit.events.outbox import emit
from liaison_kit.records import Held
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.contracts.contacts import LifecycleMoved, LifecycleStage

P = TypeVar("P", bound=Party)


def move(
    session: Session,
    kind: RecordType,
    party: Held[P],
    stage: str,
    *,
    because: str,
    on: dt.date | None = None,
) -> Held[P]:
    """Move to a stage; becoming a customer keeps the date and the cause."""
    before = party.stage
    values: dict[str, object] = {"stage": stage}
    if stage == "customer":
        values["customer_since"] = on or context(session).now.date()
        values["customer_because"] = because
    party, changed = records.change(session, kind, party, values)
    if not changed:
        return party
    emit(
        session,
        LifecycleMoved(
            record=cast(Literal["contacts", "companies"], kind.name),
            record_id=party.id,
            before=cast(LifecycleStage, before),
            after=cast(LifecycleStage, stage),
            because=because,
        ),
    )
    return party


def won(session: Session, kind: RecordType, ids: dict[UUID, tuple[dt.date, str]]) -> None:
    """Deals were won with these: each becomes a customer, on the day of its first won deal.

    One who is a customer already stays it from the earlier of the two days.
    """
    if not ids:
        return
    model: type[Party] = Company if kind.name == "companies" else Person
    earliest = min(on for on, _because in ids.values())
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
        on, because = ids[party.id]
        if party.stage == "customer" and party.customer_since and party.customer_since <= on:
            continue
        move(session, kind, party, "customer", because=because, on=on)


def opened(session: Session, kind: RecordType, ids: set[UUID]) -> None:
    """Opportunities were opened with these: who was a lead or less is an opportunity now."""
    model: type[Party] = Company if kind.name == "companies" else Person
    early = model.stage.in_(("subscriber", "lead"))
    parties = records.locked(session, kind, model, model.id.in_(ids), early)
    for party in parties:
        move(session, kind, party, "opportunity", because="an opportunity was opened")
