"""What modules agree to about each other's flows: operations that a step asks for, and the answer.

Each tells these in its own name: the source of an event is who asks, or who answers.
"""

from typing import Any, ClassVar, Literal
from uuid import UUID

from liaison_sdk.events import Event
from liaison_sdk.types import Closed, Paragraphs


class OperationAsked(Event):
    """A step of a flow wants a module to do something, once; `key` names the step of the run."""

    source: ClassVar[str] = "flows"
    type: ClassVar[str] = "operation_asked"
    key_field: ClassVar[str | None] = "key_of_step"

    key_of_step: UUID
    module: str
    operation: str
    arguments: dict[str, Any]


class OperationAnswered(Event):
    """A module has done what a step of a flow asked for, or says why not."""

    source: ClassVar[str] = "flows"
    type: ClassVar[str] = "operation_answered"
    key_field: ClassVar[str | None] = "key_of_step"

    key_of_step: UUID
    done: bool
    said: str


class NoteAsked(Closed):
    """A note to be written about a person or a company."""

    record: Literal["contacts", "companies"]
    id: UUID
    body: Paragraphs
