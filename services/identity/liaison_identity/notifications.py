"""Notifications: what modules tell people, kept for each until it is read and old.

What a person may not see, they are not told; what they may not see any more, they are not shown.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid5

from pydantic_core import to_json
from sqlalchemy import Boolean, bindparam, func, literal_column, select, text, update
from sqlalchemy.orm import Session

from liaison_identity import choices, digests, listeners, metrics
from liaison_identity.listeners import Listener
from liaison_identity.models import Notification
from liaison_kit import listing, sight
from liaison_kit.context import context
from liaison_kit.events import emit
from liaison_kit.ids import uuid7
from liaison_kit.listing.asked import ListQuery
from liaison_kit.messages import send_message
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.contracts import contacts, desk, sales
from liaison_sdk.contracts.connect import Content, MessageIntent
from liaison_sdk.contracts.desk import NotificationsChanged, Said, Unread, UsersNotified
from liaison_sdk.errors import NotFound
from liaison_sdk.labels import Label

# A notification is no record, but they are listed like some.
NOTIFICATIONS = RecordType(
    "notifications",
    Label(en="Notification", fr="Notification"),
    model=Notification,  # type: ignore[arg-type]
    shape=desk.Notification,
    columns={"unread": Notification.read_at.is_(None)},
)
MOST_COUNTED = 1000
PURPOSE = "notification"

_SEEN = (
    "(NOT notifications.gone AND (notifications.record IS NULL OR ("
    + sight.condition(
        "notifications.record || ':read'", "notifications.record", "notifications.owner_id"
    )
    + ")))"
)
"""SQL of whether the person who asks may see what a notification is about."""


class NoSuchNotification(NotFound):
    """There is none, or it is another's, or about what its person may not see any more."""

    title = "There is no such notification"


OfContacts = (
    UsersNotified
    | contacts.PeopleSaved
    | contacts.CompaniesSaved
    | contacts.PersonRemoved
    | contacts.CompanyRemoved
)
OfSales = (
    UsersNotified
    | sales.OpportunityChanged
    | sales.OpportunitiesImported
    | sales.OpportunitiesSaved
    | sales.OpportunitiesRemoved
)


# --- being told -----------------------------------------------------------------------------------


def keep(session: Session, module: str, event: UsersNotified) -> None:
    """Keep what a module tells, for those who may see what it is about and want to hear of it."""
    about = event.about
    record, owner = (None, None) if about is None else (about.record, about.owner_id)
    there = listeners.of(session, event.user_ids)
    may = [one for one in there if one.sees(record, owner)]
    kind = f"{module}.{event.kind}"
    chosen = choices.of_kind(session, [one.id for one in may], kind, event.channel)
    wanted = [one for one in may if chosen[one.id] != "none"]
    metrics.told(session, kind, "unseen", len(event.user_ids) - len(may))
    metrics.told(session, kind, "unwanted", len(may) - len(wanted))
    if not wanted:
        return
    record_id = None if about is None else about.id
    heap = f"{kind}/{record_id}"
    rows = [_row(event, one, heap, chosen[one.id]) for one in wanted]
    values = {
        "tenant": context(session).tenant,
        "module": module,
        "kind": event.kind,
        "record": record,
        "record_id": record_id,
        "owner_id": owner,
        "now": context(session).now,
        "rows": to_json(rows).decode(),
    }
    kept = session.execute(_KEEP, values).all()
    fresh = {row.user_id: row.id for row in kept if row.times == 1}
    metrics.told(session, kind, "kept", len(fresh))
    metrics.told(session, kind, "joined", len(kept) - len(fresh))
    for row in kept:
        emit(session, NotificationsChanged(owner_id=row.user_id))
    for one in wanted:
        if one.id in fresh and chosen[one.id] == "mail":
            _mail(session, event, one, fresh[one.id])
    digests.plan(session, [id for id in fresh if chosen[id] == "digest"])


def _row(event: UsersNotified, one: Listener, heap: str, channel: str) -> dict[str, Any]:
    said = _said(event, one)
    return {
        "id": uuid7(),
        "user_id": one.id,
        "heap": uuid5(one.id, heap),
        "channel": channel,
        "subject": said.subject,
        "text": said.text,
    }


def _said(event: UsersNotified, one: Listener) -> Said:
    return event.said.fr if one.locale == "fr" else event.said.en


# In the order of the users everywhere, so that two never wait for each other in a circle. What is
# about an erased person is not written, and so not returned.
_KEEP = text("""
INSERT INTO notifications AS kept (id, tenant_id, user_id, heap, module, kind, channel, record,
    record_id, owner_id, subject, text, created_at, updated_at)
SELECT id, :tenant, user_id, heap, :module, :kind, channel, :record, :record_id, :owner_id, subject,
       text, :now, :now
  FROM jsonb_to_recordset(CAST(:rows AS jsonb))
       AS t (id uuid, user_id uuid, heap uuid, channel text, subject text, text text)
 ORDER BY user_id
ON CONFLICT (heap) WHERE read_at IS NULL DO UPDATE
   SET times = kept.times + 1, subject = excluded.subject, text = excluded.text, gone = false,
       owner_id = CASE WHEN kept.owner_version = 0 THEN excluded.owner_id ELSE kept.owner_id END,
       updated_at = excluded.updated_at
RETURNING id, user_id, times
""")


def _mail(session: Session, event: UsersNotified, one: Listener, id: UUID) -> None:
    if one.email is None:
        return
    said = _said(event, one)
    intent = MessageIntent(
        id=id,
        to=one.recipient,
        purpose=PURPOSE,
        content=Content(subject=said.subject, text=said.text),
        about=event.about,
    )
    send_message(session, intent)


