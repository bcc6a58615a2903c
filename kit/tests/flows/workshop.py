"""A kind of record with flows about it, and kinds of step whose effects a test can count."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.orm import Mapped, Session

from liaison_kit import records
from liaison_kit.copies import KeptCopy, KeptRow
from liaison_kit.database.migrations import RECORD_COLUMNS
from liaison_kit.database.tables import Base, Record
from liaison_kit.events import emit
from liaison_kit.flows import (
    KINDS,
    STARTS,
    Did,
    FlowRecord,
    Flows,
    Heard,
    Here,
    Kind,
    Waits,
    Went,
    just_changed,
    just_made,
)
from liaison_kit.flows.calling import Call, Offer, answers
from liaison_kit.records.recordtype import RecordType
from liaison_kit.resources import Resource
from liaison_sdk.contracts.connect import Recipient
from liaison_sdk.contracts.identity import UserRemoved, UsersSaved
from liaison_sdk.contracts.questions import KnownUsers
from liaison_sdk.errors import Conflict
from liaison_sdk.events import Event
from liaison_sdk.labels import Label
from liaison_sdk.types import Closed, Code, Name, field

TABLES = f"""
CREATE TABLE works ({RECORD_COLUMNS}, name text NOT NULL, stage text NOT NULL, size integer,
    owner_id uuid);
CREATE TABLE workers (id uuid PRIMARY KEY, tenant_id uuid NOT NULL, name text NOT NULL,
    folded text NOT NULL, removed boolean NOT NULL, version bigint NOT NULL, email text,
    manager_id uuid);
CREATE TABLE marks (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid NOT NULL,
    record_id uuid NOT NULL, key uuid NOT NULL, said text NOT NULL)
"""


class Work(Record, Base):
    """Something to be done."""

    __tablename__ = "works"

    name: Mapped[str]
    stage: Mapped[str]
    size: Mapped[int | None]
    owner_id: Mapped[UUID | None]


class Worker(KeptRow, Base):
    """Who does it."""

    __tablename__ = "workers"

    email: Mapped[str | None]
    manager_id: Mapped[UUID | None]


class WorkShape(BaseModel):
    """A work as readers get it."""

    id: UUID
    name: str = field("Name", "Nom")
    stage: str = field("Stage", "Étape")
    size: int | None = field("Size", "Taille")
    owner_id: UUID | None = field("Owner", "Responsable")
    custom: dict[str, Any] = field("Custom", "Personnalisé", filterable=False)
    version: int = field("Version", "Version", filterable=False)
    created_at: dt.datetime = field("Created", "Créé")
    updated_at: dt.datetime = field("Changed", "Modifié")


class WorkChanges(Closed):
    """What to change of a work."""

    name: Name = "-"
    stage: Code = "new"
    size: int | None = None


class WorkSaved(Event):
    """A work was added or changed."""

    type = "work_saved"
    source = "ground"
    key_field = "work_id"

    work_id: UUID


class WorkMoved(Event):
    """A work came to another stage."""

    type = "work_moved"
    source = "ground"
    key_field = "work_id"

    work_id: UUID


class Answered(Event):
    """Another service tells what became of what it was asked."""

    type = "answered"
    source = "other"

    key_of_step: UUID


WORKS = RecordType(
    "works",
    Label(en="Work", fr="Travail"),
    model=Work,
    shape=WorkShape,
    owner=Work.owner_id,
)
WORKERS = KeptCopy("users", Worker, saved=UsersSaved, removed=UserRemoved, known=KnownUsers)


class Rules:
    """The feature behind works."""

    def change(self, session: Session, id: UUID, version: int, changes: WorkChanges) -> Any:
        """Change what was sent, and tell."""
        work = records.load(session, WORKS, Work, id, version)
        sent = {name: getattr(changes, name) for name in changes.model_fields_set}
        work, changed = records.change(session, WORKS, work, sent)
        if changed:
            emit(session, WorkSaved(work_id=id))
        if "stage" in changed:
            emit(session, WorkMoved(work_id=id))
        return work

    def remove(self, session: Session, id: UUID, version: int) -> None:
        """Delete it."""
        records.remove(session, WORKS, records.load(session, WORKS, Work, id, version))


class MarkSettings(Closed):
    """What is left behind."""

    say: str
    fails: int = 0


class Errand(Closed):
    """What another service does."""

    errand: Annotated[str, Field(max_length=10)]
    times: int = 1


class Mark(Kind):
    """Leaves a mark, perhaps after it has failed a few times."""

    name = "mark"
    settings = MarkSettings
    may_undo = True
    failures: dict[UUID, int] = {}

    def do(self, here: Here, settings: MarkSettings) -> Did:
        """Leave it; each try leaves one, of which those that failed are not kept."""
        leave(here.session, here.record_id, here.key, settings.say)
        failed = self.failures.get(here.key, 0)
        if failed < settings.fails:
            self.failures[here.key] = failed + 1
            raise Conflict("not yet")
        return Went("done")


class Ask(Kind):
    """Asks another service, and waits for its answer."""

    name = "ask"

    def ways(self, settings: Any) -> Sequence[str]:
        """It is answered, or it is not."""
        return ("answered", "silence")

    def do(self, here: Here, settings: Any) -> Did:
        """Ask."""
        leave(here.session, here.record_id, here.key, "asked")
        later = here.now.replace(year=here.now.year + 1)
        return Waits(later, [("answered", str(here.key))], here.begun_at)

    def woken(self, here: Here, settings: Any, happened: str | None) -> Went:
        """Whichever came first."""
        return Went("answered" if happened else "silence")


def leave(session: Session, record_id: UUID, key: UUID, said: str) -> None:
    """The effect; it may be there twice, so that it is seen if it is."""
    session.execute(
        text(
            "INSERT INTO marks (tenant_id, record_id, key, said) VALUES"
            " (current_setting('liaison.tenant')::uuid, :record, :key, :said)"
        ),
        {"record": record_id, "key": key, "said": said},
    )


def _recipient(_session: Session, work: Any) -> Recipient | None:
    return Recipient(address=f"{work['name']}@example.com")


RESOURCE = Resource(WORKS, "work", None, WorkChanges, Rules())
ABOUT = FlowRecord(
    RESOURCE,
    events=(
        Heard("created", WorkSaved, lambda event: [event.work_id], just_made),
        Heard("changed", WorkSaved, lambda event: [event.work_id], just_changed),
        Heard("moved", WorkMoved, lambda event: [event.work_id]),
    ),
    reaches=_recipient,
)
FLOWS = Flows(
    "ground",
    (ABOUT,),
    WORKERS,
    (*KINDS, Mark(), Ask(), Call({"other": {"run": Offer(Errand, ("works:write",))}})),
    STARTS,
    answers=(
        Heard("answered", Answered, lambda event: [event.key_of_step]),
        *answers("other"),
    ),
)
UNREACHED = replace(FLOWS, about=(replace(ABOUT, reaches=None),))
