"""SMTP: one mail to one server, and what its answer means.

A mail counts as handed over from the moment its text is sent (RFC 5321, 4.5.3.2.6): a server that
goes silent then may have taken it. Until then nothing has happened, and whatever goes wrong is
tried again, but for what the server refuses for good (5xx). That we may not sign in, or that it
does not speak TLS, is no mail's fault: those are tried again, too, and told the operator.

To connect takes longer than to send: a connection is kept for the next mails, for so many and so
long. One that the server has given up meanwhile is found out before a mail is handed over, and
another one is opened, once.
"""

import contextlib
import ipaddress
import re
import smtplib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from liaison_connect.composing import Mail, one_line
from liaison_kit.telemetry import log

ANSWERS_WITHIN_S = 30.0
TAKES_WITHIN_S = 300.0
"""How long a server may take over a mail that it has whole."""
MAILS_PER_CONNECTION = 100
"""Servers have limits of their own; few are lower."""
IDLE_S = 20.0
"""How long a connection is kept that nobody uses: servers wait for a minute at least."""
_LONGEST_ANSWER = 500
_CLOSING = 421


class BadServer(Exception):
    """The address of the mail server can't be used; the message says why."""


class TryLater(Exception):
    """It was not sent, and may be later; the message is the answer."""


class Refused(Exception):
    """The server does not take it, now or later; the message is the answer."""


class OutcomeUnknown(Exception):
    """It was handed over, and nobody said what became of it."""


class _Gone(Exception):
    """The connection is no more, and nothing was handed over on it; the message is the answer."""


@dataclass(slots=True)
class _Kept:
    """A connection that is open."""

    server: smtplib.SMTP
    mails: int = 0
    used_at: float = 0.0

    def may_go_on(self) -> bool:
        """Whether another mail may go over it."""
        is_fresh = time.monotonic() - self.used_at < IDLE_S
        return is_fresh and self.mails < MAILS_PER_CONNECTION


class Smtp:
    """A mail server, by its URL."""

    def __init__(self, url: str, known_as: str) -> None:
        parts = urlsplit(url)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise BadServer("LIAISON_SMTP_URL begins with smtp:// or smtps:// and names a host")
        if strange := options.keys() - {"tls", "ca"}:
            raise BadServer(f"LIAISON_SMTP_URL has no option {', '.join(sorted(strange))}")
        self._at_once = parts.scheme == "smtps"
        self._plain = options.get("tls") == "off" and not self._at_once
        self._host = parts.hostname
        try:
            self._port = parts.port or (465 if self._at_once else 587)
        except ValueError:
            raise BadServer("LIAISON_SMTP_URL names no port") from None
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        if self._plain and self._user and not _is_here(self._host):
            raise BadServer("LIAISON_SMTP_URL would send a password without TLS")
        self._known_as = known_as
        self._kept: list[_Kept] = []
        """Connections that nobody uses now; each sender of the process takes one out."""
        try:
            self._tls = ssl.create_default_context(cafile=options.get("ca"))
        except OSError:
            raise BadServer(
                "LIAISON_SMTP_URL names a file of authorities that can't be read"
            ) from None

    def hand_over(self, mail: Mail, handing: Callable[[], None]) -> str:
        """What the server answered that has taken the mail."""
        while (line := self._idle()) is not None:
            try:
                return self._hand_over(line, mail, handing)
            except _Gone:
                # It had been kept for too long; whatever it is, another one tells.
                continue
        try:
            line = _Kept(self._open())
        except (OSError, smtplib.SMTPException) as error:
            log.warning("the mail server can't be used", error=_told(error))
            raise TryLater(_told(error)) from None
        try:
            return self._hand_over(line, mail, handing)
        except _Gone as error:
            raise TryLater(str(error)) from None

    def rest(self) -> None:
        """There is nothing to send: end what has not been used for a while."""
        self._kept, old = (
            [line for line in self._kept if line.may_go_on()],
            [line for line in self._kept if not line.may_go_on()],
        )
        for line in old:
            _quit(line.server)

    def _idle(self) -> _Kept | None:
        """A connection that is open still, as far as is known; those that are old end."""
        self.rest()
        return self._kept.pop() if self._kept else None

    def _hand_over(self, line: _Kept, mail: Mail, handing: Callable[[], None]) -> str:
        """Send it over this connection, which is kept where the server is ready for another."""
        server = line.server
        is_ready = False
        try:
            text = _prepared(server, mail)
            answer = _sent(server, text, handing)
            is_ready = True
            return answer
        except Refused:
            # The next mail begins anew.
            with contextlib.suppress(OSError, smtplib.SMTPException):
                is_ready = server.rset()[0] == 250
            raise
        finally:
            line.mails, line.used_at = line.mails + 1, time.monotonic()
            if not is_ready:
                server.close()
            elif line.may_go_on():
                self._kept.append(line)
            else:
                _quit(server)

    def _open(self) -> smtplib.SMTP:
        place = (self._host, self._port, self._known_as)
        if self._at_once:
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                *place, timeout=ANSWERS_WITHIN_S, context=self._tls
            )
        else:
            server = smtplib.SMTP(*place, timeout=ANSWERS_WITHIN_S)
        try:
            server.ehlo_or_helo_if_needed()
            if not (self._plain or self._at_once):
                server.starttls(context=self._tls)
                server.ehlo_or_helo_if_needed()
            if self._user:
                server.login(self._user, self._password)
        except BaseException:
            server.close()
            raise
        return server


