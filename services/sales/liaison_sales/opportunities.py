"""Opportunities: opened, changed, moved from stage to stage, won, lost, reopened.

A change is two statements: one locks the row and looks up the stages of its pipeline, one writes
the row, its history and the stage that it enters, and answers with the record as it is then.
"""

import copy
import datetime as dt
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, cast, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from liaison_kit import listing, records
from liaison_kit.context import context
from liaison_kit.plugins import Hooks
from liaison_kit.records import Held
from liaison_kit.records.plain import refuse_nulls
from liaison_kit.records.recordtype import RecordType, as_json, money
from liaison_kit.tenants import tenant_settings
from liaison_sales import moves, owners, pipelines, references, telling
from liaison_sales.accounts import ACCOUNTS, ACCOUNTS_SEEN
from liaison_sales.models import (
    Opportunity,
    OpportunitySum,
    Product,
    RemovedStage,
    Rep,
    Stage,
    StageChange,
)
from liaison_sales.pipelines import Step, Steps
from liaison_sdk.contracts import sales as contract
from liaison_sdk.errors import NotFound
from liaison_sdk.hooks import OpportunityFacts
from liaison_sdk.labels import Label
from liaison_sdk.types import Money


def _of_owner(column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    return select(column).where(Rep.id == Opportunity.owner_id).scalar_subquery()


def _of_stage(column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    return select(column).where(Stage.id == Opportunity.stage_id).scalar_subquery()


Placed = type[Opportunity] | type[OpportunitySum]
"""What has a stage, an owner and a region."""


def filters(model: Placed) -> dict[str, Callable[[ColumnElement[Any]], ColumnElement[bool]]]:
    """The filters of opportunities that are not columns, for what has these columns."""

    def in_region(value: ColumnElement[Any]) -> ColumnElement[bool]:
        """The owner's team sells there; where no owner has a region, the deal is from there."""
        theirs = select(Rep.id).where(Rep.region == value)
        placed = select(Rep.id).where(Rep.region.is_not(None))
        own = and_(
            model.region == value,
            func.coalesce(model.owner_id.in_(placed), False).is_(False),
        )
        return or_(model.owner_id.in_(theirs), own)

    return {
        "stage": lambda value: model.stage_id.in_(select(Stage.id).where(Stage.code == value)),
        "region": in_region,
        "manager_id": lambda value: model.owner_id.in_(
            select(Rep.id).where(cast(Rep.manager_id, Text) == value)
        ),
    }


OPPORTUNITIES = RecordType(
    "opportunities",
    Label(en="Opportunity", fr="Opportunité"),
    model=Opportunity,
    shape=contract.Opportunity,
    columns={
        "stage": _of_stage(Stage.code),
        "stage_name": _of_stage(Stage.name),
        "product_name": select(Product.name)
        .where(Product.id == Opportunity.product_id)
        .scalar_subquery(),
        "company_name": select(ACCOUNTS.visible.c.name)
        .where(ACCOUNTS.visible.c.id == Opportunity.company_id)
        .scalar_subquery(),
        # Of who was gone before they were heard of, no name is known.
        "owner_name": func.nullif(_of_owner(Rep.name), ""),
        "region": func.coalesce(_of_owner(Rep.region), Opportunity.region),
        "amount": money(Opportunity.amount_amount, Opportunity.currency),
        "probability": func.coalesce(Opportunity.probability, _of_stage(Stage.probability)),
    },
    filters=filters(Opportunity),
    owner=Opportunity.owner_id,
    derived=frozenset({"search", "stage_since"}),
    seen={"company_id": ACCOUNTS_SEEN},
    restorable=True,
    follows={"stage_changes": "opportunity_id"},
    subtitle=("company_name", "stage_name"),
)

_PLAIN: Final = (
    "name",
    "product_id",
    "company_id",
    "contact_id",
    "owner_id",
    "region",
    "probability",
    "engaged_on",
    "expected_close",
    "closed_on",
    "win_reason",
    "lost_reason",
    "external_id",
)
_STAGES: Final = (
    select(
        func.json_agg(
            func.json_build_array(
                Stage.id, Stage.code, Stage.name, Stage.position, Stage.probability, Stage.kind
            )
        )
    )
    .where(Stage.pipeline_id == Opportunity.pipeline_id)
    .scalar_subquery()
)
"""The stages of an opportunity's pipeline, as `Step` takes them."""

_ENTERED: Final = """
INSERT INTO stage_changes (tenant_id, opportunity_id, from_stage_id, to_stage_id, at, by, seconds)
SELECT tenant_id, id, %(left)s::uuid, stage_id, stage_since, updated_by, %(seconds)s::bigint
  FROM written
"""


# --- opening ------------------------------------------------------------------------------------


def create(session: Session, hooks: Hooks, new: contract.NewOpportunity) -> Held[Opportunity]:
    """Open an opportunity; without an owner, plugins are asked who it should be."""
    home = references.check(session, new.product_id, new.company_id, new.owner_id, new.contact_id)
    pipeline_id, steps = pipelines.steps(session, new.pipeline_id)
    step = steps.named(new.stage_id, new.stage) or steps.first
    values: dict[str, Any] = {name: getattr(new, name) for name in _PLAIN}
    values |= _money(new.amount)
    values |= moves.opened(values, step, steps.first, _now(session))
    moves.check(
        values,
        new.model_fields_set - {"closed_on"} if step.kind != "open" else new.model_fields_set,
    )
    values["region"] = new.region or home
    if new.owner_id is None:
        values |= _suggested(session, hooks, new, values["region"])
    deal = records.create(
        session,
        OPPORTUNITIES,
        Opportunity,
        along=_entered(None, None),
        **values,
        pipeline_id=pipeline_id,
        custom=new.custom or None,
    )
    telling.opened(session, deal, step)
    return deal


def _suggested(
    session: Session, hooks: Hooks, new: contract.NewOpportunity, region: str | None
) -> dict[str, Any]:
    if listing.row_rule(session, OPPORTUNITIES)[0] != "all":
        # Who may only see their own rows becomes the owner: the kit sees to that.
        return {}
    suggestion = owners.suggest(
        session,
        hooks,
        OpportunityFacts(
            name=new.name,
            amount=str(new.amount.amount) if new.amount else None,
            currency=new.amount.currency if new.amount else None,
            region=region,
            custom=MappingProxyType(copy.deepcopy(new.custom)),
        ),
    )
    if suggestion is None:
        return {}
    return {"owner_id": suggestion.user_id, "owner_reason": suggestion.reason[:500]}


# --- changing -----------------------------------------------------------------------------------


def change(
    session: Session, id: UUID, version: int, changes: contract.OpportunityChanges
) -> Held[Opportunity]:
    """Change what was sent, and nothing else; a stage among it is a move."""
    deal, steps = _load(session, id, version)
    refuse_nulls(changes, "name", "custom")
    sent = changes.model_fields_set
    now = records.values_of(deal)
    values: dict[str, Any] = {name: getattr(changes, name) for name in _PLAIN if name in sent}
    step = _unless_there(deal, steps.named(changes.stage_id, changes.stage))
    if step is not None:
        # The day of closing, if it is sent along, is the day of the move.
        entered = moves.moved(
            now | values, step, steps.first, context(session).now, on=changes.closed_on
        )
        values = entered | values
    if "amount" in sent:
        values |= _money(changes.amount)
    after = now | values
    moves.check(after, sent)
    _check_references(session, now, values)
    if "custom" in sent:
        values["custom"] = changes.custom
    if after["owner_id"] != deal.owner_id:
        values["owner_reason"] = None
    return _write(session, deal, steps, values, step)


def move(session: Session, id: UUID, version: int, wanted: contract.Move) -> Held[Opportunity]:
    """Bring an open opportunity to another stage; a won or lost one closes it."""
    deal, steps = _load(session, id, version)
    step = _unless_there(deal, steps.named(wanted.stage_id, wanted.stage))
    if step is None:
        return deal
    return _write(session, deal, steps, _moved(session, deal, steps, step, wanted), step)


def win(session: Session, id: UUID, version: int, win: contract.Win) -> Held[Opportunity]:
    """An open opportunity is won."""
    deal, steps = _load(session, id, version)
    step = steps.of_kind("won")
    values = _moved(session, deal, steps, step, win)
    if win.amount is not None:
        values |= _money(win.amount)
    return _write(session, deal, steps, values, step)


def lose(session: Session, id: UUID, version: int, loss: contract.Loss) -> Held[Opportunity]:
    """An open opportunity is lost."""
    deal, steps = _load(session, id, version)
    step = steps.of_kind("lost")
    return _write(session, deal, steps, _moved(session, deal, steps, step, loss), step)


def reopen(
    session: Session, id: UUID, version: int, wanted: contract.Reopening
) -> Held[Opportunity]:
    """A closed opportunity is worked on again."""
    deal, steps = _load(session, id, version)
    step = steps.named(wanted.stage_id, wanted.stage)
    if step is None:
        been = session.scalars(
            select(StageChange.from_stage_id)
            .where(StageChange.opportunity_id == id)
            .order_by(StageChange.id.desc())
        )
        known = (steps.by_id(stage) for stage in been)
        step = next((s for s in known if s is not None and s.kind == "open"), steps.first)
    values = moves.reopened(records.values_of(deal), step, _now(session))
    return _write(session, deal, steps, values, step)


def remove(session: Session, id: UUID, version: int) -> None:
    """Delete an opportunity; the history of its record stays."""
    deal = records.load(session, OPPORTUNITIES, Opportunity, id, version)
    records.remove(session, OPPORTUNITIES, deal)
    telling.removed(session, [id])


def stage_changes(session: Session, id: UUID) -> bytes:
    """The stages that an opportunity has been in, oldest first, as a JSON page."""
    if listing.read(session, OPPORTUNITIES, id) is None:
        raise NotFound("There is no such opportunity")
    before, after = (
        func.coalesce(
            select(Stage.name).where(Stage.id == which).scalar_subquery(),
            select(RemovedStage.name).where(RemovedStage.id == which).scalar_subquery(),
        )
        for which in (
            StageChange.from_stage_id,
            StageChange.to_stage_id,
        )
    )
    rows = (
        select(
            StageChange.from_stage_id,
            before.label("from_stage"),
            StageChange.to_stage_id,
            func.coalesce(after, "").label("to_stage"),
            StageChange.at,
            StageChange.by,
            StageChange.seconds,
        )
        .where(StageChange.opportunity_id == id)
        .order_by(StageChange.id)
    )
    items = session.scalars(as_json(rows)).all()
    return b'{"items":[%b],"next":null}' % ",".join(items).encode()


# --- what changes have in common ----------------------------------------------------------------


def _load(session: Session, id: UUID, version: int) -> tuple[Held[Opportunity], Steps]:
    """The opportunity as it is, nobody else changing it, and the stages of its pipeline."""
    deal, (stages,) = records.load_with(session, OPPORTUNITIES, Opportunity, id, version, _STAGES)
    return deal, Steps([Step(*stage) for stage in stages])


def _now(session: Session) -> dt.datetime:
    """This moment, on the clock of the tenant."""
    return context(session).now.astimezone(tenant_settings(session).zone)


def _unless_there(deal: Held[Opportunity], step: Step | None) -> Step | None:
    """The stage to enter; none if the opportunity is in it."""
    return None if step is None or step.id == str(deal.stage_id) else step


def _moved(
    session: Session,
    deal: Held[Opportunity],
    steps: Steps,
    step: Step,
    wanted: contract.Move | contract.Win | contract.Loss,
) -> dict[str, Any]:
    values = records.values_of(deal)
    return moves.moved(values, step, steps.first, _now(session), on=wanted.on, reason=wanted.reason)


def _write(
    session: Session,
    deal: Held[Opportunity],
    steps: Steps,
    values: Mapping[str, Any],
    step: Step | None,
) -> Held[Opportunity]:
    """Write what differs, with the stage that is entered, and tell it."""
    along = None
    if step is not None:
        spent = values["stage_since"] - deal.stage_since
        along = _entered(deal.stage_id, max(0, int(spent.total_seconds())))
    after, changed = records.change(session, OPPORTUNITIES, deal, values, along=along)
    if changed:
        telling.changed(session, deal, after, changed.keys(), steps, step)
    return after


def _entered(left: UUID | None, seconds: int | None) -> records.Along:
    """The entry of a stage, in the statement that writes the opportunity."""
    return _ENTERED, {"left": left, "seconds": seconds}


def _check_references(session: Session, now: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    new = (
        values[name] if values.get(name) not in (None, now[name]) else None
        for name in ("product_id", "company_id", "owner_id", "contact_id")
    )
    references.check(session, *new)


def _money(amount: Money | None) -> dict[str, Any]:
    if amount is None:
        return {"amount_amount": None, "currency": None}
    return {"amount_amount": amount.amount, "currency": str(amount.currency)}
