"""Opportunities: opened, changed, moved from stage to stage, won, lost, reopened.

A change is two statements: one locks the row and looks up its stages, one writes the row, its
history and its stage change, and answers with the record as it is then.
"""

import copy
import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from pydantic_core import to_jsonable_python
from sqlalchemy import ColumnElement, Text, and_, cast, func, or_, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from liaison_kit import listing, records
from liaison_kit.context import context
from liaison_kit.database.statements import Statement
from liaison_kit.events.outbox import emit
from liaison_kit.events.resend import batches
from liaison_kit.ids import uuid7
from liaison_kit.plugins import Hooks
from liaison_kit.records import custom
from liaison_kit.records.recordtype import RecordType, as_json, money
from liaison_kit.records.search import search_text
from liaison_sales import accounts, metrics, moves, owners, pipelines, references
from liaison_sales.models import (
    Opportunity,
    OpportunitySum,
    Product,
    Rep,
    Stage,
    StageChange,
)
from liaison_sales.pipelines import Step, Steps
from liaison_sales.products import CENT, refuse_nulls
from liaison_sdk.contracts import sales as contract
from liaison_sdk.errors import Conflict, NotFound, StaleVersion
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
        "company_name": select(accounts.seen.c.name)
        .where(accounts.seen.c.id == Opportunity.company_id)
        .scalar_subquery(),
        # Of who was gone before they were heard of, no name is known.
        "owner_name": func.nullif(_of_owner(Rep.name), ""),
        "region": func.coalesce(_of_owner(Rep.region), Opportunity.region),
        "amount": money(Opportunity.amount_amount, Opportunity.currency),
        "probability": func.coalesce(Opportunity.probability, _of_stage(Stage.probability)),
    },
    filters=filters(Opportunity),
    search=Opportunity.search,
    owner=Opportunity.owner_id,
    seen={"company_id": accounts.SEEN},
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
_OF_MOVES: Final = moves.MOVED | {"amount_amount", "currency"}


def found_by(name: str, external_id: str | None) -> str:
    """What an opportunity is found by."""
    return search_text((name, external_id))


# --- opening ------------------------------------------------------------------------------------

_FIRST_STAGE: Final = Statement("""
INSERT INTO stage_changes (tenant_id, opportunity_id, to_stage_id, at, by)
VALUES (%(tenant)s, %(id)s, %(stage)s, %(at)s, %(by)s)
""")


def create(session: Session, hooks: Hooks, new: contract.NewOpportunity) -> Opportunity:
    """Open an opportunity; without an owner, plugins are asked who it should be."""
    about = context(session)
    home = references.check(session, new.product_id, new.company_id, new.owner_id, new.contact_id)
    pipeline_id, steps = pipelines.steps(session, new.pipeline_id)
    step = steps.named(new.stage_id, new.stage) or steps.first
    values: dict[str, Any] = {name: getattr(new, name) for name in _PLAIN}
    values |= _money(new.amount)
    values |= moves.opened(values, step, steps.first, about.now)
    moves.check(
        values,
        new.model_fields_set - {"closed_on"} if step.kind != "open" else new.model_fields_set,
    )
    values["region"] = new.region or home
    if new.owner_id is None:
        values |= _suggested(session, hooks, new, values["region"])
    row = records.create(
        session,
        OPPORTUNITIES,
        Opportunity,
        **values,
        pipeline_id=pipeline_id,
        search=found_by(new.name, new.external_id),
        custom=new.custom or None,
    )
    first = {"tenant": about.tenant, "id": row.id, "stage": row.stage_id, "by": about.user}
    _FIRST_STAGE.run(session, first | {"at": row.stage_since})
    metrics.count(session, "opened")
    emit(
        session,
        contract.OpportunityOpened(
            opportunity_id=row.id,
            name=row.name,
            company_id=row.company_id,
            contact_id=row.contact_id,
            owner_id=row.owner_id,
            stage=step.name,
            amount=new.amount,
            record_version=row.version,
        ),
    )
    now = {name: getattr(row, name) for name in _COLUMNS}
    _tell_end(session, now, step)
    return row


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
) -> tuple[bytes, int]:
    """Change what was sent, and nothing else; a stage among it is a move."""
    now, steps = _lock(session, id, version)
    refuse_nulls(changes, "name", "custom")
    sent = changes.model_fields_set
    values: dict[str, Any] = {name: getattr(changes, name) for name in _PLAIN if name in sent}
    step = steps.named(changes.stage_id, changes.stage)
    if step is not None and step.id != str(now["stage_id"]):
        # The day of closing, if it is sent along, is the day of the move.
        moved = moves.moved(
            {**now, **values}, step, steps.first, context(session).now, on=changes.closed_on
        )
        values = {**moved, **values}
    else:
        step = None
    if "amount" in sent:
        values |= _money(changes.amount)
    if "custom" in sent:
        checked = custom.check(session, OPPORTUNITIES.name, changes.custom, partial=True)
        merged = {**now["custom"], **checked}
        values["custom"] = {name: value for name, value in merged.items() if value is not None}
    after = {**now, **values}
    moves.check(after, sent)
    _check_references(session, now, values)
    if {"name", "external_id"} & values.keys():
        values["search"] = found_by(after["name"], after["external_id"])
    if values.get("owner_id", now["owner_id"]) != now["owner_id"]:
        values["owner_reason"] = None
    return _write(session, now, values, step, steps)