def _prepared(server: smtplib.SMTP, mail: Mail) -> bytes:
    """The mail as it travels, once the server waits for it."""
    steps: tuple[tuple[Callable[[], tuple[int, bytes]], tuple[int, ...]], ...] = (
        (lambda: server.mail(mail.sender), (250,)),
        (lambda: server.rcpt(mail.recipient), (250, 251)),
        (lambda: server.docmd("DATA"), (354,)),
    )
    try:
        if server.sock is not None:
            server.sock.settimeout(ANSWERS_WITHIN_S)
        for step, wanted in steps:
            answer = step()
            if answer[0] == _CLOSING:
                raise _Gone(_answer(*answer))
            _demand(answer, *wanted)
    except (OSError, smtplib.SMTPException) as error:
        raise _Gone(_told(error)) from None
    return _stuffed(mail.text)


def _sent(server: smtplib.SMTP, text: bytes, handing: Callable[[], None]) -> str:
    """What the server answered that has the mail."""
    handing()
    try:
        server.send(text)
    except (OSError, smtplib.SMTPException) as error:
        # Its end did not leave: no server takes half a mail.
        raise TryLater(_told(error)) from None
    try:
        if server.sock is not None:
            server.sock.settimeout(TAKES_WITHIN_S)
        answer = server.getreply()
    except (OSError, smtplib.SMTPException) as error:
        raise OutcomeUnknown(_told(error)) from None
    return _demand(answer, 250)


def _quit(server: smtplib.SMTP) -> None:
    """End a connection as one does."""
    with contextlib.suppress(OSError, smtplib.SMTPException):
        server.quit()
    server.close()


def _demand(answer: tuple[int, bytes], *wanted: int) -> str:
    """What was answered, if it is what it should be."""
    code, said = answer
    told = _answer(code, said)
    if code in wanted:
        return told
    if 500 <= code < 600:
        raise Refused(told)
    raise TryLater(told)


def _answer(code: int, said: bytes) -> str:
    return f"{code} {one_line(said.decode('utf-8', 'replace'))}"[:_LONGEST_ANSWER]


def _told(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error
        return _answer(error.smtp_code, said if isinstance(said, bytes) else str(said).encode())
    return f"{type(error).__name__}: {one_line(str(error))}"[:_LONGEST_ANSWER]


def _stuffed(text: bytes) -> bytes:
    """As it travels: a line that begins with a dot gets a second one; a dot alone ends it."""
    lines = re.sub(rb"(?m)^\.", b"..", text)
    return lines + (b"" if lines.endswith(b"\r\n") else b"\r\n") + b".\r\n"


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
