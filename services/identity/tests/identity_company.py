"""A company for identity's tests, and a way to call the service as somebody."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID

from liaison_identity.service import Identity
from liaison_identity.tokens import hash_of
from liaison_kit.context import Context, Principal
from liaison_kit.database.database import Database
from liaison_kit.testing import at_work, keyring
from liaison_kit.testing import call as call_operation
from liaison_kit.trust.principals import Principals

PASSWORD = "correct horse battery"


@dataclass
class Answer:
    """A reply, decoded."""

    status: int
    body: Any
    headers: dict[str, str]


@dataclass
class Company:
    """A tenant, and how its people call the service."""

    db: Database
    id: UUID
    slug: str
    email: str
    source: str = field(default_factory=lambda: new_source())
    """Where its people are: guesses elsewhere are none of theirs."""

    def sign_in(
        self, email: str = "", password: str = PASSWORD, source: str = "", **more: Any
    ) -> Answer:
        """Sign in, from where the company is unless said otherwise."""
        body = {"email": email or self.email, "password": password, **more}
        return call("sign_in", body=body, source=source or self.source)

    def token(self, email: str = "", password: str = PASSWORD) -> str:
        """A session's token."""
        answer = self.sign_in(email, password)
        assert answer.status == 200, answer.body
        return str(answer.body["token"])

    def principal(self, token: str = "") -> dict[str, Any]:
        """What the gateway would send along for a token; the administrator's by default."""
        answer = authenticate(token or self.token())
        assert answer.status == 200, answer.body
        signed = answer.body["principal"]
        found = Principals(keyring("gateway")).read(signed)
        return {
            "signed": signed,
            "tenant": str(found.tenant),
            "user": str(found.user),
            "name": found.name,
            "permissions": sorted(found.permissions),
            "rows": dict(found.rows),
            "peers": [str(peer) for peer in found.peers],
            "locale": found.locale,
            "token_id": str(found.token_id),
            "kind": found.kind,
            "expires_at": answer.body["expires_at"],
        }

    def about(self, who: dict[str, Any] | None = None) -> Context:
        """The context of a request; the system's own without a principal."""
        return Context(tenant=self.id, principal=None if who is None else read(who))


def read(who: dict[str, Any]) -> Principal:
    """Who it is, as services read it."""
    return Principals(keyring("contacts")).read(who["signed"])


@dataclass
class Guesses:
    """What has been guessed; the service itself may not touch it, so the server's owner does."""

    connection: Any

    def let_pass(self, seconds: float) -> None:
        """Let time pass for every guess: nothing else moves its clock."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                "UPDATE guesses SET forgotten_at = forgotten_at - %s * interval '1 second'",
                (seconds,),
            )

    def left(self) -> int:
        """How many things somebody has guessed about lately."""
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM guesses")
            return int(cursor.fetchone()[0])


_numbers = count(1)


def new_source() -> str:
    """An address that nobody has come from."""
    number = next(_numbers)
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def call(
    operation: str,
    who: dict[str, Any] | None = None,
    *,
    body: Any = None,
    path: dict[str, Any] | None = None,
    query: dict[str, Any] | None = None,
    version: int | None = None,
    key: str | None = None,
    source: str = "",
    announced: Sequence[str] = (),
    kinds: Sequence[str] = (),
) -> Answer:
    """Call an operation as the wire does."""
    meta = {
        "path": {name: str(value) for name, value in (path or {}).items()},
        "query": [[name, str(value)] for name, value in (query or {}).items()],
        "if_match": version,
        "idempotency_key": key,
        "source": source,
        "permissions": list(announced),
        "notification_kinds": list(kinds),
    }
    sent = b"" if body is None else json.dumps(body).encode()
    signed = None if who is None else who["signed"]
    reply = call_operation(at_work(Identity, Identity.db), operation, signed, sent, **meta)
    return Answer(reply.status, json.loads(reply.body) if reply.body else None, reply.headers)


def authenticate(token: str) -> Answer:
    """What identity says of a token to the gateway."""
    return call("authenticate", body={"token_hash": hash_of(token).hex()})


def role_id(who: dict[str, Any], key: str) -> str:
    """The id of one of the standard roles."""
    found = call("list_roles", who, query={"external_id": key}).body["items"]
    return str(found[0]["id"])
