"""Notifications: a service tells users something, in the transaction of the change.

    GIVEN = NotificationKind(
        "task_given",
        Label(en="A task for you", fr="Une tâche pour vous"),
        subject=Label(en="{{ task }} is yours", fr="{{ task }} est à vous"),
        text=Label(en="{{ by }} gave it to you.", fr="{{ by }} vous l'a confiée."),
        fields=("task", "by"),
    )

    class Contacts(Service):
        notification_kinds = (GIVEN,)

    notify(session, GIVEN, [task.owner_id], {"task": task.name, "by": by}, about=about)

Identity keeps them, shows each to its person for as long as they may see the record, and mails
those that they want mailed (docs/decisions/notifications.md).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from liaison_kit import templates
from liaison_kit.events.outbox import emit
from liaison_kit.events.resend import batches
from liaison_kit.ids import uuid7
from liaison_kit.trust.keys import Keyring
from liaison_sdk.contracts.connect import About
from liaison_sdk.contracts.desk import Channel, Said, Translated, UsersNotified
from liaison_sdk.labels import Label

LONGEST_SUBJECT, LONGEST_TEXT = 300, 20_000


@dataclass(frozen=True, slots=True)
class NotificationKind:
    """A kind of thing that people are told: its texts, in Liquid, and the fields that these take.

    `channel` is how they hear of it who have not chosen otherwise.
    """

    name: str
    label: Label
    subject: Label
    text: Label
    fields: tuple[str, ...]
    channel: Channel = "app"

    def said(self, language: str, fields: Mapping[str, Any]) -> Said:
        """What it says in a language."""
        subject = templates.render(getattr(self.subject, language), "subject", fields)
        text = templates.render(getattr(self.text, language), "text", fields)
        # A line is a line: what is mailed under it must not write a header of its own.
        return Said(
            subject=_cut(" ".join(subject.split()), LONGEST_SUBJECT), text=_cut(text, LONGEST_TEXT)
        )


def check(service: str, kinds: Sequence[NotificationKind]) -> None:
    """Raise unless every kind can say what it has to, with the fields that it declares."""
    names = [kind.name for kind in kinds]
    if len(set(names)) < len(names):
        raise TypeError(f"{service} has two kinds of notification of one name: {names}")
    for kind in kinds:
        for label in (kind.subject, kind.text):
            for source in (label.en, label.fr):
                named = {path.partition(".")[0] for path in templates.names(source, kind.name)}
                if strangers := named - set(kind.fields):
                    raise TypeError(f"{service}.{kind.name} does not declare {sorted(strangers)}")


def notify(
    session: Session,
    kind: NotificationKind,
    users: Iterable[UUID],
    fields: Mapping[str, Any],
    *,
    about: About | None = None,
) -> None:
    """Tell these users, if this transaction commits; `about` is the record, and whose it is.

    Who may not see that record is not told.
    """
    keys: Keyring = session.info["keys"]
    said = Translated(en=kind.said("en", fields), fr=kind.said("fr", fields))
    for some in batches(list(dict.fromkeys(users))):
        event = UsersNotified(
            notice_id=uuid7(),
            kind=kind.name,
            user_ids=list(some),
            channel=kind.channel,
            about=about,
            said=said,
        )
        emit(session, event, source=keys.party)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
