"""Composing mail: one message as it is handed to a mail server.

Nothing that came from a person ends a line of the head, so that nobody adds a header of their own.
"""

import datetime as dt
import re
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from uuid import UUID

from email_validator import EmailNotValidError, validate_email

# Seven bits: whatever server it meets on its way can hand it on.
_POLICY = SMTP.clone(cte_type="7bit")
_NO_LINE = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_LONGEST_NAME = 200


class BadAddress(Exception):
    """No mail can be sent there; the message says why."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What a mail says, and to whom."""

    id: UUID
    to_address: str
    to_name: str | None
    language: str
    subject: str
    text: str
    html: str | None
    automatic: bool
    """Whether a machine wrote it because of what somebody did, so that no machine answers."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it is handed over: for whom the server asks, and the text."""

    id: UUID
    sender: str
    recipient: str
    text: bytes


def compose(letter: Letter, mail_from: str, now: dt.datetime) -> Mail:
    """The mail of a letter; of one letter it has the same Message-ID whenever it is made."""
    name, address = parseaddr(mail_from)
    sender, recipient = deliverable(address), deliverable(letter.to_address)
    message = EmailMessage(policy=_POLICY)
    message["From"] = _person(name, sender)
    message["To"] = _person(letter.to_name, recipient)
    message["Subject"] = one_line(letter.subject)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{letter.id}@{sender.rpartition('@')[2]}>"
    if letter.automatic:
        message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    if letter.html is not None:
        message.add_alternative(letter.html, subtype="html")
    # Last: what is of the content would go along with it into the first part.
    message["Content-Language"] = letter.language
    return Mail(letter.id, sender, recipient, message.as_bytes())


def deliverable(address: str) -> str:
    """The address as mail servers know it, in ASCII; `BadAddress` when there is none."""
    try:
        found = validate_email(address, check_deliverability=False)
    except EmailNotValidError as error:
        raise BadAddress(str(error)) from None
    if found.ascii_email is None:
        # Its part before the @ is not ASCII: few servers take that, and none says so beforehand.
        raise BadAddress("Addresses with other letters than ASCII before the @ are not supported")
    return found.ascii_email


def one_line(text: str) -> str:
    """The text on one line."""
    return " ".join(_NO_LINE.sub(" ", text).split())


def _person(name: str | None, address: str) -> Address:
    return Address(display_name=one_line(name or "")[:_LONGEST_NAME], addr_spec=address)
