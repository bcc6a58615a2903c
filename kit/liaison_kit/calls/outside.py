"""What a transaction needs and must not wait for: questions to other services, long reading.

    answer = answer_to(session, "identity", "known_users", body)

What waits must hold no connection and no lock: others need them. So the transaction is left, the
question is asked with nothing in hand, and the work begins again from the start, with the answer.
Most work needs nothing of the kind and pays nothing.
"""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from liaison_kit.context import Context
from liaison_kit.telemetry import log
from liaison_sdk.errors import Unavailable

ASKING_S = 3.0
MOST = 20
"""So much a piece of work may need from outside; it would be endless otherwise."""

Ask = Callable[..., bytes]
Known = dict[Hashable, Any]
"""What was found out outside, by its key."""
T = TypeVar("T")

_KNOWN = "known outside"


class Outside(Exception):
    """Something has to be done before the work can be, and not within its transaction."""

    def __init__(self, key: Hashable, work: Callable[[Ask, Context], Any]) -> None:
        super().__init__(str(key))
        self.key = key
        self.work = work


def outside(session: Session, key: Hashable, work: Callable[[], T]) -> T:
    """What the work returns, which is done outside of this session's transaction, once."""
    found: T = _found(session, key, lambda _ask, _about: work())
    return found


def answer_to(session: Session, service: str, operation: str, body: bytes) -> bytes:
    """What another service answers; `Unavailable` when it does not."""

    def asked(ask: Ask, about: Context) -> bytes:
        return ask(service, operation, body, about, ASKING_S)

    answer: bytes = _found(session, (service, operation, body), asked)
    return answer


def may_ask(session: Session) -> bool:
    """Whether the work of this session is begun again with what it needs from outside."""
    return _KNOWN in session.info


def answer_if_any(session: Session, service: str, operation: str, body: bytes) -> bytes | None:
    """What another service answers; None where it does not, or where nobody can be asked."""
    if not may_ask(session):
        return None

    def asked(ask: Ask, about: Context) -> bytes | None:
        try:
            return ask(service, operation, body, about, ASKING_S)
        except Unavailable as error:
            log.warning("question not answered", service=service, error=error.detail)
            return None

    answer: bytes | None = _found(session, (service, operation, body), asked)
    return answer


def _found(session: Session, key: Hashable, work: Callable[[Ask, Context], Any]) -> Any:
    known: Known = session.info.get(_KNOWN, {})
    if key not in known:
        raise Outside(key, work)
    return known[key]


def knows(session: Session, known: Known) -> None:
    """What has been found out so far is there for this session's work."""
    session.info[_KNOWN] = known


def doing(ask: Ask, about: Context, work: Callable[[Known], T]) -> T:
    """Do the work; whenever it needs something from outside get that, and start again.

    The work opens and leaves its sessions itself, and has them know (`knows`) what it is given.
    """
    known: Known = {}
    while True:
        try:
            return work(known)
        except Outside as needed:
            if len(known) >= MOST:
                raise Unavailable("This needs too much of others") from None
            first = needed
        known[first.key] = first.work(ask, about)
