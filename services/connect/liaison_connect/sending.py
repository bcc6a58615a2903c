"""Sending: takes the messages that are due, one by one, and writes down what became of each.

Each is three transactions: it is claimed; that it is handed over is written down in the last moment
before it is; what was answered is written down. Nothing is held while the other side is waited for.

Who dies before the second has sent nothing, and somebody else claims the message. Who dies after it
may have sent it: then it is not sent again, and called `unknown`
(docs/decisions/intents.md). A claim lasts for a while; who has taken longer finds in the second
transaction that it is lost, and hands nothing over.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, text

from liaison_connect import composing, ledger
from liaison_connect.composing import BadAddress, Letter, Mail
from liaison_connect.ledger import ACCOUNT, Lost, NotTakenOn
from liaison_connect.metrics import HELD, QUEUE_AGE
from liaison_connect.models import Message
from liaison_connect.outlets import NoOutlet, Outlet, mail_from, outlet
from liaison_connect.smtp import OutcomeUnknown, Refused, TryLater
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.settings import Settings
from liaison_kit.telemetry import log
from liaison_kit.trust.keys import Keyring
from liaison_sdk.contracts.connect import FailureReason
from liaison_sdk.errors import BadRequest

DELAYS_S = (1, 10, 60, 600, 3600, 21_600)
"""How long a message waits before each further try; after the last it has failed."""
CLAIMED_S = 120
"""How long a claim lasts until something is handed over."""
HANDED_S = 600
"""How long after that its outcome may take to be written down."""

# What ended without its sender's doing is claimed like what is due: one look finds both.
_CLAIM = text("""
WITH next AS (
    SELECT id, wake_at FROM message_queue
     WHERE wake_at <= clock_timestamp()
       AND (:sends OR state = 'claimed' OR expires_at <= clock_timestamp())
     ORDER BY urgent DESC, wake_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE message_queue q SET state = 'claimed', worker = :worker,
       wake_at = clock_timestamp() + make_interval(secs => :claimed),
       attempts = q.attempts + (q.handed_at IS NULL)::int
  FROM next WHERE q.id = next.id
RETURNING q.id, q.tenant_id, coalesce(q.expires_at <= clock_timestamp(), false) AS is_over,
          extract(epoch FROM clock_timestamp() - next.wake_at) AS waited
""")
_HELD_FOR = text(
    "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(wake_at)), 0)"
    " FROM message_queue WHERE state = 'queued' AND wake_at <= clock_timestamp()"
)


class Sender:
    """Sends what is due, by the way out that the settings name."""

    def __init__(self, db: Database, keys: Keyring, way: Outlet | None, mail_from: str) -> None:
        self._db = db
        self._keys = keys
        self._way = way
        self._mail_from = mail_from
        HELD.set(way is None)

    @classmethod
    def of(cls, db: Database, keys: Keyring, settings: Settings) -> "Sender":
        """A sender as the settings say; where they name no way out, messages are held."""
        way: Outlet | None = None
        try:
            way = outlet(settings)
        except NoOutlet as reason:
            log.warning(str(reason))
        return cls(db, keys, way, mail_from(settings))

    def send_next(self) -> bool:
        """Deal with the next message that is due; whether there was one."""
        worker = uuid4()
        found = self._claim(worker)
        if found is None:
            if self._way is not None:
                self._way.rest()
            return False
        about = Context(tenant=found.tenant_id)
        with self._db.reading(about) as session:
            row = session.get(Message, found.id)
            if row is None or row.worker != worker:
                return True
        try:
            self._deal_with(about, row, found.is_over)
        except Lost:
            log.warning("a message was taken over", message=str(row.id))
        return True

    def _claim(self, worker: UUID) -> Row[Any] | None:
        with self._db.connection() as connection:
            given = {"worker": worker, "claimed": CLAIMED_S, "sends": self._way is not None}
            found = connection.execute(_CLAIM, given).first()
            waited = 0 if found is None else found.waited
            if self._way is None:
                waited = connection.scalar(_HELD_FOR)
            connection.commit()
        QUEUE_AGE.set(float(waited))
        return found

    def _deal_with(self, about: Context, row: Message, is_over: bool) -> None:
        if row.handed_at is not None:
            self._failed(about, row, "unknown", "Its sender died while it was handed over")
        elif is_over:
            self._failed(about, row, "expired", "Its time was over before it could be sent")
        elif row.attempts > len(DELAYS_S) + 1:
            # Each attempt ended with its process.
            self._failed(about, row, "gave_up", row.answer or "No attempt to send it ended")
        else:
            self._try(about, row)

    def _try(self, about: Context, row: Message) -> None:
        assert self._way is not None
        try:
            mail = self._mail(about, row)
        except BadAddress as error:
            return self._failed(about, row, "bad_address", str(error))
        except NotTakenOn as error:
            return self._failed(about, row, error.reason, str(error))
        except BadRequest:
            # The key that it was sealed to has been replaced twice since.
            return self._failed(about, row, "gave_up", "What it says can't be opened any more")
        try:
            answer = self._way.hand_over(mail, self._handing(about, row))
        except Refused as error:
            return self._failed(about, row, "refused", str(error))
        except OutcomeUnknown as error:
            return self._failed(about, row, "unknown", str(error))
        except (TryLater, OSError) as error:
            return self._later(about, row, str(error))
        with self._db.writing(_now(about)) as session:
            return ledger.sent(session, row, answer)

    def _mail(self, about: Context, row: Message) -> Mail:
        with self._db.reading(about) as session:
            content = ledger.content_of(self._keys, session, row)
        letter = Letter(
            id=row.id,
            to_address=row.to_address or "",
            to_name=row.to_name,
            language=row.language,
            subject=content.subject,
            text=content.text,
            html=content.html,
            automatic=row.purpose == ACCOUNT,
        )
        return composing.compose(letter, self._mail_from, row.created_at)

    def _handing(self, about: Context, row: Message) -> Callable[[], None]:
        def handing() -> None:
            with self._db.writing(_now(about)) as session:
                ledger.handing(session, row, HANDED_S)

        return handing

    def _failed(self, about: Context, row: Message, reason: FailureReason, answer: str) -> None:
        with self._db.writing(_now(about)) as session:
            ledger.failed(session, row, reason, answer)

    def _later(self, about: Context, row: Message, answer: str) -> None:
        if row.attempts > len(DELAYS_S):
            return self._failed(about, row, "gave_up", answer)
        with self._db.writing(_now(about)) as session:
            return ledger.later(session, row, DELAYS_S[row.attempts - 1], answer)


def _now(about: Context) -> Context:
    """The same work, a moment later."""
    return Context(tenant=about.tenant, correlation_id=about.correlation_id)
