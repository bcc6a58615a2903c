"""Events that tell of several records at once, as the field that holds them says."""

import typing

from pydantic import BaseModel

from liaison_sdk.events import Event


def records_told(event: type[Event]) -> tuple[str, type[BaseModel]]:
    """The field by which an event tells of several records, and their shape."""
    ((name, declared),) = (
        (name, declared)
        for name, declared in event.model_fields.items()
        if typing.get_origin(declared.annotation) is list
    )
    return name, typing.get_args(declared.annotation)[0]
