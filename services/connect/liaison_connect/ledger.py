"""The ledger: one row per intent, from the moment it is taken on to what became of it.

    queued -> claimed -> sent
                      -> failed     refused for good, or tried often enough
                      -> expired    nobody wants it any more
                      -> unknown    handed over, and nobody said what became of it
                      -> queued     later; or its sender died before it had handed anything over

Whoever sends a message claims it first, for a while, in a transaction of its own, and writes down
that it hands it over in the last moment before it does (`sending`). A message is never handed over
twice unless a person asks for it (`retry`).
"""

import hashlib
import json
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from liaison_connect import metrics, templates
from liaison_connect.composing import BadAddress, deliverable, one_line
from liaison_connect.models import Message, SeenMessage
from liaison_kit import listing, records
from liaison_kit.context import context
from liaison_kit.events import emit
from liaison_kit.ids import uuid7
from liaison_kit.messages import SEALED_FOR
from liaison_kit.records.recordtype import RecordType
from liaison_kit.templates import BadTemplate
from liaison_kit.trust.keys import Keyring
from liaison_kit.trust.sealing import unseal
from liaison_sdk.contracts import connect as contracts
from liaison_sdk.contracts.connect import (
    About,
    Content,
    FailureReason,
    MessageFailed,
    MessageIntended,
    MessageIntent,
    MessageSent,
    Sealed,
)
from liaison_sdk.errors import Conflict, NotFound, StaleVersion
from liaison_sdk.labels import Label

CHANNELS = ("email",)
ACCOUNT = "account"
"""The purpose of what people wait for at a screen: it is sent before anything else."""

MESSAGES = RecordType(
    "messages",
    Label(en="Message", fr="Message"),
    model=SeenMessage,
    shape=contracts.Message,
    default_sort="-created_at",
)
_WHOLE = RecordType(
    "whole_messages",
    Label(en="Message", fr="Message"),
    model=SeenMessage,
    shape=contracts.ReadMessage,
)


class NotFailed(Conflict):
    """Only what was not sent can be sent again."""

    code, title = "not_failed", "This message has not failed"


class Forgotten(Conflict):
    """What a secret message said is not kept once it has ended."""

    code, title = "forgotten", "What this message said is not kept: have a new one sent"


class NotTakenOn(Exception):
    """An intent that nothing can be made of; the message says why, for a reader."""

    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(detail)
        self.reason: FailureReason = reason


def accept(session: Session, keys: Keyring, sender: str, event: MessageIntended) -> None:
    """Take an intent on, once; one that nothing can be made of has failed, and says why."""
    intent = event.intent
    if event.sealed is not None:
        said = Sealed.model_validate_json(unseal(keys, SEALED_FOR, event.sealed.encode()))
        intent = intent.model_copy(update={"content": said.content, "fields": said.fields})
    row = _row(session, sender, intent)
    try:
        content = _content(session, intent)
        if intent.secret:
            row["sealed"] = event.sealed
        else:
            row |= {"subject": content.subject, "text": content.text, "html": content.html}
        row["to_address"] = _address(intent)
    except NotTakenOn as why:
        row |= {"state": "failed", "reason": why.reason, "answer": str(why)[:500], "sealed": None}
    added = session.execute(
        insert(Message).values(_storable(row)).on_conflict_do_nothing().returning(Message.id)
    ).scalar()
    if added is None:
        _again(session, sender, intent, row["fingerprint"])
    elif row["state"] == "failed":
        _tell_failed(session, intent, sender, added, row["reason"], row["answer"])
    else:
        session.execute(text("SELECT pg_notify('messages', '')"))


