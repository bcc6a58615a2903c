"""What others hear of an opportunity: opened, moved, won, lost, changed, gone; figures too."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from liaison_kit.events.outbox import emit
from liaison_kit.events.resend import BATCH, batches
from liaison_kit.records import Held
from liaison_sales import metrics, moves
from liaison_sales.models import Opportunity
from liaison_sales.pipelines import Step, Steps
from liaison_sdk.contracts import sales as contract
from liaison_sdk.types import Money


def opened(session: Session, deal: Held[Opportunity], step: Step) -> None:
    """An opportunity was opened, in this stage."""
    metrics.count(session, "opened")
    emit(
        session,
        contract.OpportunityOpened(**_whose(deal), stage=step.name, amount=_amount(deal)),
    )
    _ended(session, deal, step)


def changed(
    session: Session,
    before: Held[Opportunity],
    after: Held[Opportunity],
    fields: Collection[str],
    steps: Steps,
    step: Step | None,
) -> None:
    """These fields of an opportunity were changed, and if it entered a stage, it was this one."""
    if step is not None:
        left = steps.by_id(before.stage_id)
        emit(
            session,
            contract.OpportunityMoved(
                **_whose(after),
                from_stage_id=before.stage_id,
                from_stage=left.name if left else "",
                to_stage_id=after.stage_id,
                to_stage=step.name,
                kind=step.kind,
            ),
        )
        _ended(session, after, step)
    rest = set(fields) - moves.MOVED - {"owner_reason"}
    # Who wins a deal for another amount has said so with the move.
    if rest and (step is None or rest - {"amount_amount", "currency"}):
        names = {"amount" if n in ("amount_amount", "currency") else n for n in rest}
        emit(session, contract.OpportunityChanged(**_whose(after), changed=sorted(names)))


def saved(session: Session, ids: Sequence[UUID]) -> None:
    """Tell whose these opportunities are."""
    kept = (Opportunity.id, Opportunity.owner_id, Opportunity.version)
    for some in batches(ids):
        rows = session.execute(select(*kept).where(Opportunity.id.in_(some)))
        told = [contract.OpportunityRef.model_construct(**row._mapping) for row in rows]
        emit(session, contract.OpportunitiesSaved(opportunities=told))


def removed(session: Session, ids: Sequence[UUID]) -> None:
    """Tell that these opportunities are gone."""
    for gone in batches(ids):
        emit(session, contract.OpportunitiesRemoved(opportunity_ids=list(gone)))


def taken_back(session: Session, gone: Sequence[UUID], restored: Sequence[UUID]) -> None:
    """Tell that an import was taken back: these are gone, those are as they were before."""
    as_they_were = (Opportunity.id, Opportunity.status, Opportunity.company_id)
    rows = session.execute(select(*as_they_were).where(Opportunity.id.in_(restored))).all()
    told = [contract.OpportunityTakenBack(opportunity_id=id, kind=None) for id in gone]
    told += [
        contract.OpportunityTakenBack.model_validate(
            {"opportunity_id": id, "kind": kind, "company_id": company_id}
        )
        for id, kind, company_id in rows
    ]
    for start in range(0, len(told), BATCH):
        emit(session, contract.OpportunitiesTakenBack(opportunities=told[start : start + BATCH]))


def _ended(session: Session, deal: Held[Opportunity], step: Step) -> None:
    """A deal that is won or lost now: told and counted."""
    if step.kind == "open":
        return
    metrics.count(session, step.kind)
    whose = _whose(deal) | {"amount": _amount(deal)}
    # Whatever is won or lost has its day.
    closed: Any = deal.closed_on
    if step.kind == "won":
        emit(session, contract.DealWon(**whose, won_on=closed, reason=deal.win_reason))
    else:
        emit(session, contract.DealLost(**whose, lost_on=closed, reason=deal.lost_reason))


def _whose(deal: Held[Opportunity]) -> dict[str, Any]:
    return {
        "opportunity_id": deal.id,
        "name": deal.name,
        "company_id": deal.company_id,
        "contact_id": deal.contact_id,
        "owner_id": deal.owner_id,
    }


def _amount(deal: Held[Opportunity]) -> Money | None:
    if deal.amount_amount is None or deal.currency is None:
        return None
    return Money.held(deal.amount_amount, deal.currency)
