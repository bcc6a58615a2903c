"""The sales summary: opportunities added up by stage, region, rep, product, month and more.

One statement. It takes what alike opportunities add up to from the sums that the database keeps;
for months, and for filters that those sums do not know, it adds up the opportunities themselves,
reading a covering index only. Then it names the few sums that are left. Percentages, means and
rounding are done on those, in exact decimals (docs/decisions/kept-sums.md).
"""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from typing import Any, Final
from typing import cast as cast_type

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Text,
    cast,
    func,
    literal_column,
    null,
    select,
)
from sqlalchemy.orm import Session

from liaison_kit import listing
from liaison_kit.database.tables import Record
from liaison_kit.listing.asked import ListQuery
from liaison_sales.models import Opportunity, OpportunitySum, Product, Rep, Stage
from liaison_sales.opportunities import OPPORTUNITIES, Placed, filters
from liaison_sdk.contracts import sales as contract
from liaison_sdk.contracts.sales import SummaryBy
from liaison_sdk.types import rounded

DAYS: Final = Decimal("0.01")
RATE: Final = Decimal("0.0001")

SUMMARISED: Final = OPPORTUNITIES.unsearched()
"""Opportunities with their filters; a summary of what a search finds would be a riddle."""

KEPT: Final = dataclasses.replace(
    SUMMARISED,
    # Not a record, but what the filters below ask for it has.
    model=cast_type("type[Record]", OpportunitySum),
    columns={},
    filters=filters(OpportunitySum),
    owner=OpportunitySum.owner_id,
)
_KEPT_BY: Final = frozenset(
    {"pipeline_id", "stage_id", "stage", "status", "owner_id", "product_id", "region", "manager_id"}
)
"""The filters that kept sums answer."""


def summary(session: Session, by: SummaryBy, query: ListQuery[contract.Opportunity]) -> bytes:
    """The opportunities that the filters leave, added up, as JSON."""
    if by != "month" and are_kept(query):
        build = _statement(by, OpportunitySum)
        rows = listing.aggregate(session, KEPT, query, f"kept sums by {by}", build)
    else:
        build = _statement(by, Opportunity)
        rows = listing.aggregate(session, SUMMARISED, query, f"sums by {by}", build)
    tallies: dict[tuple[Any, ...], Tally] = {}
    total = Tally(None, None)
    for key, label, rank, kind, currency, *sums in rows:
        tally = tallies.get((key, label))
        if tally is None:
            tally = tallies[key, label] = Tally(key, label, rank)
        tally.add(kind, currency, *sums)
        total.add(kind, currency, *sums)
    ordered = sorted(tallies.values(), key=Tally.place)
    answer = {"by": by, "rows": [t.shown() for t in ordered], "total": total.shown()}
    return json.dumps(answer, ensure_ascii=False).encode()


def are_kept(query: ListQuery[contract.Opportunity]) -> bool:
    """Whether the kept sums tell what the list's filters leave."""
    return {name.partition("[")[0] for name, _ in query.pairs} <= _KEPT_BY