# --- whose the records are ------------------------------------------------------------------------


def concern(session: Session, events: Sequence[OfContacts | OfSales]) -> bool:
    """Whether users are told something, or something was told of any of these records."""
    if any(isinstance(event, UsersNotified) for event in events):
        return True
    ids = [id for event in events for id in _records(event)]
    return bool(session.scalar(_CONCERNED, {"ids": ids}))


def _records(event: OfContacts | OfSales) -> list[UUID]:
    match event:
        case contacts.PeopleSaved():
            return [told.id for told in event.people]
        case contacts.CompaniesSaved():
            return [told.id for told in event.companies]
        case contacts.PersonRemoved():
            return [event.person_id]
        case contacts.CompanyRemoved():
            return [event.company_id]
        case sales.OpportunityChanged():
            return [event.opportunity_id]
        case sales.OpportunitiesImported():
            return [told.opportunity_id for told in event.opportunities]
        case sales.OpportunitiesSaved():
            return [told.id for told in event.opportunities]
        case sales.OpportunitiesRemoved():
            return event.opportunity_ids
    return []


def heard(session: Session, module: str, event: OfContacts | OfSales) -> None:
    """A module tells users something, or what has become of its records."""
    match event:
        case UsersNotified():
            keep(session, module, event)
        case contacts.PeopleSaved():
            _owned(session, {r.id: (r.owner_id, r.version) for r in event.people})
        case contacts.CompaniesSaved():
            _owned(session, {r.id: (r.owner_id, r.version) for r in event.companies})
        case contacts.PersonRemoved():
            _gone(session, [event.person_id])
        case contacts.CompanyRemoved():
            _gone(session, [event.company_id])
        case sales.OpportunityChanged():
            _owned(session, {event.opportunity_id: (event.owner_id, event.record_version)})
        case sales.OpportunitiesImported():
            told = event.opportunities
            versions = {r.opportunity_id: (r.owner_id, r.record_version) for r in told}
            _owned(session, versions)
        case sales.OpportunitiesSaved():
            _owned(session, {r.id: (r.owner_id, r.version) for r in event.opportunities})
        case sales.OpportunitiesRemoved():
            _gone(session, event.opportunity_ids)


_CONCERNED = text("SELECT EXISTS (SELECT FROM notifications WHERE record_id = ANY (:ids))")
_OWNED = text("""
UPDATE notifications AS n
   SET owner_id = t.owner_id, owner_version = coalesce(t.version, n.owner_version), gone = false
  FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS t (id uuid, owner_id uuid, version bigint)
 WHERE n.record_id = t.id AND coalesce(n.owner_version < t.version, true)
""")
_GONE = text("UPDATE notifications SET gone = true WHERE record_id = ANY (:ids) AND NOT gone")
_MERGED = text("UPDATE notifications SET gone = false WHERE record_id = :id")


def _owned(session: Session, owners: Mapping[UUID, tuple[UUID | None, int | None]]) -> None:
    """These records are these users' by now, as of these versions.

    What is told without one is told of one record at a time, and those come in order.
    """
    rows = [{"id": id, "owner_id": owner, "version": v} for id, (owner, v) in owners.items()]
    session.execute(_OWNED, {"rows": to_json(rows).decode()})


def _gone(session: Session, ids: Sequence[UUID]) -> None:
    """These records were deleted: nobody sees them, and what was told of them."""
    session.execute(_GONE, {"ids": list(ids)})


def merged(session: Session, into: UUID) -> None:
    """What was told of a record that was merged is about the survivor, which is there."""
    session.execute(_MERGED, {"id": into})


# --- reading --------------------------------------------------------------------------------------


def page(session: Session, query: ListQuery[desk.Notification]) -> bytes:
    """One page of the caller's own that they may see, the last told first."""
    mine = Notification.user_id == bindparam("mine", type_=Notification.user_id.type)
    seen = literal_column(_SEEN, Boolean)
    user = str(context(session).user)
    return listing.page(session, NOTIFICATIONS, query, ("mine", mine, user), ("seen", seen, None))


def unread(session: Session) -> Unread:
    """How many of their own the caller has not read."""
    some = (
        select(Notification.id)
        .where(
            Notification.user_id == context(session).user,
            Notification.read_at.is_(None),
            literal_column(_SEEN, Boolean),
        )
        .limit(MOST_COUNTED)
    )
    found = session.scalar(select(func.count()).select_from(some.subquery()))
    return Unread(unread=found or 0, most=MOST_COUNTED)


def read(session: Session, id: UUID) -> None:
    """One has been read; once is enough."""
    found = session.scalar(
        select(Notification)
        .where(
            Notification.id == id,
            Notification.user_id == context(session).user,
            literal_column(_SEEN, Boolean),
        )
        .with_for_update()
    )
    if found is None:
        raise NoSuchNotification()
    if found.read_at is None:
        found.read_at = context(session).now
        _changed(session)


def read_until(session: Session, until: dt.datetime) -> int:
    """All that was told up to a moment has been read; how many of it were not."""
    now = context(session).now
    done = session.scalars(
        update(Notification)
        .where(
            Notification.user_id == context(session).user,
            Notification.read_at.is_(None),
            Notification.updated_at <= until,
        )
        .values(read_at=now)
        .returning(Notification.id)
        .execution_options(synchronize_session=False)
    ).all()
    if done:
        _changed(session)
    return len(done)


def _changed(session: Session) -> None:
    user = context(session).user
    assert user is not None
    emit(session, NotificationsChanged(owner_id=user))