def _row(session: Session, sender: str, intent: MessageIntent) -> dict[str, Any]:
    about = context(session)
    subject = intent.about
    wakes = max(intent.not_before or about.now, about.now)
    return {
        "id": uuid7(),
        "tenant_id": about.tenant,
        "version": 1,
        "custom": {},
        "created_at": about.now,
        "created_by": about.user,
        "updated_at": about.now,
        "updated_by": about.user,
        "intent_id": intent.id,
        "sender": sender,
        "channel": intent.channel[:100],
        "purpose": intent.purpose[:100],
        "to_address": intent.to.address,
        "to_name": None if intent.to.name is None else one_line(intent.to.name)[:200],
        "person_id": intent.to.person_id,
        "language": intent.to.language,
        "template": intent.template,
        "secret": intent.secret,
        "fingerprint": _fingerprint(intent),
        "about_record": subject and subject.record,
        "about_id": subject and subject.id,
        "owner_id": subject and subject.owner_id,
        "urgent": intent.purpose == ACCOUNT,
        "state": "queued",
        "reason": None,
        "answer": None,
        "attempts": 0,
        "not_before": intent.not_before,
        "expires_at": intent.expires_at,
        "wake_at": min(wakes, intent.expires_at or wakes),
    }


def _storable(row: dict[str, Any]) -> dict[str, Any]:
    """The same without NUL, which no text of the database can hold."""
    return {k: v.replace("\0", "") if isinstance(v, str) else v for k, v in row.items()}


