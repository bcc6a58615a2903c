"""Events: facts in the past tense that one service tells the others.

    class DealWon(Event):
        type = "deal_won"
        key_field = "opportunity_id"

        opportunity_id: UUID
        account_id: UUID | None

A contract only grows: a reader ignores fields that it does not know, and a field added later has a
default. A breaking change is a new type (`deal_won.v2`), sent beside the old one for one release.
"""

import datetime as dt
from typing import Any, ClassVar, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PrivateAttr

from liaison_sdk.money import AS_TOLD


class Envelope(BaseModel):
    """What travels around an event: who said it, when, about which record, in answer to what.

    `seq` is the order in which the source wrote its events; `key` is the record that the event is
    about. Events with the same key are handled in the order of `seq`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: UUID
    type: str
    version: int = 1
    source: str
    seq: int
    tenant: UUID
    actor: UUID | None = None
    occurred_at: dt.datetime
    key: str
    correlation_id: UUID
    causation_id: UUID | None = None
    traceparent: str | None = None
    data: dict[str, Any]


class Event(BaseModel):
    """A fact. Subclasses set `type`, and `key_field` to the field that names the record.

    `source` is the service that tells it; by default the module's last name, so that contracts in
    `liaison_sdk.contracts.sales` belong to sales.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: ClassVar[str]
    version: ClassVar[int] = 1
    source: ClassVar[str]
    key_field: ClassVar[str | None] = None

    _envelope: Envelope | None = PrivateAttr(default=None)

    @classmethod
    def __pydantic_init_subclass__(cls, **_options: Any) -> None:
        if "type" not in cls.__dict__:
            raise TypeError(f"{cls.__name__} must set `type`, the name that it travels under")
        if not hasattr(cls, "source"):
            cls.source = cls.__module__.rpartition(".")[2]
        if cls.key_field is not None and cls.key_field not in cls.model_fields:
            raise TypeError(f"{cls.__name__} has no field {cls.key_field!r} to be its key")

    @classmethod
    def read(cls, envelope: Envelope) -> Self:
        """The event that an envelope holds; `NewerVersion` when it was written by later code."""
        if envelope.version > cls.version:
            raise NewerVersion(envelope.type, envelope.version, cls.version)
        event = cls.model_validate(envelope.data, context=AS_TOLD)
        event._envelope = envelope
        return event

    @property
    def key(self) -> str | None:
        """The record that this event is about; events of one record are handled in order."""
        return None if self.key_field is None else str(getattr(self, self.key_field))

    @property
    def envelope(self) -> Envelope:
        """Who told this, when and why; only an event that has travelled has one."""
        if self._envelope is None:
            raise AttributeError(f"this {type(self).__name__} has not been sent yet")
        return self._envelope

    @property
    def occurred_at(self) -> dt.datetime:
        """When it happened, in UTC."""
        return self.envelope.occurred_at


class NewerVersion(Exception):
    """The event was written by a later release than the one that reads it."""

    def __init__(self, event_type: str, version: int, known: int) -> None:
        super().__init__(f"{event_type} is of version {version}; this release reads up to {known}")
