"""What contacts asks the modules about the people and companies that they hold data of.

A module that holds such data says so (`PersonalDataHeld`); from then on every merge, erasure and
question of access waits for its answer, until an operator retires it.

What is asked is heard in the order in which it was asked, of all of an organisation: merges build
on each other, and an erasure on the merges before it. Hence the key.
"""

from typing import ClassVar, Literal
from uuid import UUID

from liaison_sdk.events import Event

HOLDERS = ("connect", "contacts", "identity", "sales")
"""The modules that may hold data of persons: whose answers contacts hears."""

Party = Literal["contacts", "companies"]


class RecordsMerged(Event):
    """One person or company was merged into another: what points at it points at that one now."""

    source: ClassVar[str] = "contacts"
    type: ClassVar[str] = "records_merged"
    key_field: ClassVar[str | None] = "tenant_id"

    tenant_id: UUID
    request_id: UUID
    record: Party
    from_id: UUID
    into_id: UUID


class RecordsUnmerged(Event):
    """A merge was undone: what it moved, and nobody has changed since, goes back."""

    source: ClassVar[str] = "contacts"
    type: ClassVar[str] = "records_unmerged"
    key_field: ClassVar[str | None] = "tenant_id"

    tenant_id: UUID
    request_id: UUID
    merge_id: UUID
    record: Party
    from_id: UUID
    into_id: UUID


class ErasureAsked(Event):
    """A person is to be erased; what else they are found by is sealed to each module."""

    source: ClassVar[str] = "contacts"
    type: ClassVar[str] = "erasure_asked"
    key_field: ClassVar[str | None] = "tenant_id"

    tenant_id: UUID
    request_id: UUID
    record: Party
    subject_id: UUID
    ids: list[UUID]
    sealed: dict[str, str]


class AccessAsked(Event):
    """A person asks what is held of them; what else they are found by is sealed to each module."""

    source: ClassVar[str] = "contacts"
    type: ClassVar[str] = "access_asked"
    key_field: ClassVar[str | None] = "tenant_id"

    tenant_id: UUID
    request_id: UUID
    record: Party
    subject_id: UUID
    ids: list[UUID]
    sealed: dict[str, str]


class PrivacyAnswered(Event):
    """A module has done its part: how many rows of which table, or what it holds, sealed.

    What is held may come in several parts.
    """

    type: ClassVar[str] = "privacy_answered"
    key_field: ClassVar[str | None] = "request_id"

    request_id: UUID
    module: str
    counts: dict[str, int]
    held: str | None = None
    part: int = 1
    parts: int = 1


class PersonalDataHeld(Event):
    """A module holds data of persons, and answers when they are merged or erased."""

    type: ClassVar[str] = "personal_data_held"

    module: str


class ModuleRetired(Event):
    """An operator has taken a module out: nobody waits for its answers any more."""

    source: ClassVar[str] = "contacts"
    type: ClassVar[str] = "module_retired"

    module: str