def move(session: Session, id: UUID, version: int, wanted: contract.Move) -> tuple[bytes, int]:
    """Bring an open opportunity to another stage; a won or lost one closes it."""
    now, steps = _lock(session, id, version)
    step = steps.named(wanted.stage_id, wanted.stage)
    if step is None or step.id == str(now["stage_id"]):
        return _write(session, now, {}, None, steps)
    values = moves.moved(
        now, step, steps.first, context(session).now, on=wanted.on, reason=wanted.reason
    )
    return _write(session, now, values, step, steps)


def win(session: Session, id: UUID, version: int, win: contract.Win) -> tuple[bytes, int]:
    """An open opportunity is won."""
    now, steps = _lock(session, id, version)
    step = steps.of_kind("won")
    values = moves.moved(now, step, steps.first, context(session).now, on=win.on, reason=win.reason)
    if win.amount is not None:
        values |= _money(win.amount)
    return _write(session, now, values, step, steps)


def lose(session: Session, id: UUID, version: int, loss: contract.Loss) -> tuple[bytes, int]:
    """An open opportunity is lost."""
    now, steps = _lock(session, id, version)
    step = steps.of_kind("lost")
    values = moves.moved(
        now, step, steps.first, context(session).now, on=loss.on, reason=loss.reason
    )
    return _write(session, now, values, step, steps)


def reopen(
    session: Session, id: UUID, version: int, wanted: contract.Reopening
) -> tuple[bytes, int]:
    """A closed opportunity is worked on again."""
    now, steps = _lock(session, id, version)
    step = steps.named(wanted.stage_id, wanted.stage)
    if step is None:
        been = session.scalars(
            select(StageChange.from_stage_id)
            .where(StageChange.opportunity_id == id)
            .order_by(StageChange.id.desc())
        )
        known = (steps.by_id(stage) for stage in been)
        step = next((s for s in known if s is not None and s.kind == "open"), steps.first)
    values = moves.reopened(now, step, context(session).now)
    return _write(session, now, values, step, steps)


def remove(session: Session, id: UUID, version: int) -> None:
    """Delete an opportunity; the history of its record stays."""
    row = records.load(session, OPPORTUNITIES, Opportunity, id, version)
    records.remove(session, OPPORTUNITIES, row)
    tell_removed(session, [id])


def tell(session: Session, ids: Sequence[UUID]) -> None:
    """Tell the other services whose these opportunities are."""
    kept = (Opportunity.id, Opportunity.owner_id, Opportunity.version)
    for some in batches(ids):
        rows = session.execute(select(*kept).where(Opportunity.id.in_(some)))
        told = [contract.OpportunityRef.model_construct(**row._mapping) for row in rows]
        emit(session, contract.OpportunitiesSaved(opportunities=told))


