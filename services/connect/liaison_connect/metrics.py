"""Figures for Prometheus: what became of messages, and how long the next one has waited."""

from collections import Counter as Tally
from typing import Final

from prometheus_client import Counter, Gauge
from sqlalchemy import event
from sqlalchemy.orm import Session

MESSAGES = Counter(
    "liaison_messages_total",
    "What became of messages: sent, failed, expired, unknown; later is to be tried again.",
    ["channel", "outcome"],
)
QUEUE_AGE = Gauge(
    "liaison_message_queue_seconds", "How long the message that is due first has waited."
)
HELD = Gauge("liaison_messages_held", "Whether messages wait because there is nobody to send them.")
_PENDING: Final = "message_counts"


def count(session: Session, channel: str, outcome: str) -> None:
    """Count this if and when the transaction commits."""
    session.info.setdefault(_PENDING, Tally())[channel, outcome] += 1


@event.listens_for(Session, "after_commit")
def _committed(session: Session) -> None:
    for labels, number in session.info.pop(_PENDING, {}).items():
        MESSAGES.labels(*labels).inc(number)


@event.listens_for(Session, "after_rollback")
def _rolled_back(session: Session) -> None:
    session.info.pop(_PENDING, None)
