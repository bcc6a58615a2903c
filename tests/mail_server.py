"""A real mail server for tests: it takes mail, and refuses, dawdles or hangs up when told to."""

import asyncio
import email
import ssl
import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import default
from typing import Any, Literal, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from liaison_kit.run.process import free_port, wait_until

At = Literal["RCPT", "DATA"]
HANG_UP, TAKE_AND_HANG_UP, DAWDLE = "hang up", "take and hang up", "dawdle"


class MailServer:
    """Takes mail on this machine; `plan` tells what it says about the next mail to somebody."""

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, user: tuple[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self.mails: list[tuple[str, EmailMessage]] = []
        """What it has taken, in order: for whom, and what."""
        self.raw: list[bytes] = []
        self.peers: list[Any] = []
        """The other end of the connection that each of them came by."""
        self.dawdling = threading.Event()
        """Set while it has a mail whole and has not said so."""
        self.go_on = threading.Event()
        """What it waits for then."""
        self._plans: dict[tuple[At, str], deque[str]] = defaultdict(deque)
        self._user = user
        more: dict[str, Any] = {}
        if tls is not None:
            more |= {"tls_context": tls, "require_starttls": True}
        if user is not None:
            more |= {
                "authenticator": self._authenticate,
                "auth_required": True,
                "auth_require_tls": tls is not None,
            }
        self._controller = Controller(
            self, hostname="127.0.0.1", port=self.port, ready_timeout=20, **more
        )

    def __enter__(self) -> "MailServer":
        self._controller.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.go_on.set()
        self._controller.stop()

    @property
    def url(self) -> str:
        """Where it is, for who does not ask for TLS."""
        return f"smtp://127.0.0.1:{self.port}?tls=off"

    def plan(self, address: str, at: At, *answers: str) -> None:
        """What to say to the next mails to this address, one by one; then it takes them."""
        self._plans[at, address].extend(answers)

    def to(self, address: str) -> list[EmailMessage]:
        """The mails that it has taken for somebody."""
        return [mail for recipient, mail in self.mails if recipient == address]

    def wait_for(self, address: str, number: int = 1) -> EmailMessage:
        """The so manieth mail to somebody, once it has come."""
        assert wait_until(lambda: len(self.to(address)) >= number, seconds=30), (
            f"{len(self.to(address))} mails to {address}"
        )
        return self.to(address)[number - 1]

    # --- what aiosmtpd calls ----------------------------------------------------------------------

    def _authenticate(
        self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any
    ) -> AuthResult:
        given = (data.login.decode(), data.password.decode())
        return AuthResult(success=given == self._user, handled=False)

    async def handle_RCPT(  # noqa: N802
        self, server: Any, _session: Any, envelope: Any, address: str, _options: Sequence[str]
    ) -> str:
        said = self._next("RCPT", address)
        if said == HANG_UP:
            server.transport.abort()
            return "421 gone"
        if said is not None:
            return said
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        address = envelope.rcpt_tos[0]
        said = self._next("DATA", address)
        if said == HANG_UP:
            server.transport.abort()
            return "421 gone"
        if said not in (None, DAWDLE, TAKE_AND_HANG_UP):
            return str(said)
        self.raw.append(envelope.content)
        self.peers.append(session.peer)
        mail = cast(EmailMessage, email.message_from_bytes(envelope.content, policy=default))
        self.mails.append((address, mail))
        if said == TAKE_AND_HANG_UP:
            server.transport.abort()
        if said == DAWDLE:
            self.dawdling.set()
            while not self.go_on.is_set():
                await asyncio.sleep(0.02)
        return "250 taken"

    def _next(self, at: At, address: str) -> str | None:
        planned = self._plans[at, address]
        return planned.popleft() if planned else None


def text_of(mail: EmailMessage) -> str:
    """What a mail says to who reads plain text."""
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def link_in(mail: EmailMessage) -> str:
    """The link in a mail."""
    (found,) = [line for line in text_of(mail).splitlines() if line.startswith("http")]
    return found