def _fingerprint(intent: MessageIntent) -> bytes:
    """Equal for the same message only."""
    said = json.dumps(intent.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(said.encode()).digest()


def _address(intent: MessageIntent) -> str:
    """Whom it goes to, if that is an address at all."""
    if intent.channel not in CHANNELS:
        raise NotTakenOn("unknown_channel", f"There is no channel {intent.channel[:100]!r} here")
    if not intent.to.address:
        raise NotTakenOn("no_address", "It is for nobody: it has no address")
    try:
        deliverable(intent.to.address)
    except BadAddress as error:
        raise NotTakenOn("bad_address", str(error)) from None
    return intent.to.address


def _content(session: Session, intent: MessageIntent) -> Content:
    """What it says, filled in: later changes of the template are none of it."""
    if intent.content is not None:
        return intent.content
    if intent.template is None:
        raise NotTakenOn("no_content", "It has neither content nor a template")
    found = templates.find(session, intent.template, intent.to.language)
    if found is None:
        raise NotTakenOn("unknown_template", f"There is no template {intent.template[:100]!r}")
    try:
        return templates.fill_in(found, intent.fields)
    except BadTemplate as error:
        raise NotTakenOn("bad_template", error.detail) from None


def content_of(keys: Keyring, session: Session, row: Message) -> Content:
    """What a message that is to be sent says."""
    if row.sealed is None:
        return Content(subject=row.subject or "", text=row.text or "", html=row.html)
    said = Sealed.model_validate_json(unseal(keys, SEALED_FOR, row.sealed.encode()))
    if said.content is not None:
        return said.content
    found = templates.find(session, row.template or "", row.language)
    if found is None:
        raise NotTakenOn("unknown_template", "The template has been deleted meanwhile")
    try:
        return templates.fill_in(found, said.fields)
    except BadTemplate as error:
        raise NotTakenOn("bad_template", error.detail) from None


def _again(session: Session, sender: str, intent: MessageIntent, fingerprint: bytes) -> None:
    """The id has been taken: by this very message, or by another, which stays as it was."""
    known = session.scalar(
        select(Message.fingerprint).where(Message.sender == sender, Message.intent_id == intent.id)
    )
    if known != fingerprint:
        detail = "Its id is that of another message, which stays as it was"
        _tell_failed(session, intent, sender, None, "same_id", detail)


def _tell_failed(
    session: Session,
    intent: MessageIntent,
    sender: str,
    id: UUID | None,
    reason: FailureReason,
    detail: str,
) -> None:
    channel = intent.channel if intent.channel in CHANNELS else "other"
    metrics.count(session, channel, "failed")
    emit(
        session,
        MessageFailed(
            intent_id=intent.id,
            message_id=id,
            sender=sender,
            channel=intent.channel,
            purpose=intent.purpose,
            person_id=intent.to.person_id,
            about=intent.about,
            reason=reason,
            detail=detail,
        ),
    )


# --- what became of it ----------------------------------------------------------------------------


def sent(session: Session, row: Message, answer: str) -> None:
    """It has been handed over, and was taken."""
    now = context(session).now
    _end(session, row, "sent", None, answer, sent_at=now)
    emit(session, MessageSent(sent_at=now, **_told(row)))


def failed(session: Session, row: Message, reason: FailureReason, answer: str) -> None:
    """It won't be sent; of an `unknown` one nobody knows whether it was."""
    state = reason if reason in ("expired", "unknown") else "failed"
    _end(session, row, state, reason, answer)
    emit(session, MessageFailed(reason=reason, detail=answer, **_told(row)))


def later(session: Session, row: Message, delay_s: float, answer: str) -> None:
    """It was not sent, and is tried again after a while."""
    now = func.clock_timestamp()
    wakes = func.least(now + _seconds(delay_s), row.expires_at)
    values = {"state": "queued", "answer": answer[:500], "worker": None, "handed_at": None}
    _set(session, row, wake_at=wakes, **values)
    metrics.count(session, row.channel, "later")


class Lost(Exception):
    """Somebody else has taken the message over: it was claimed for longer than that lasts."""


def handing(session: Session, row: Message, lease_s: float) -> None:
    """It is about to be handed over by who claimed it; `Lost` when they hold it no longer."""
    until = func.clock_timestamp() + _seconds(lease_s)
    _set(session, row, handed_at=func.clock_timestamp(), wake_at=until)


def _seconds(number: float) -> Any:
    return func.make_interval(0, 0, 0, 0, 0, 0, number)


def _end(
    session: Session,
    row: Message,
    state: str,
    reason: FailureReason | None,
    answer: str,
    **more: Any,
) -> None:
    _set(session, row, state=state, reason=reason, answer=answer[:500], sealed=None, **more)
    metrics.count(session, row.channel, state)


def _set(session: Session, row: Message, **values: Any) -> None:
    """Write what has become of a claimed message, if it is still claimed by who says so."""
    done = session.execute(
        update(Message)
        .where(
            Message.id == row.id,
            Message.state == "claimed",
            Message.worker == row.worker,
        )
        .values(version=Message.version + 1, updated_at=context(session).now, **values)
        .returning(Message.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    if done is None:
        raise Lost(str(row.id))


def _told(row: Message) -> dict[str, Any]:
    about = None
    if row.about_record is not None and row.about_id is not None:
        about = About(record=row.about_record, id=row.about_id, owner_id=row.owner_id)
    return {
        "intent_id": row.intent_id,
        "message_id": row.id,
        "sender": row.sender,
        "channel": row.channel,
        "purpose": row.purpose,
        "person_id": row.person_id,
        "about": about,
    }


# --- people ---------------------------------------------------------------------------------------


def read(session: Session, id: UUID) -> tuple[bytes, int]:
    """One message with its body, if the caller may see what it is about."""
    found = listing.read(session, _WHOLE, id)
    if found is None:
        raise NotFound("There is no such message")
    return found[0].encode(), found[1]


def retry(session: Session, id: UUID, version: int) -> None:
    """Send a failed message again, or one of which nobody knows whether it was sent."""
    read(session, id)
    row = session.scalars(select(Message).where(Message.id == id).with_for_update()).one()
    if row.version != version:
        raise StaleVersion(
            f"You changed version {version}; it is at version {row.version} now",
            read(session, id)[0],
        )
    if row.state not in ("failed", "unknown"):
        raise NotFailed(f"It is {row.state}")
    if row.secret or row.text is None:
        raise Forgotten()
    about = context(session)
    row.state, row.reason, row.answer = "queued", None, None
    row.attempts, row.worker, row.handed_at, row.wake_at = 0, None, None, about.now
    row.version, row.updated_at, row.updated_by = row.version + 1, about.now, about.user
    session.flush()
    session.execute(text("SELECT pg_notify('messages', '')"))


def answered(session: Session, id: UUID) -> tuple[bytes, int]:
    """A message as readers get it after it was changed."""
    return records.answer(session, MESSAGES, id)
