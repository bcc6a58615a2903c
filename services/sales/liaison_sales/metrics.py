"""Business figures for Prometheus: opportunities opened, won and lost, once they are committed."""

from collections import Counter as Tally
from typing import Final, Literal

from prometheus_client import Counter
from sqlalchemy import event
from sqlalchemy.orm import Session

OPPORTUNITIES = Counter(
    "liaison_sales_opportunities_total",
    "Opportunities that were opened, won or lost, by hand or by import.",
    ["what", "by"],
)
_PENDING: Final = "sales_counts"


def count(
    session: Session,
    what: Literal["opened", "won", "lost"],
    number: int = 1,
    by: Literal["hand", "import"] = "hand",
) -> None:
    """Count this if and when the transaction commits."""
    session.info.setdefault(_PENDING, Tally())[what, by] += number


@event.listens_for(Session, "after_commit")
def _committed(session: Session) -> None:
    for labels, number in session.info.pop(_PENDING, {}).items():
        OPPORTUNITIES.labels(*labels).inc(number)


@event.listens_for(Session, "after_rollback")
def _rolled_back(session: Session) -> None:
    session.info.pop(_PENDING, None)
