"""On whose behalf a piece of work runs: the tenant, the person, their rights, the trace."""

import datetime as dt
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from liaison_kit.ids import uuid7
from liaison_sdk.errors import Forbidden, Unavailable

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

RowRule = Literal["own", "team", "all"]
TokenKind = Literal["session", "token"]
NOBODY = UUID(int=0)
"""The tenant of who has not been recognised yet: row-level security shows it nothing."""


class CallerLeft(Unavailable):
    """Whoever asked for this has stopped waiting for it."""

    title = "This came too late to be of use"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who is signed in: who they are and what their role allows.

    `rows` narrows a record type to the person's own rows or their team's; a type that is not
    named there is open whole. `peers` are the users of their team, themselves included. `token_id`
    and `kind` tell what they came with.
    """

    tenant: UUID
    user: UUID
    name: str
    permissions: frozenset[str]
    rows: Mapping[str, RowRule]
    peers: tuple[UUID, ...]
    locale: str = "en"
    token_id: UUID = NOBODY
    kind: TokenKind = "session"
    expires: float = math.inf
    """When identity's word for it ends, in seconds since 1970."""
    signed: str = ""
    """The principal as identity signed it, to be handed on as it is (`trust.principals`)."""

    def may(self, permission: str) -> bool:
        """Whether the role grants this permission; `*` grants every one."""
        return permission in self.permissions or "*" in self.permissions

    def demand(self, permission: str) -> None:
        """Raise `Forbidden`, naming the permission, unless the role grants it."""
        if not self.may(permission):
            raise Forbidden(f"Your role needs the permission {permission}")


@dataclass(slots=True)
class Context:
    """What a transaction knows about the request or event that it serves."""

    tenant: UUID
    principal: Principal | None = None
    correlation_id: UUID = field(default_factory=uuid7)
    causation_id: UUID | None = None
    traceparent: str | None = None
    deadline: float | None = None
    """Until when its caller waits, in seconds since 1970."""
    now: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    committing: bool = False
    """Set just before the commit: what fails from there on may have been kept."""

    def demand_time(self) -> None:
        """Raise `CallerLeft` when nobody waits for this any more."""
        if self.deadline is not None and self.deadline < time.time():
            raise CallerLeft()

    @property
    def user(self) -> UUID | None:
        """Who acts, or nobody when the system does."""
        return self.principal.user if self.principal else None


def context(session: "Session") -> Context:
    """On whose behalf this session works."""
    found: Context = session.info["context"]
    return found
