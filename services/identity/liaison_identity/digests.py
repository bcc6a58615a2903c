"""The mail of the day: what somebody wanted to hear of once a day, and has not read by then.

It is planned when there is something to say, by the clock of the organisation, and goes once: the
timer that sends it takes itself away in the same transaction.
"""

import datetime as dt
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from liaison_identity import listeners, metrics
from liaison_identity.models import Notification, NotificationChoice, Tenant
from liaison_kit.context import context
from liaison_kit.ids import uuid7
from liaison_kit.messages import send_message
from liaison_kit.templates import render
from liaison_kit.tenants import tenant_settings
from liaison_kit.timers import Daily, Timer, at
from liaison_sdk.contracts.connect import Content, MessageIntent
from liaison_sdk.labels import Label

AT = dt.time(8)
"""When it goes, unless its person says otherwise."""
MOST_SHOWN = 50
"""Notifications that one mail tells; of more it tells how many."""
MOST_TEXT = 300
PURPOSE = "digest"

_WORDS = {
    "subject": Label(en="Today at", fr="Aujourd'hui chez"),
    "hello": Label(en="Hello", fr="Bonjour"),
    "told": Label(en="This is what you have not read yet:", fr="Voici ce que vous n'avez pas lu :"),
    "more": Label(en="and more, which you find in Liaison:", fr="et d'autres, dans Liaison :"),
}


class DigestDue(Timer):
    """Somebody's mail of the day is to go."""

    kind = "digest_due"

    user_id: UUID


def plan(session: Session, users: Sequence[UUID]) -> None:
    """There is something to say to these users in their next mail of the day."""
    if not users:
        return
    for row in locked(session, users):
        # Who has one coming keeps it: to set it again would take it from whoever is sending it.
        if row.digest_due_at is None:
            _set(session, row)
    session.flush()


def move(session: Session, row: NotificationChoice) -> None:
    """Somebody wants it at another time; their choices are locked."""
    if row.digest_due_at is not None:
        _set(session, row)


def send(session: Session, user: UUID) -> None:
    """Mail somebody what they have not read, and may see by now; if it is nothing, nothing."""
    mine = select(NotificationChoice).where(NotificationChoice.user_id == user)
    row = session.scalar(mine.with_for_update())
    if row is None:
        # They were removed, and all that they were told with them.
        return
    there = listeners.of(session, [user])
    waiting = [
        Notification.user_id == user,
        Notification.channel == "digest",
        Notification.digested_at.is_(None),
        Notification.read_at.is_(None),
    ]
    found = session.scalars(
        select(Notification)
        .where(*waiting, Notification.gone.is_(False))
        .order_by(Notification.updated_at.desc(), Notification.id.desc())
        .limit(10 * MOST_SHOWN)
    ).all()
    told = [one for one in found if there and there[0].sees(one.record, one.owner_id)]
    session.execute(
        update(Notification)
        .where(*waiting)
        .values(digested_at=context(session).now)
        .execution_options(synchronize_session=False)
    )
    row.digest_due_at = None
    metrics.digest(session, "sent" if told else "empty")
    if not told or there[0].email is None:
        return
    send_message(
        session,
        MessageIntent(
            id=uuid7(),
            to=there[0].recipient,
            purpose=PURPOSE,
            content=_content(session, there[0], told),
            # It tells of many records, so that nobody else's rights are the right ones to read it.
            secret=True,
        ),
    )


def locked(session: Session, users: Sequence[UUID]) -> list[NotificationChoice]:
    """The choices of these users, made where there are none, locked in an order that all share."""
    tenant, ordered = context(session).tenant, sorted(users)
    rows = [
        {"user_id": user, "tenant_id": tenant, "digest_at": AT, "channels": {}} for user in ordered
    ]
    session.execute(insert(NotificationChoice).values(rows).on_conflict_do_nothing())
    found = (
        select(NotificationChoice)
        .where(NotificationChoice.user_id.in_(ordered))
        .order_by(NotificationChoice.user_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return list(session.scalars(found))


def _set(session: Session, row: NotificationChoice) -> None:
    there = tenant_settings(session).zone
    row.digest_due_at = Daily(at=row.digest_at).first(context(session).now, there)
    at(session, row.digest_due_at, DigestDue(user_id=row.user_id), key=str(row.user_id))


def _content(session: Session, to: listeners.Listener, told: Sequence[Notification]) -> Content:
    organisation = session.scalar(select(Tenant.name)) or ""
    fields: dict[str, Any] = {name: getattr(said, to.locale) for name, said in _WORDS.items()}
    fields |= {
        "name": " ".join(to.principal.name.split()),
        "items": [
            {"subject": one.subject, "text": one.text[:MOST_TEXT], "times": one.times}
            for one in told[:MOST_SHOWN]
        ],
        "left": max(0, len(told) - MOST_SHOWN),
    }
    line = f"{fields['subject']} {' '.join(organisation.split())} ({len(told)})"
    return Content(subject=line, text=render(_source(), "mail.digest.txt", fields))


@cache
def _source() -> str:
    return files("liaison_identity").joinpath("mail", "digest.txt").read_text()
