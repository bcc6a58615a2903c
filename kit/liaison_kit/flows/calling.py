"""Calls: a step has another module do something, and goes on when that has answered.

The question and the answer are events: both are sent with the step, or with what was asked for, and
handled once. Nothing waits in a transaction, and a module that is away is waited for.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.orm import Session

from liaison_kit import templates
from liaison_kit.events import emit
from liaison_kit.flows.kinds import Did, FlowRecord, Heard, Here, Kind, Waits, Went
from liaison_kit.flows.reading import Checking
from liaison_sdk.contracts.flows import OperationAnswered, OperationAsked
from liaison_sdk.errors import LiaisonError
from liaison_sdk.types import Closed, Code

DONE, REFUSED = "call_done", "call_refused"
ANSWERED_WITHIN = dt.timedelta(days=7)
"""A call that nobody answers by then counts as refused."""

Plain = str | int | bool | None


@dataclass(frozen=True)
class Offer:
    """An operation that a module does for others' flows: what it takes, and who may let it run."""

    takes: type[BaseModel]
    needs: tuple[str, ...]


Calls = Mapping[str, Mapping[str, Offer]]
"""By module and operation."""


class CallSettings(Closed):
    """What to have done: values, and texts with fields of the record."""

    module: Code
    operation: Code
    given: Annotated[dict[Code, Plain], Field(alias="with", max_length=50)] = {}


class Call(Kind):
    """Another module does something."""

    name = "call"
    settings = CallSettings

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def ways(self, settings: CallSettings) -> Sequence[str]:
        """It has, or it has not."""
        return ("done", "refused")

    def needs(self, about: FlowRecord, settings: CallSettings) -> Sequence[str]:
        """What the operation needs there."""
        return self._calls[settings.module][settings.operation].needs

    def check(self, at: Checking, settings: CallSettings) -> None:
        """There is such an operation, and it is given what it takes."""
        called = self._calls.get(settings.module, {}).get(settings.operation)
        if called is None:
            known = (f"{m}.{name}" for m, those in self._calls.items() for name in those)
            said = f"{settings.module}.{settings.operation} can't be called; there are"
            at.wrong("operation", "unknown_operation", f"{said} {', '.join(known)}")
            return
        fields = called.takes.model_fields
        for name in settings.given.keys() - fields.keys():
            at.wrong(f"with.{name}", "unknown_field", f"It takes {', '.join(fields)}")
        for name, declared in fields.items():
            value = settings.given.get(name)
            if name not in settings.given and declared.is_required():
                at.wrong(f"with.{name}", "missing", "Say what it is: a value, or a text")
            elif isinstance(value, str) and "{" in value:
                at.template(f"with.{name}", value)

    def do(self, here: Here, settings: CallSettings) -> Did:
        """Ask for it, and wait for the answer."""
        given = {
            name: templates.render(value, name, here.fields())
            if isinstance(value, str) and "{" in value
            else value
            for name, value in settings.given.items()
        }
        try:
            takes = self._calls[settings.module][settings.operation].takes
            arguments = takes.model_validate(given).model_dump(mode="json", exclude_unset=True)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_input=False)[0]
            return Went("refused", f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"[:500])
        asked = OperationAsked(
            key_of_step=here.key,
            module=settings.module,
            operation=settings.operation,
            arguments=arguments,
        )
        emit(here.session, asked, source=here.flows.service)
        key = str(here.key)
        return Waits(here.now + ANSWERED_WITHIN, [(DONE, key), (REFUSED, key)], here.begun_at)

    def woken(self, here: Here, settings: CallSettings, happened: str | None) -> Went:
        """What was answered."""
        return Went("done" if happened == DONE else "refused")


def answers(module: str) -> tuple[Heard, Heard]:
    """What a service hears of what it asked a module for."""
    return (
        Heard(DONE, OperationAnswered, _keys(done=True), source=module),
        Heard(REFUSED, OperationAnswered, _keys(done=False), source=module),
    )


def _keys(*, done: bool) -> Callable[[OperationAnswered], list[UUID]]:
    return lambda event: [event.key_of_step] if event.done == done else []


Act = Callable[[Session, Any], Any]


def answer(
    session: Session, module: str, event: OperationAsked, offered: Mapping[str, tuple[Any, Act]]
) -> None:
    """Do what another module's flow asks for, and tell; what can't be done is answered, too."""
    if event.module != module:
        return
    said = ""
    try:
        with session.begin_nested():
            takes, act = offered[event.operation]
            act(session, takes.model_validate(event.arguments))
            session.flush()
    except LiaisonError as error:
        said = error.detail or error.title
    except KeyError:
        said = f"{module} has no operation {event.operation}"
    except ValidationError:
        said = f"{module} takes something else for {event.operation}"
    answered = OperationAnswered(key_of_step=event.key_of_step, done=not said, said=said[:500])
    emit(session, answered, source=module)
