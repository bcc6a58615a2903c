"""SMTP: one mail to one server, and what its answer means.

A mail counts as handed over from the moment its text is sent (RFC 5321, 4.5.3.2.6): a server that
goes silent then may have taken it. Until then nothing has happened, and whatever goes wrong is
tried again, but for what the server refuses for good (5xx). That we may not sign in, or that it
does not speak TLS, is no mail's fault: those are tried again, too, and told the operator.
"""

import contextlib
import ipaddress
import re
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, unquote, urlsplit

from liaison_connect.composing import Mail, one_line
from liaison_kit.telemetry import log

ANSWERS_WITHIN_S = 30.0
TAKES_WITHIN_S = 300.0
"""How long a server may take over a mail that it has whole."""
_LONGEST_ANSWER = 500


class BadServer(Exception):
    """The address of the mail server can't be used; the message says why."""


class TryLater(Exception):
    """It was not sent, and may be later; the message is the answer."""


class Refused(Exception):
    """The server does not take it, now or later; the message is the answer."""


class OutcomeUnknown(Exception):
    """It was handed over, and nobody said what became of it."""


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
        try:
            self._tls = ssl.create_default_context(cafile=options.get("ca"))
        except OSError:
            raise BadServer(
                "LIAISON_SMTP_URL names a file of authorities that can't be read"
            ) from None

    def hand_over(self, mail: Mail, handing: Callable[[], None]) -> str:
        """What the server answered that has taken the mail."""
        with self._connection() as server:
            try:
                _demand(server.mail(mail.sender), 250)
                _demand(server.rcpt(mail.recipient), 250, 251)
                _demand(server.docmd("DATA"), 354)
                text = _stuffed(mail.text)
            except (OSError, smtplib.SMTPException) as error:
                raise TryLater(_told(error)) from None
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

    @contextmanager
    def _connection(self) -> Iterator[smtplib.SMTP]:
        try:
            server = self._open()
        except (OSError, smtplib.SMTPException) as error:
            log.warning("the mail server can't be used", error=_told(error))
            raise TryLater(_told(error)) from None
        try:
            yield server
            with contextlib.suppress(OSError, smtplib.SMTPException):
                server.quit()
        finally:
            server.close()

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