@dataclass(slots=True)
class Tally:
    """The sums of one row while they are being added up."""

    key: str | None
    label: str | None
    rank: str | None = None
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    amounts: dict[tuple[str, str], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    weighted: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    days: int = 0
    dated: int = 0

    def add(
        self,
        kind: str,
        currency: str | None,
        count: int,
        amount: Decimal | None,
        percents: Decimal | None,
        days: int | None,
        dated: int,
    ) -> None:
        """Add opportunities of one status and currency; `percents` is amount x probability."""
        self.counts[kind] += count
        if currency is not None and amount is not None:
            self.amounts[kind, currency] += amount
            if kind == "open":
                self.weighted[currency] += (percents or Decimal()) / 100
        if kind == "won":
            self.days += int(days or 0)
            self.dated += dated

    def place(self) -> tuple[Any, ...]:
        """Where the row comes: by its stage's or month's order or its name, none at the end."""
        return (self.key is None, self.rank or "", (self.label or "").casefold(), self.key or "")

    def shown(self) -> dict[str, Any]:
        """The row as `contract.SummaryRow`."""
        won, lost = self.counts["won"], self.counts["lost"]
        closed = won + lost
        return {
            "key": self.key,
            "label": self.label,
            "count": sum(self.counts.values()),
            "open": self.counts["open"],
            "won": won,
            "lost": lost,
            "amounts": self._money("open", "won"),
            "open_amounts": self._money("open"),
            "won_amounts": self._money("won"),
            "lost_amounts": self._money("lost"),
            "weighted": monies(self.weighted),
            "win_rate": _rounded(Decimal(won) / closed, RATE) if closed else None,
            "mean_cycle_days": _rounded(Decimal(self.days) / self.dated, DAYS)
            if self.dated
            else None,
        }

    def _money(self, *kinds: str) -> list[dict[str, str]]:
        found: dict[str, Decimal] = defaultdict(Decimal)
        for (kind, currency), amount in self.amounts.items():
            if kind in kinds:
                found[currency] += amount
        return monies(found)


def monies(amounts: Mapping[str, Decimal]) -> list[dict[str, str]]:
    """Amounts by currency as `Money`."""
    return [
        {"amount": str(rounded(amount, currency)), "currency": currency}
        for currency, amount in sorted(amounts.items())
    ]


def _rounded(number: Decimal, to: Decimal) -> str:
    return str(number.quantize(to, ROUND_HALF_UP))


# --- the statement ------------------------------------------------------------------------------

_Label = tuple[Any, Any, Any]
"""SQL of a row's key, its label and its rank."""


def _by_stage(_sums: FromClause) -> _Label:
    # In their order within the pipeline; ids rise with time, so the oldest pipeline is first.
    rank = cast(Stage.pipeline_id, Text) + func.to_char(Stage.position, "000")
    return cast(Stage.id, Text), Stage.name, rank


def _by_region(sums: FromClause) -> _Label:
    region = func.coalesce(Rep.region, sums.c.region)
    return region, region, null()


def _by_rep(sums: FromClause) -> _Label:
    return cast(sums.c.owner_id, Text), func.nullif(Rep.name, ""), null()


def _by_manager(_sums: FromClause) -> _Label:
    return cast(Rep.manager_id, Text), Rep.manager, null()


def _by_product(sums: FromClause) -> _Label:
    return cast(sums.c.product_id, Text), Product.name, null()


def _by_month(sums: FromClause) -> _Label:
    month = func.to_char(sums.c.closed_on, "YYYY-MM")
    return month, month, null()


def _by_currency(sums: FromClause) -> _Label:
    return sums.c.currency, sums.c.currency, null()


_OWN: Final[dict[SummaryBy, tuple[str, ...]]] = {
    "stage": (),
    "region": ("owner_id", "region"),
    "rep": ("owner_id",),
    "manager": ("owner_id",),
    "product": ("product_id",),
    "month": ("closed_on",),
    "currency": (),
}
"""The columns of an opportunity that decide about its row, besides its stage and currency."""

_LABELS: Final[dict[SummaryBy, Callable[[FromClause], _Label]]] = {
    "stage": _by_stage,
    "region": _by_region,
    "rep": _by_rep,
    "manager": _by_manager,
    "product": _by_product,
    "month": _by_month,
    "currency": _by_currency,
}


def _measures(model: Placed) -> dict[str, ColumnElement[Any]]:
    """How many, how much, and how long they took, of what is alike."""
    if model is OpportunitySum:
        return {
            name: func.sum(getattr(OpportunitySum, name))
            for name in ("count", "amount", "days", "dated")
        }
    cycle = Opportunity.closed_on - Opportunity.engaged_on
    return {
        "count": func.count(),
        "amount": func.sum(Opportunity.amount_amount),
        "days": func.sum(cycle),
        "dated": func.count(cycle),
    }


@cache
def _statement(
    by: SummaryBy, model: Placed
) -> Callable[[Sequence[ColumnElement[bool]]], Select[Any]]:
    def build(conditions: Iterable[ColumnElement[bool]]) -> Select[Any]:
        names = (*_OWN[by], "stage_id", "probability", "currency")
        alike = [getattr(model, name) for name in names]
        measures = _measures(model)
        sums = (
            select(*alike, *(measure.label(name) for name, measure in measures.items()))
            .where(*conditions)
            .group_by(*alike)
            # Kept sums of what has moved on add up to nothing.
            .having(measures["count"] != 0)
            .subquery("sums")
        )
        source: FromClause = sums.join(Stage, Stage.id == sums.c.stage_id)
        if "owner_id" in sums.c:
            source = source.outerjoin(Rep, Rep.id == sums.c.owner_id)
        if "product_id" in sums.c:
            source = source.outerjoin(Product, Product.id == sums.c.product_id)
        key, label, rank = _LABELS[by](sums)
        heads = (
            key.label("key"),
            label.label("label"),
            rank.label("rank"),
            Stage.kind,
            sums.c.currency,
        )
        percent = func.coalesce(sums.c.probability, Stage.probability)
        return (
            select(
                *heads,
                cast(func.sum(sums.c["count"]), Stage.position.type),
                func.sum(sums.c.amount),
                func.sum(sums.c.amount * percent),
                func.sum(sums.c.days),
                cast(func.sum(sums.c.dated), Stage.position.type),
            )
            .select_from(source)
            .group_by(*map(literal_column, "12345"))
        )

    return build
