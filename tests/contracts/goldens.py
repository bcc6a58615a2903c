"""Golden contracts: an example of each event as some release has sent it, kept for ever.

Files are `tests/goldens/<service>/<type>.v<version>.json`, each a whole envelope.
"""

import datetime as dt
import importlib
import json
import pkgutil
import types
import typing
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid5

from pydantic import BaseModel

import liaison_sdk.contracts
from liaison_sdk.events import Envelope, Event

FOLDER = Path(__file__).parent.parent / "goldens"
_SPACE = UUID("0199f0a0-0000-7000-8000-000000000000")
_WHEN = dt.datetime(2026, 1, 31, 23, 59, 59, 123456, dt.UTC)


def event_classes() -> dict[tuple[str, str], type[Event]]:
    """Every event contract, by service and type."""
    for module in pkgutil.iter_modules(liaison_sdk.contracts.__path__):
        importlib.import_module(f"liaison_sdk.contracts.{module.name}")
    return {
        (found.source, found.type): found
        for found in _below(Event)
        if found.__module__.startswith("liaison_sdk.contracts.")
    }


def _below(parent: type[Event]) -> list[type[Event]]:
    found = []
    for child in parent.__subclasses__():
        found += [child, *_below(child)]
    return found


def files() -> list[Path]:
    """Every golden that is kept."""
    return sorted(FOLDER.glob("*/*.json"))


def file_of(event: type[Event]) -> Path:
    """Where the golden of a contract's present version is."""
    return FOLDER / event.source / f"{event.type}.v{event.version}.json"


def example(event: type[Event]) -> str:
    """An envelope with every field of the contract filled in."""
    data = event.model_validate({n: _value(n, f.annotation) for n, f in _fields(event)})
    envelope = Envelope(
        id=_id("event"),
        type=event.type,
        version=event.version,
        source=event.source,
        seq=17,
        tenant=_id("tenant"),
        actor=_id("actor"),
        occurred_at=_WHEN,
        key=data.key or str(_id("event")),
        correlation_id=_id("correlation"),
        causation_id=_id("causation"),
        traceparent="00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
        data=data.model_dump(mode="json"),
    )
    written = json.loads(envelope.model_dump_json())
    return json.dumps(written, indent=2, ensure_ascii=False) + "\n"


def _fields(model: type[BaseModel]) -> list[tuple[str, Any]]:
    return list(model.model_fields.items())


def _value(name: str, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _value(name, typing.get_args(hint)[0])
    if origin is Literal:
        return typing.get_args(hint)[0]
    if origin in (typing.Union, types.UnionType):
        return _value(name, next(a for a in typing.get_args(hint) if a is not type(None)))
    if origin is list:
        return [_value(name, typing.get_args(hint)[0])]
    if origin is dict:
        kind = typing.get_args(hint)[1]
        return {name: f"Ünïcode {name}" if kind is Any else _value(name, kind)}
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return {n: _value(n, f.annotation) for n, f in _fields(hint)}
    simple: dict[Any, Any] = {
        UUID: _id(name),
        str: f"Ünïcode {name}",
        int: 3,
        bool: True,
        Decimal: Decimal("1234.50"),
        dt.date: _WHEN.date(),
        dt.datetime: _WHEN,
    }
    if name == "currency":
        return "EUR"
    return simple[hint]


def _id(name: str) -> UUID:
    return uuid5(_SPACE, name)
