"""The frame of a definition: its shape, its limits, and how faults are named.

YAML and JSON are the same thing here. What is inside a step, each kind of step says for itself.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, ValidationError

from liaison_sdk.types import Closed, Code, Name

END: Final = "end"
"""Where a way leads that ends the run."""

MOST_STEPS: Final = 500
LONGEST: Final = 200_000
"""Characters of a definition, as JSON or as YAML."""

Again = Literal["never", "after_done", "always"]
Target = Annotated[str, Field(description="A step, or `end`.", min_length=1, max_length=63)]
Next = Target | dict[Code, Target]
Tree = dict[str, Any]
"""A condition, as `liaison_kit.conditions` reads it."""


class Exit(Closed):
    """What ends a run before its next step, and what has become of it then."""

    when: Tree
    outcome: Code = "left"


class Goal(Closed):
    """An event about the record that ends the run: what it was for has happened."""

    event: Code


class Frame(Closed):
    """A flow: what starts it, what ends it, and its steps, of which the first one comes first.

    `again` says whether a record may have a second run: never, after the one before has ended, or
    always, also beside it.
    """

    key: Code
    record: Code
    name: Name | None = None
    start: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=20)]
    again: Again = "after_done"
    exit: Annotated[list[Exit], Field(max_length=20)] = []
    goal: Goal | None = None
    steps: Annotated[dict[Code, dict[str, Any]], Field(min_length=1)]


class Fault(BaseModel):
    """What keeps a flow from running: at which step, if it is one's, where in it, what to do."""

    step: str | None = None
    path: str
    code: str
    message: str


def faults_of(error: ValidationError, path: str, step: str | None = None) -> Iterable[Fault]:
    """What is wrong with the shape of something that stands at a path."""
    for wrong in error.errors(include_url=False, include_input=False):
        parts = [str(part) for part in wrong["loc"]]
        at = ".".join(filter(None, (path, *parts)))
        if step is None and len(parts) > 1 and parts[0] == "steps":
            yield Fault(step=parts[1], path=at, code=wrong["type"], message=wrong["msg"])
        else:
            yield Fault(step=step, path=at, code=wrong["type"], message=wrong["msg"])
