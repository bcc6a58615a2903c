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

HEADER = "liaison"
"""The AMQP header that carries everything about a call or a reply but its body."""

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


def meta_of(message: Any) -> dict[str, Any] | None:
    try:
        found = json.loads(message.headers[HEADER])
    except (KeyError, TypeError, ValueError):
        return None
    return found if isinstance(found, dict) else None