def tell_removed(session: Session, ids: Sequence[UUID]) -> None:
    """Tell the other services that these opportunities are gone."""
    for gone in batches(ids):
        emit(session, contract.OpportunitiesRemoved(opportunity_ids=list(gone)))


def stage_changes(session: Session, id: UUID) -> bytes:
    """The stages that an opportunity has been in, oldest first, as a JSON page."""
    if listing.read(session, OPPORTUNITIES, id) is None:
        raise NotFound("There is no such opportunity")
    before, after = (
        select(Stage.name).where(Stage.id == which).scalar_subquery()
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


# --- the two statements of a change -------------------------------------------------------------

_COLUMNS: Final = tuple(
    column.name for column in Opportunity.__table__.columns if column.name not in ("tenant_id",)
)
_LOCK: Final = Statement(f"""
SELECT {", ".join("o." + name for name in _COLUMNS)},
       (SELECT json_agg(json_build_array(s.id, s.code, s.name, s.position, s.probability,
                                         s.kind))
          FROM stages s WHERE s.pipeline_id = o.pipeline_id) AS stages
  FROM opportunities o
 WHERE o.id = %(id)s AND (%(peers)s::uuid[] IS NULL OR o.owner_id = ANY(%(peers)s::uuid[]))
   FOR NO KEY UPDATE OF o
""")


def _lock(session: Session, id: UUID, version: int) -> tuple[dict[str, Any], Steps]:
    """The opportunity as it is, nobody else changing it, and the stages of its pipeline."""
    _, peers = listing.row_rule(session, OPPORTUNITIES)
    found = _LOCK.run(session, {"id": id, "peers": peers})
    if not found:
        raise NotFound("There is no such opportunity")
    *values, stages = found[0]
    now = dict(zip(_COLUMNS, values, strict=True))
    if now["version"] != version:
        current = records.answer(session, OPPORTUNITIES, id)[0]
        raise StaleVersion(
            f"You changed version {version}; it is at version {now['version']} now", current
        )
    return now, Steps([Step(*stage) for stage in stages])


def _write(
    session: Session,
    now: Mapping[str, Any],
    values: Mapping[str, Any],
    step: Step | None,
    steps: Steps,
) -> tuple[bytes, int]:
    """Write what differs, with its history, and tell it; the record as it is then."""
    changed = {name: after for name, after in values.items() if now[name] != after}
    if not changed:
        return records.answer(session, OPPORTUNITIES, now["id"])
    about = context(session)
    after = {**now, **changed}
    records.stay_in_sight(session, OPPORTUNITIES, after["owner_id"])
    parameters = {name: _stored(value) for name, value in changed.items()} | {
        "id": str(now["id"]),
        "tenant": str(about.tenant),
        "now": about.now,
        "user": str(about.user) if about.user else None,
        "history_id": str(uuid7()),
        "version": now["version"] + 1,
        "changes": json.dumps(
            {
                name: [_plain(now[name]), _plain(value)]
                for name, value in changed.items()
                if name not in ("search", "stage_since")
            }
        ),
        "from_stage": str(now["stage_id"]),
        "to_stage": str(after["stage_id"]),
        "moved_at": after["stage_since"],
        "seconds": max(0, int((after["stage_since"] - now["stage_since"]).total_seconds())),
    }
    try:
        row = _run_update(session, tuple(sorted(changed)), step is not None, parameters)
    except IntegrityError as error:
        raise _refused(error) from None
    _tell(session, now, after, changed, step, steps)
    body, written = row[0], row[1]
    return body.encode(), int(written)


def _run_update(
    session: Session, names: tuple[str, ...], moves_stage: bool, parameters: dict[str, Any]
) -> Sequence[Any]:
    if moves_stage and _OF_MOVES.issuperset(names):
        (row,) = _move(names).run(session, parameters)
        return row
    # Changes of other columns come in too many combinations to keep a plan of each.
    return session.connection().exec_driver_sql(_update(names, moves_stage), parameters).one()


@cache
def _move(names: tuple[str, ...]) -> Statement:
    return Statement(_update(names, moves_stage=True))


@lru_cache(maxsize=500)
def _update(names: tuple[str, ...], moves_stage: bool) -> str:
    """The statement that changes these columns.

    The CTE takes the table's name, so that the answer is selected from the row as it has become.
    """
    answer = as_json(OPPORTUNITIES.select(), "version").compile(
        dialect=postgresql.dialect(paramstyle="pyformat"),  # type: ignore[no-untyped-call]
        compile_kwargs={"literal_binds": True},
    )
    assigned = "".join(f"{name} = %({name})s, " for name in names)
    moved = ""
    if moves_stage:
        moved = """, moved AS (
            INSERT INTO stage_changes (tenant_id, opportunity_id, from_stage_id, to_stage_id,
                                       at, by, seconds)
            VALUES (%(tenant)s, %(id)s, %(from_stage)s, %(to_stage)s, %(moved_at)s, %(user)s,
                    %(seconds)s))"""
    return f"""
        WITH opportunities AS (
            UPDATE opportunities SET {assigned} version = %(version)s, updated_at = %(now)s,
                   updated_by = %(user)s
             WHERE id = %(id)s RETURNING *
        ), kept AS (
            INSERT INTO history (id, tenant_id, record, record_id, version, action, at, by, changes)
            VALUES (%(history_id)s, %(tenant)s, 'opportunities', %(id)s, %(version)s, 'changed',
                    %(now)s, %(user)s, %(changes)s)
        ){moved} {answer}"""


def _stored(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    return json.dumps(value) if isinstance(value, dict) else value


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else to_jsonable_python(value)


def _refused(error: IntegrityError) -> Exception:
    constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None) or ""
    if constraint.endswith("external_id"):
        return records.external_id_taken(OPPORTUNITIES)
    if constraint.endswith(("stage_id_fkey", "product_id_fkey")):
        return Conflict("The stage or the product has just been deleted")
    return error


def _check_references(session: Session, now: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    new = (
        values[name] if values.get(name) not in (None, now[name]) else None
        for name in ("product_id", "company_id", "owner_id", "contact_id")
    )
    references.check(session, *new)


def _money(amount: Money | None) -> dict[str, Any]:
    if amount is None:
        return {"amount_amount": None, "currency": None}
    return {"amount_amount": amount.amount.quantize(CENT), "currency": str(amount.currency)}


# --- telling ------------------------------------------------------------------------------------


def _tell(
    session: Session,
    now: Mapping[str, Any],
    after: Mapping[str, Any],
    changed: Mapping[str, Any],
    step: Step | None,
    steps: Steps,
) -> None:
    whose: dict[str, Any] = {
        "opportunity_id": now["id"],
        **{name: after[name] for name in ("name", "company_id", "contact_id", "owner_id")},
        "record_version": now["version"] + 1,
    }
    if step is not None:
        left = steps.by_id(now["stage_id"])
        emit(
            session,
            contract.OpportunityMoved(
                **whose,
                from_stage_id=now["stage_id"],
                from_stage=left.name if left else "",
                to_stage_id=after["stage_id"],
                to_stage=step.name,
                kind=step.kind,
            ),
        )
        _tell_end(session, {**after, "version": now["version"] + 1}, step)
    rest = changed.keys() - moves.MOVED - {"search", "owner_reason"}
    if rest and (step is None or rest - {"amount_amount", "currency"}):
        names = {"amount" if n in ("amount_amount", "currency") else n for n in rest}
        emit(session, contract.OpportunityChanged(**whose, changed=sorted(names)))


def _tell_end(session: Session, row: Mapping[str, Any], step: Step) -> None:
    """A deal that is won or lost now: told and counted."""
    if step.kind == "open":
        return
    metrics.count(session, step.kind)
    whose: dict[str, Any] = {
        "opportunity_id": row["id"],
        **{name: row[name] for name in ("name", "company_id", "contact_id", "owner_id")},
        "amount": None
        if row["amount_amount"] is None
        else Money(amount=row["amount_amount"], currency=row["currency"]),
        "record_version": row["version"],
    }
    closed: dt.date = row["closed_on"]
    if step.kind == "won":
        emit(session, contract.DealWon(**whose, won_on=closed, reason=row["win_reason"]))
    else:
        emit(session, contract.DealLost(**whose, lost_on=closed, reason=row["lost_reason"]))
