"""What comes over the wire and what goes back: calls, replies, and what operations answer with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NewType, TypeVar
from uuid import UUID

from liaison_kit.telemetry import trace_id
from liaison_sdk.errors import (
    LiaisonError,
    StaleVersion,
)

T = TypeVar("T")

EXCHANGE = "nameko-rpc"
MANIFESTS = "liaison.manifests"
DISCOVERY = "liaison.discovery"
ONLOOKERS = "liaison.onlookers"
"""Where gateways tell each other who looks at which record."""

WHOLE = b"whole"
"""What a gateway sends that wants to hear whole manifests; anything else asks for a word."""

HEADER = "liaison"
"""The AMQP header that carries everything about a call or a reply but its body."""

LONGEST_HEADER = 32_000
"""Characters; see `packed`."""

PROBE = "probe"
"""The type of a message that only asks whether its queue is there: it is returned when not."""

Version = NewType("Version", int)
"""The version that an update was made against, from `If-Match`."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came with the request; its parts are in the service's `file_parts`."""

    id: UUID
    name: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Raw(Generic[T]):
    """An answer that is JSON already, of the shape T; `version` becomes the ETag."""

    body: bytes
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """Long work that has been taken on: 202, and where to follow it."""

    job_id: UUID


@dataclass(frozen=True, slots=True)
class Download:
    """A file to hand out: its bytes, or the stored parts that the gateway fetches one by one."""

    name: str
    content_type: str
    body: bytes = b""
    stored: UUID | None = None
    parts: int = 0


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody who looks at a page or sends its form; nobody has signed in.

    `source` is the address that they come from.
    """

    language: str
    source: str
    form: Mapping[str, str]

    def field(self, name: str) -> str:
        """What was filled in, or nothing."""
        return self.form.get(name, "")


@dataclass(slots=True)
class Call:
    """One call as it came over the wire."""

    meta: Mapping[str, Any]
    body: bytes


@dataclass(slots=True)
class Reply:
    """What goes back over the wire."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    extra: dict[str, Any] = field(default_factory=dict)

    def meta(self) -> str:
        """The header that carries everything but the body."""
        return json.dumps(
            {
                "status": self.status,
                "headers": self.headers,
                "content_type": self.content_type,
                **self.extra,
            },
            separators=(",", ":"),
        )


def problem(error: LiaisonError, traceparent: str | None) -> Reply:
    """The error as an `application/problem+json` reply."""
    body = error.problem()
    found = trace_id(traceparent)
    if found:
        body["trace_id"] = found
    text = json.dumps(body)
    if isinstance(error, StaleVersion) and error.current is not None:
        text = text[:-1] + ', "current": ' + error.current.decode() + "}"
    return Reply(error.status, text.encode(), content_type="application/problem+json")


def packed(meta: str, body: bytes) -> tuple[str, bytes]:
    """Header and body as they travel.

    A header must fit into one frame of the broker's. What is longer goes at the head of the body,
    and the header says how many bytes of it that is.
    """
    if len(meta) <= LONGEST_HEADER:
        return meta, body
    head = meta.encode()
    return str(len(head)), head + body


def body_of(message: Any) -> bytes:
    """A message's body as it travelled; the driver makes text of some."""
    body = message.body
    return body if isinstance(body, bytes) else str(body).encode()


def unpacked(message: Any) -> tuple[dict[str, Any] | None, bytes]:
    """What a message says about its body, and the body; None when it says nothing readable."""
    body = body_of(message)
    try:
        head = message.headers[HEADER]
        if head.isdecimal():
            length = int(head)
            head, body = body[:length], body[length:]
        found = json.loads(head)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None, body
    return (found if isinstance(found, dict) else None), body
