"""What a flow is made of: kinds of step and start, and what a service says of its flows.

    class Task(Kind):
        name = "task"
        settings = TaskSettings

        def do(self, here: Here, settings: Any) -> Did:
            create_task(here.session, ..., key=here.key)
            return Went("done")

A kind does its step in the run's transaction: its effects are rows and events of this database,
and what leaves it carries `here.key`. It waits for nothing: it says what is to be waited for.
"""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from pydantic import BaseModel
from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.copies import KeptCopy
from liaison_kit.database.statements import Statement
from liaison_kit.records.recordtype import RecordType
from liaison_kit.resources import Resource
from liaison_kit.tenants import tenant_settings
from liaison_sdk.contracts.connect import Recipient
from liaison_sdk.events import Event
from liaison_sdk.types import Closed

if TYPE_CHECKING:
    from liaison_kit.flows.reading import Checking, Flow


Shown = Mapping[str, Any]
"""A record as its readers get it: its JSON."""


# --- what a step comes to -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Went:
    """The step is done, and the run goes on by this way of its `next`."""

    way: str
    said: str = ""


@dataclass(frozen=True, slots=True)
class Waits:
    """The run stands here until a moment, or until one of these events: names and keys.

    An event counts if it has happened since then, also if it was before now.
    """

    until: dt.datetime
    events: Sequence[tuple[str, str]] = ()
    since: dt.datetime | None = None
    said: str = ""


@dataclass(frozen=True, slots=True)
class Ends:
    """The run ends here."""

    outcome: str
    said: str = ""


Did = Went | Waits | Ends


@dataclass(frozen=True, slots=True)
class Here:
    """Where a run stands: its flow, its step, and its record as readers get it."""

    session: Session
    flows: "Flows"
    flow: "Flow"
    run_id: UUID
    step: str
    number: int
    record: Shown
    begun_at: dt.datetime

    @property
    def key(self) -> UUID:
        """The name of this step's effect: whoever gets it twice does it once."""
        return uuid5(self.run_id, str(self.number))

    @property
    def about(self) -> "FlowRecord":
        """What the run's kind of record is to flows."""
        return self.flow.about

    @property
    def record_id(self) -> UUID:
        """The run's record."""
        return UUID(self.record["id"])

    @property
    def now(self) -> dt.datetime:
        """This moment."""
        return context(self.session).now

    @property
    def zone(self) -> ZoneInfo:
        """The tenant's time zone."""
        return tenant_settings(self.session).zone

    def entered(self, step: str | None) -> dt.datetime:
        """When the run last came to a step, or to the one before this; else when it began."""
        found = _ENTERED.run(self.session, {"run": self.run_id, "step": step})
        return found[0][0] if found else self.begun_at

    def left(self, steps: Sequence[str], way: str) -> dt.datetime | None:
        """When the run last went on from one of these steps by this way."""
        found = _LEFT.run(self.session, {"run": self.run_id, "steps": list(steps), "way": way})
        return found[0][0] if found else None

    def fields(self) -> dict[str, Any]:
        """What templates see: the record under its name, as readers get it."""
        return {self.about.resource.one: self.record}


_ENTERED = Statement("""
SELECT at FROM flow_log WHERE run_id = %(run)s::uuid AND undoes IS NULL
    AND (%(step)s::text IS NULL OR step = %(step)s::text)
ORDER BY number DESC LIMIT 1
""")


_LEFT = Statement("""
SELECT left_at FROM flow_log WHERE run_id = %(run)s::uuid AND undoes IS NULL
    AND step = ANY(%(steps)s::text[]) AND way = %(way)s::text
ORDER BY number DESC LIMIT 1
""")


# --- kinds ----------------------------------------------------------------------------------------


class Nothing(Closed):
    """A kind that needs no settings."""


