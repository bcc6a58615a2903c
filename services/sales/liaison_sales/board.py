"""The board of opportunities: the stages of a pipeline in order, with what is kept of each."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from liaison_kit import listing
from liaison_kit.boards import Board, Column, Kept, KeptSums
from liaison_kit.database.queries import Rows
from liaison_kit.listing.asked import ListQuery, Plan
from liaison_kit.records import Held
from liaison_sales import opportunities
from liaison_sales.models import Opportunity, OpportunitySum, Pipeline, Stage
from liaison_sales.summary import KEPT, are_kept, monies
from liaison_sdk.contracts import sales as contract
from liaison_sdk.errors import InvalidInput


def _stages(session: Session, plan: Plan) -> Sequence[Column]:
    """The stages of the pipeline that the list is filtered by, else of the default one."""
    wanted = select(Stage.id, Stage.name).join(Pipeline, Pipeline.id == Stage.pipeline_id)
    asked = [f for f in plan.filters if f.field == "pipeline_id" and f.operator in ("eq", "in")]
    if not asked:
        wanted = wanted.where(Pipeline.is_default)
    for f in asked:
        ids = f.value if isinstance(f.value, list) else [f.value]
        wanted = wanted.where(Pipeline.id.in_([UUID(id) for id in ids]))
    rows = session.execute(wanted.order_by(Pipeline.is_default.desc(), Pipeline.id, Stage.position))
    return [Column(str(id), name) for id, name in rows]


def _move(session: Session, id: UUID, version: int, key: str | None) -> Held[Opportunity]:
    """A card goes where its opportunity may go; a won or lost stage closes it."""
    try:
        stage = UUID(key or "")
    except ValueError:
        said = "The columns of this board are stages; send a stage's id"
        raise InvalidInput.field("to", "unknown_column", said) from None
    try:
        return opportunities.move(session, id, version, contract.Move(stage_id=stage))
    except InvalidInput as error:
        if [e.code for e in error.errors] != ["unknown_reference"]:
            raise
        raise InvalidInput.field("to", "unknown_column", error.detail) from None


def _kept(session: Session, query: ListQuery[contract.Opportunity]) -> KeptSums | None:
    """How many opportunities each stage has and what they are worth, as the database keeps it."""
    # In whatever order the cards are, there are as many of them.
    query = ListQuery([(name, value) for name, value in query.pairs if name != "sort"])
    if not are_kept(query):
        return None
    counts: dict[str | None, int] = defaultdict(int)
    sums: dict[str | None, dict[str, Decimal]] = defaultdict(dict)
    for stage, currency, count, amount in listing.aggregate(
        session, KEPT, query, "kept sums of a board", _by_stage
    ):
        key = str(stage)
        counts[key] += int(count)
        if currency is not None:
            sums[key][currency] = amount
    return {key: Kept(count, monies(sums[key])) for key, count in counts.items()}


def _by_stage(conditions: Sequence[ColumnElement[bool]]) -> Rows:
    of: Any = OpportunitySum
    count = func.sum(of.count)
    return (
        select(of.stage_id, of.currency, count, func.sum(of.amount))
        .where(*conditions)
        .group_by(of.stage_id, of.currency)
        # Kept sums of what has moved on add up to nothing.
        .having(count != 0)
    )


BY_STAGE: Final = Board("stage_id", _stages, _move, _kept)
