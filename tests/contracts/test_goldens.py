"""Contracts only grow: what any release has sent is read, and said, by today's code."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session
from tests.contracts.goldens import event_classes, file_of, files

from liaison_kit.events.outbox import emit, pending
from liaison_kit.testing import about
from liaison_sdk.events import Envelope, Event

CLASSES = event_classes()


def _named(file: Path) -> str:
    return f"{file.parent.name}/{file.stem}"


@pytest.mark.parametrize("event", CLASSES.values(), ids=lambda e: f"{e.source}/{e.type}")
def test_every_contract_has_a_golden(event: type[Event]) -> None:
    assert file_of(event).exists(), "run: python -m tests.contracts.write"


@pytest.mark.parametrize("file", files(), ids=_named)
def test_a_golden_is_read_by_todays_code_and_nothing_of_it_is_lost(file: Path) -> None:
    envelope = Envelope.model_validate_json(file.read_bytes())

    event = _contract(file).read(envelope)

    assert _missing(envelope.data, event.model_dump(mode="json")) == []
    assert event.key is None or event.key == envelope.key
    assert event.occurred_at == envelope.occurred_at


@pytest.mark.parametrize("file", files(), ids=_named)
def test_todays_message_still_says_all_that_a_golden_says(file: Path) -> None:
    golden = json.loads(file.read_bytes())
    event = _contract(file).read(Envelope.model_validate(golden))
    session = Session()
    session.info["context"] = about()

    emit(session, event)
    message = json.loads(pending(session)[0].body)
    session.rollback()

    # The number is given as the message is sent, after the order of the commits.
    assert set(golden) - set(message) <= {"seq"}
    assert _missing(golden["data"], message["data"]) == []
    assert {name: message[name] for name in ("type", "source")} == {
        name: golden[name] for name in ("type", "source")
    }


def test_a_release_reads_events_with_fields_that_it_does_not_know() -> None:
    for file in files():
        golden = json.loads(file.read_bytes())
        golden["of_a_later_release"] = golden["data"]["of_a_later_release"] = {"any": "thing"}

        _contract(file).read(Envelope.model_validate(golden))


def _contract(file: Path) -> type[Event]:
    """The class that reads a golden; one that is gone is a contract broken."""
    return CLASSES[file.parent.name, file.stem.rpartition(".v")[0]]


def _missing(golden: Any, today: Any, path: str = "data") -> list[str]:
    """What of a golden today's code leaves out or says otherwise."""
    if isinstance(golden, dict) and isinstance(today, dict):
        return [
            lost
            for name, value in golden.items()
            for lost in (
                _missing(value, today[name], f"{path}.{name}")
                if name in today
                else [f"{path}.{name}"]
            )
        ]
    if isinstance(golden, list) and isinstance(today, list) and len(golden) == len(today):
        return [
            lost
            for place, (one, other) in enumerate(zip(golden, today, strict=True))
            for lost in _missing(one, other, f"{path}.{place}")
        ]
    return [] if golden == today else [f"{path}: {golden!r} != {today!r}"]
