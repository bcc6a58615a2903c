"""Figures for Prometheus: what became of what people were to be told."""

from collections import Counter as Tally
from typing import Final

from prometheus_client import Counter
from sqlalchemy import event
from sqlalchemy.orm import Session

NOTIFICATIONS = Counter(
    "liaison_notifications_total",
    "What became of what users were to be told: kept, joined to one that is unread, unseen for who"
    " may not see the record or is not there, unwanted.",
    ["kind", "outcome"],
)
DIGESTS = Counter(
    "liaison_digests_total", "Mails of the day: sent, or empty and not sent.", ["outcome"]
)
_TOLD: Final = "notification_counts"
_DIGESTS: Final = "digest_counts"


def told(session: Session, kind: str, outcome: str, number: int) -> None:
    """Count these if and when the transaction commits."""
    if number:
        session.info.setdefault(_TOLD, Tally())[kind, outcome] += number


def digest(session: Session, outcome: str) -> None:
    """Count this one if and when the transaction commits."""
    session.info.setdefault(_DIGESTS, Tally())[outcome] += 1


@event.listens_for(Session, "after_commit")
def _committed(session: Session) -> None:
    for (kind, outcome), number in session.info.pop(_TOLD, {}).items():
        NOTIFICATIONS.labels(kind, outcome).inc(number)
    for outcome, number in session.info.pop(_DIGESTS, {}).items():
        DIGESTS.labels(outcome).inc(number)


@event.listens_for(Session, "after_rollback")
def _rolled_back(session: Session) -> None:
    session.info.pop(_TOLD, None)
    session.info.pop(_DIGESTS, None)
