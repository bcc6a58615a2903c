"""Flows about people and companies: which events they can name, and how people are written to."""

from collections.abc import Callable
from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy.orm import Session

from liaison_contacts.owners import OWNERS
from liaison_contacts.people import full_name
from liaison_kit.flows import (
    KINDS,
    STARTS,
    FlowRecord,
    Flows,
    Heard,
    Shown,
    just_changed,
    just_made,
)
from liaison_kit.flows.steps import FAILED, SENT
from liaison_kit.resources import Resource
from liaison_kit.tenants import tenant_settings
from liaison_sdk.contracts import connect, contacts
from liaison_sdk.events import Event


class _Told(BaseModel):
    id: UUID


class _PeopleTold(Event):
    """`PeopleSaved`, as far as flows read it: an import tells of thousands at once."""

    source: ClassVar[str] = contacts.PeopleSaved.source
    type: ClassVar[str] = contacts.PeopleSaved.type
    version: ClassVar[int] = contacts.PeopleSaved.version

    people: list[_Told]


class _CompaniesTold(Event):
    """`CompaniesSaved`, as far as flows read it."""

    source: ClassVar[str] = contacts.CompaniesSaved.source
    type: ClassVar[str] = contacts.CompaniesSaved.type
    version: ClassVar[int] = contacts.CompaniesSaved.version

    companies: list[_Told]


def flows(people: Resource, companies: Resource) -> Flows:
    """What contacts says of its flows."""
    return Flows(
        "contacts",
        about=(
            FlowRecord(
                people,
                events=(
                    Heard("created", _PeopleTold, _people, just_made),
                    Heard("changed", _PeopleTold, _people, just_changed),
                    Heard("stage_entered", contacts.StageMoved, _moved("contacts")),
                ),
                reaches=_recipient,
            ),
            FlowRecord(
                companies,
                events=(
                    Heard("created", _CompaniesTold, _companies, just_made),
                    Heard("changed", _CompaniesTold, _companies, just_changed),
                    Heard("stage_entered", contacts.StageMoved, _moved("companies")),
                ),
            ),
        ),
        users=OWNERS,
        kinds_of_step=KINDS,
        kinds_of_start=STARTS,
        answers=(
            Heard(SENT, connect.MessageSent, _ours),
            Heard(FAILED, connect.MessageFailed, _ours),
        ),
    )


def _people(event: _PeopleTold) -> list[UUID]:
    return [person.id for person in event.people]


def _companies(event: _CompaniesTold) -> list[UUID]:
    return [company.id for company in event.companies]


def _moved(record: str) -> Callable[[Any], list[UUID]]:
    return lambda event: [event.record_id] if event.record == record else []


def _ours(event: connect.MessageSent | connect.MessageFailed) -> list[UUID]:
    return [event.intent_id] if event.sender == "contacts" else []


def _recipient(session: Session, person: Shown) -> connect.Recipient | None:
    """The first address that the person has."""
    if not person["emails"]:
        return None
    return connect.Recipient(
        address=person["emails"][0]["address"],
        name=full_name(person["first_name"], person["last_name"]),
        person_id=person["id"],
        language=tenant_settings(session).language,
    )
