"""How people hear of what: by kind of notification, and when their mail of the day goes."""

import datetime as dt
from collections.abc import Sequence
from difflib import get_close_matches
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from liaison_identity import digests
from liaison_identity.models import NotificationChoice
from liaison_kit.context import context
from liaison_sdk.contracts.desk import Channel, NotificationChoiceChanges, NotificationChoices
from liaison_sdk.errors import FieldError, InvalidInput


class UnknownKind(InvalidInput):
    """A kind of notification that no module has: mostly a slip of the pen."""

    code, title = "unknown_kind", "There is no such kind of notification"


def of_kind(
    session: Session, users: Sequence[UUID], kind: str, default: Channel
) -> dict[UUID, Channel]:
    """How each of these users hears of a kind."""
    rows = session.execute(
        select(NotificationChoice.user_id, NotificationChoice.channels[kind].astext).where(
            NotificationChoice.user_id.in_(users)
        )
    )
    chosen = {user: channel for user, channel in rows if channel is not None}
    return {user: chosen.get(user, default) for user in users}


def mine(session: Session) -> NotificationChoices:
    """What the caller has chosen."""
    found = session.get(NotificationChoice, context(session).user)
    if found is None:
        return NotificationChoices(digest_at=f"{digests.AT:%H:%M}", channels={})
    return NotificationChoices(digest_at=f"{found.digest_at:%H:%M}", channels=found.channels)


def change(
    session: Session, changes: NotificationChoiceChanges, announced: Sequence[str]
) -> NotificationChoices:
    """Set what is sent; `announced` are the kinds of the modules that run."""
    user = context(session).user
    assert user is not None
    (row,) = digests.locked(session, [user])
    sent = changes.model_fields_set
    if "digest_at" in sent:
        row.digest_at = dt.time.fromisoformat(changes.digest_at)
        digests.move(session, row)
    if "channels" in sent:
        # What was chosen already may be of a module that has left.
        _check(changes.channels.keys() - row.channels.keys(), announced)
        chosen = {**row.channels, **changes.channels}
        row.channels = {kind: channel for kind, channel in chosen.items() if channel is not None}
    session.flush()
    return mine(session)


def _check(kinds: set[str], announced: Sequence[str]) -> None:
    errors = []
    for kind in sorted(kinds - set(announced)):
        near = get_close_matches(kind, announced, n=1, cutoff=0.0)
        said = f"There is no kind of notification {kind}"
        said += f"; the nearest is {near[0]}" if near else ""
        errors.append(FieldError(f"channels.{kind}", "unknown_kind", said))
    if errors:
        raise UnknownKind(errors[0].message, errors)
