"""Connect at work in a tenant: messages are handed in as events, and sent one by one."""

import datetime as dt
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_connect import ledger, smtp
from liaison_connect.composing import Mail
from liaison_connect.outlets import Outlet
from liaison_connect.sending import Sender
from liaison_connect.service import Connect
from liaison_connect.smtp import Smtp
from liaison_kit.calls.wire import Reply
from liaison_kit.context import Context, Principal
from liaison_kit.database.database import Database
from liaison_kit.events.outbox import pending
from liaison_kit.messages import send_message
from liaison_kit.testing import at_work, call, keyring, told
from liaison_sdk.contracts.connect import Content, MessageIntended, MessageIntent, Recipient

FROM = "Helios <no-reply@helios.example>"
HELLO = Content(subject="Hello", text="Hello Ada.\n", html="<p>Hello Ada.</p>")


class Pretend:
    """A way out that does what a test says: takes a mail, or raises before or after it has it."""

    def __init__(self) -> None:
        self.taken: list[Mail] = []
        self.before: Exception | None = None
        self.after: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    def hand_over(self, mail: Mail, handing: Callable[[], None]) -> str:
        """Take the mail, as planned."""
        if self.before is not None:
            raise self.before
        handing()
        self.taken.append(mail)
        self.meanwhile()
        if self.after is not None:
            raise self.after
        return "250 taken"

    def rest(self) -> None:
        """It has nothing to let go of."""


@contextmanager
def a_way(url: str) -> Iterator[Smtp]:
    """The way to a mail server, whose connections end with the test."""
    way = Smtp(url, known_as="helios.example")
    yield way
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smtp, "IDLE_S", 0.0)
        way.rest()


class Desk:
    """Somebody at work in a tenant, and the senders of the service."""

    def __init__(self, db: Database, who: Principal) -> None:
        self.db = db
        self.who = who
        self.service = at_work(Connect, db)

    @property
    def system(self) -> Context:
        """What is done in the tenant without anybody's asking."""
        return Context(tenant=self.who.tenant)

    def call(
        self,
        operation: str,
        body: Any = None,
        *,
        who: Principal | None = None,
        version: int | None = None,
        **path: Any,
    ) -> Reply:
        """The reply of an operation."""
        sent = b"" if body is None else json.dumps(body).encode()
        meta = {"path": {name: str(value) for name, value in path.items()}, "if_match": version}
        return call(self.service, operation, who or self.who, sent, **meta)

    def see(self, operation: str, **given: Any) -> Any:
        """What an operation answers, which must work."""
        reply = self.call(operation, **given)
        assert reply.status in (200, 201), reply.body
        return json.loads(reply.body)

    def hand_in(self, intent: MessageIntent, sender: str = "identity") -> None:
        """Have connect hear of an intent."""
        event = intended(intent, sender)
        with self.db.writing(self.system) as session:
            ledger.accept(session, keyring("connect"), sender, event)

    def sender(self, way: Outlet | None) -> Sender:
        """A sender with this way out."""
        return Sender(self.db, keyring("connect"), way, FROM)

    def send_all(self, way: Outlet | None) -> None:
        """Send whatever is due."""
        sender = self.sender(way)
        while sender.send_next():
            pass

    def messages(self) -> list[dict[str, Any]]:
        """The ledger, oldest first."""
        listed = self.see("list_messages")["items"]
        return sorted(listed, key=lambda message: str(message["id"]))

    def message(self) -> dict[str, Any]:
        """The only message."""
        (found,) = self.messages()
        return found

    def told(self) -> list[tuple[str, str | None]]:
        """What has been told: the kind of event, and its reason."""
        return [(kind, data.get("reason")) for kind, data in told(self.db, self.who.tenant)]

    def let_pass(self, seconds: float) -> None:
        """Let time pass for every message: nothing else moves its clock."""
        with self.db.writing(self.system) as session:
            session.execute(
                text(
                    "UPDATE messages SET wake_at = wake_at - make_interval(secs => :seconds),"
                    " expires_at = expires_at - make_interval(secs => :seconds)"
                ),
                {"seconds": seconds},
            )

    def forget(self) -> None:
        """Empty the ledger."""
        with self.db.writing(self.system) as session:
            session.execute(text("DELETE FROM messages"))

    def kept(self) -> str:
        """All that the ledger's rows hold, as a thief of the database reads it."""
        with self.db.writing(self.system) as session:
            rows = session.execute(text("SELECT to_jsonb(m)::text FROM messages m")).scalars()
            return "\n".join(rows)


def intent(address: str | None = "ada@example.com", **more: Any) -> MessageIntent:
    """A message to somebody."""
    values: dict[str, Any] = {"purpose": "newsletter", "content": HELLO, "id": uuid4()} | more
    to = values.pop("to", None) or Recipient(address=address, name="Ada")
    return MessageIntent(to=to, **values)


def intended(intent: MessageIntent, sender: str = "identity") -> MessageIntended:
    """The event that an intent travels as, as connect reads it."""
    session = Session()
    session.info |= {"context": Context(tenant=UUID(int=1)), "keys": keyring(sender)}
    keyring("connect")
    send_message(session, intent)
    (row,) = pending(session)
    session.rollback()
    said = json.loads(row.body)
    assert said["source"] == sender
    return MessageIntended.model_validate(said["data"])


def soon(seconds: float) -> dt.datetime:
    """A moment to come, or that has been."""
    return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
