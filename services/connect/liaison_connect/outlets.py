"""Outlets: where messages leave the house, as the settings say.

An outlet calls `handing` in the last moment in which it is sure that nothing has been handed over:
what goes wrong before it can be tried again, and after it nobody knows (`OutcomeUnknown`).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from liaison_connect.composing import BadAddress, Mail, deliverable
from liaison_connect.smtp import BadServer, Smtp
from liaison_kit.settings import Settings


class NoOutlet(Exception):
    """Nothing can be sent here; the message says what to set."""


class Outlet(Protocol):
    """Hands a mail to whoever delivers it."""

    def hand_over(self, mail: Mail, handing: Callable[[], None]) -> str:
        """What was answered; raises `TryLater`, `Refused`, or `OutcomeUnknown`."""

    def rest(self) -> None:
        """There is nothing to send: let go of what nobody needs."""


class Folder:
    """Writes mail as files, for a developer to read; the same mail twice is one file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hand_over(self, mail: Mail, handing: Callable[[], None]) -> str:
        """Write the file, whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        handing()
        beside, file = (self._folder / f"{mail.id}{end}" for end in (".new", ".eml"))
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as sink:
            sink.write(mail.text)
        beside.replace(file)
        return f"written to {file.name}"

    def rest(self) -> None:
        """A folder is let go of at once."""


def outlet(settings: Settings) -> Outlet:
    """The way out that the settings name; `NoOutlet` when there is none."""
    url = settings.smtp_url.get_secret_value()
    if not url and settings.mail_folder is None:
        raise NoOutlet("mail is held: set LIAISON_SMTP_URL and LIAISON_MAIL_FROM")
    try:
        sender = deliverable(sender_address(settings))
    except BadAddress:
        raise NoOutlet("mail is held: set LIAISON_MAIL_FROM to an address") from None
    if not url:
        assert settings.mail_folder is not None
        return Folder(settings.mail_folder)
    try:
        return Smtp(url, known_as=sender.rpartition("@")[2])
    except BadServer as reason:
        raise NoOutlet(f"mail is held: {reason}") from None


def sender_address(settings: Settings) -> str:
    """The bare address that mail comes from."""
    from email.utils import parseaddr

    return parseaddr(mail_from(settings))[1]


def mail_from(settings: Settings) -> str:
    """Who mail comes from; what is only written to a folder needs nobody real."""
    written = not settings.smtp_url.get_secret_value()
    return settings.mail_from or ("Liaison <liaison@localhost.example>" if written else "")