class Kind(ABC):
    """A kind of step. Subclasses set `name`, `settings`, and what is other than here."""

    name: ClassVar[str]
    settings: ClassVar[type[BaseModel]] = Nothing
    pauses: ClassVar[bool] = False
    """Whether time goes by at it: a circle needs such a step."""
    writes: ClassVar[bool] = True
    """Whether it leaves anything that has to be undone if it fails half way."""
    goes_on: ClassVar[bool] = True
    """Whether anything comes after it."""
    may_undo: ClassVar[bool] = False
    """Whether it is done at once, and can be what undoes another step."""

    def ways(self, settings: Any) -> Sequence[str]:
        """By which ways a run goes on from it."""
        return ("done",)

    def check(self, at: "Checking", settings: Any) -> None:  # noqa: B027 — mostly nothing is
        """Say what is wrong with settings whose shape is right."""

    def needs(self, about: "FlowRecord", settings: Any) -> Sequence[str]:
        """The permissions of whoever lets it run."""
        return ()

    @abstractmethod
    def do(self, here: Here, settings: Any) -> Did:
        """Do the step."""

    def woken(self, here: Here, settings: Any, happened: str | None) -> Went:
        """Which way to go on, by the event that has happened, or as the time is up."""
        return Went("done")


class StartKind:
    """A kind of start; what begins runs of it beside events is its service's."""

    name: ClassVar[str]
    settings: ClassVar[type[BaseModel]] = Nothing

    def listens_to(self, settings: Any) -> str | None:
        """The event that starts runs, if one does."""
        return None

    def check(self, at: "Checking", settings: Any) -> None:
        """Say what is wrong with settings whose shape is right."""


# --- what a service says --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Heard:
    """An event that starts runs, ends them, or that they wait for.

    `name` is what definitions call it; `ids` tells which records it is about. What is only `new`
    or `changed` is told apart by the record's own dates: who hears it again, as when a module tells
    everything again, does not take it for news.
    """

    name: str
    event: type[Event]
    ids: Callable[[Any], Sequence[UUID]]
    is_news: Callable[[Shown, dt.datetime], bool] = lambda _record, _at: True
    source: str | None = None
    """Who tells it, if several do, each in its own name."""

    @property
    def told_by(self) -> str:
        """The service whose event it is."""
        return self.source or self.event.source


def just_made(record: Shown, at: dt.datetime) -> bool:
    """Whether the record was made by what is told."""
    return dt.datetime.fromisoformat(record["created_at"]) >= at


def just_changed(record: Shown, at: dt.datetime) -> bool:
    """Whether the record was changed by what is told, and not made by it."""
    made, changed = (dt.datetime.fromisoformat(record[f"{when}_at"]) for when in _DATES)
    return made < at <= changed


_DATES = ("created", "updated")


@dataclass(frozen=True, eq=False)
class FlowRecord:
    """A kind of record that flows are about.

    `reaches` tells how the one that the record is about is written to; None where nobody is.
    """

    resource: Resource
    events: Sequence[Heard]
    reaches: Callable[[Session, Shown], Recipient | None] | None = None

    @property
    def kind(self) -> RecordType:
        """The kind of record."""
        return self.resource.kind

    def event(self, name: str) -> str:
        """What the event is kept under: records of other kinds have their own of that name."""
        return f"{self.kind.name}.{name}"

    @cached_property
    def heard(self) -> dict[str, Heard]:
        """Its events, by name."""
        return {heard.name: heard for heard in self.events}


@dataclass(frozen=True, eq=False)
class Flows:
    """What a service says of its flows: about what, made of what, and who its users are.

    `answers` are events that tell what became of what a step handed to another service.
    """

    service: str
    about: Sequence[FlowRecord]
    users: KeptCopy
    kinds_of_step: Sequence[Kind]
    kinds_of_start: Sequence[StartKind]
    answers: Sequence[Heard] = field(default=())

    @cached_property
    def records(self) -> dict[str, FlowRecord]:
        """The kinds of record, by name."""
        return {about.kind.name: about for about in self.about}

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """The kinds of step, by name."""
        return {kind.name: kind for kind in self.kinds_of_step}

    @cached_property
    def starts(self) -> dict[str, StartKind]:
        """The kinds of start, by name."""
        return {kind.name: kind for kind in self.kinds_of_start}

    def sources(self) -> dict[str, list[type[Event]]]:
        """The events that are listened to, by the service that tells them."""
        found: dict[str, dict[type[Event], None]] = {}
        for heard in (*(h for about in self.about for h in about.events), *self.answers):
            found.setdefault(heard.told_by, {})[heard.event] = None
        return {source: list(events) for source, events in found.items()}
