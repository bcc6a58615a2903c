"""The operations of flows, for a service that says `flows`: definitions, runs, what hears events.

class Sales(FlowOperations, Service):
    flows = FLOWS
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, Field, model_validator
from sqlalchemy.orm import Session

from liaison_kit.calls.operations import delete, get, patch, post
from liaison_kit.calls.wire import Raw, Version
from liaison_kit.events import handles
from liaison_kit.flows import definitions, engine, operating, runs, tracing, written
from liaison_kit.flows.definitions import FlowShape, FlowSummary
from liaison_kit.flows.frame import Fault
from liaison_kit.flows.kinds import FlowRecord, Flows
from liaison_kit.flows.operating import Begun, Records, Skip, Versioned
from liaison_kit.flows.reading import measured, read
from liaison_kit.flows.runs import RunDue
from liaison_kit.flows.schema import schema
from liaison_kit.flows.tracing import RunShape, RunState, RunWithLog, StepCount
from liaison_kit.listing.asked import Page
from liaison_kit.timers import on_timer
from liaison_sdk.errors import InvalidInput
from liaison_sdk.events import Event
from liaison_sdk.labels import Label
from liaison_sdk.types import Closed, Code

Limit = Annotated[int, Field(ge=1, le=200)]

PERMISSIONS = {
    "flows:read": Label(en="See flows and their runs", fr="Voir les parcours et leurs exécutions"),
    "flows:write": Label(en="Change and run flows", fr="Modifier et exécuter les parcours"),
}
"""What a service with flows adds to its permissions."""

FLOW_TIDIES = {"tidy_flow_runs": "flow_runs_kept_days"}
"""How long a service with flows keeps runs that have ended."""

_BY_RECORD = ("create_flow", "validate_flow", "describe_flows", "list_record_runs")


class Written(Closed):
    """A definition, as JSON or as YAML."""

    definition: dict[str, Any] | None = None
    yaml: str | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "Written":
        if (self.definition is None) == (self.yaml is None):
            raise ValueError("send the definition as JSON, or as a text in YAML: one of the two")
        return self

    def read(self) -> Any:
        """The definition."""
        return self.definition if self.yaml is None else written.load(self.yaml)


class Verdict(BaseModel):
    """What keeps a definition from running; nothing, if there are no faults."""

    faults: list[Fault]


class FlowKinds(BaseModel):
    """What flows are made of here: a JSON Schema, and the events that they can name."""

    definition: dict[str, Any]
    events: list[str]
    fields: list[str]
    template_name: str


class FlowOperations:
    """What a service with flows answers about them."""

    name: ClassVar[str]
    flows: ClassVar[Flows]

    def __init_subclass__(cls, **options: Any) -> None:
        if "flows" in cls.__dict__:
            for source, events in cls.flows.sources().items():
                name = f"on_{source}_for_flows"
                heeded = partial(runs.heeded, cls.flows)
                setattr(cls, name, handles(*events, source=source, heeded=heeded)(_listener(name)))
        super().__init_subclass__(**options)

    @classmethod
    def records_of(cls, operation: str) -> list[str]:
        """The kinds of record that a shared operation serves here."""
        if operation in _BY_RECORD:
            return sorted(cls.flows.records)
        served: list[str] = super().records_of(operation)  # type: ignore[misc]
        return served

    @classmethod
    def flow_record(cls, name: str) -> FlowRecord:
        """One of the kinds of record that flows are about here."""
        found = cls.flows.records.get(name)
        if found is None:
            said = f"{cls.name} has no flows about {name[:80]!r}"
            raise InvalidInput.field("record", "unknown", said)
        return found

    @on_timer(RunDue, together=True)
    def on_runs_due(self, session: Session, timers: Sequence[RunDue]) -> None:
        """Take runs on whose time has come."""
        engine.take_on(session, self.flows, [timer.run_id for timer in timers])

    # --- definitions -----------------------------------------------------------------------------

    @get("/flows", allow="flows:read", shared="merge")
    def list_flows(
        self,
        session: Session,
        record: Code | None = None,
        limit: Limit = 50,
        cursor: UUID | None = None,
    ) -> Page[FlowSummary]:
        """Flows, latest first; those about one kind of record, or all."""
        found = definitions.summaries(session, self.flows, record, limit + 1, cursor)
        return Page[FlowSummary](items=found[:limit], next=_next(found, limit))

    @post("/flows", allow="flows:write", shared="record", problems=[409])
    def create_flow(self, session: Session, record: str, new: Written) -> Raw[FlowShape]:
        """Keep the draft of a new flow; what keeps it from running is in the answer."""
        about = self.flow_record(record)
        id = definitions.create(session, self.flows, about.kind.name, new.read())
        return self._read_flow(session, id)

    @post("/flow-checks", allow="flows:write", shared="record", status=200)
    def validate_flow(self, session: Session, record: str, new: Written) -> Verdict:
        """Say what would keep a definition from running, and keep nothing."""
        about, definition = self.flow_record(record), new.read()
        measured(definition)
        _flow, faults = read(session, self.flows, about.kind.name, definition)
        return Verdict(faults=faults)

    @get("/flow-kinds", allow="flows:read", shared="record")
    def describe_flows(self, session: Session, record: str) -> FlowKinds:
        """What a definition may hold: its JSON Schema, events, and what templates see."""
        about = self.flow_record(record)
        return FlowKinds(
            definition=schema(self.flows),
            events=sorted(about.heard),
            fields=sorted(about.kind.fields),
            template_name=about.resource.one,
        )

    @get("/flows/{id}", allow="flows:read", shared="id", problems=[404])
    def get_flow(self, session: Session, id: UUID) -> Raw[FlowShape]:
        """One flow: its latest version, what keeps that from running, and which one is active."""
        return self._read_flow(session, id)

    @patch("/flows/{id}", allow="flows:write", shared="id", problems=[404, 409])
    def save_flow(
        self, session: Session, id: UUID, draft: Written, version: Version
    ) -> Raw[FlowShape]:
        """Save a new version; what is active stays so until this one is activated."""
        definitions.save(session, self.flows, id, version, draft.read())
        return self._read_flow(session, id)

    @delete("/flows/{id}", allow="flows:write", shared="id", problems=[404, 409])
    def delete_flow(self, session: Session, id: UUID, version: Version) -> None:
        """Delete a flow that has never run."""
        definitions.remove(session, self.flows, id, version)

    @post("/flows/{id}/activate", allow="flows:write", shared="id", status=200, problems=[404])
    def activate_flow(self, session: Session, id: UUID, version: Version) -> Raw[FlowShape]:
        """Have the latest version run; runs of an older one stay on theirs, and `older` tells.

        Needs the permissions for all that it does, and to see every record that it sees.
        """
        definitions.activate(session, self.flows, id, version)
        return self._read_flow(session, id)

    @post("/flows/{id}/deactivate", allow="flows:write", shared="id", status=200, problems=[404])
    def deactivate_flow(self, session: Session, id: UUID) -> Raw[FlowShape]:
        """Have nothing start any more; what runs goes on to its end."""
        definitions.deactivate(session, self.flows, id)
        return self._read_flow(session, id)

    @get("/flows/{id}/steps", allow="flows:read", shared="id", problems=[404])
    def count_flow_steps(self, session: Session, id: UUID, version: int) -> Page[StepCount]:
        """How many runs of a version came to each step, stand there, and left by which way."""
        counted = tracing.counts(session, self.flows, id, version)
        return Page[StepCount](items=counted, next=None)

    def _read_flow(self, session: Session, id: UUID) -> Raw[FlowShape]:
        found = definitions.shape(session, self.flows, id)
        return Raw(found.model_dump_json().encode(), found.version)

    # --- runs ------------------------------------------------------------------------------------

    @get("/flows/{id}/runs", allow="flows:read", shared="id", problems=[404])
    def list_flow_runs(
        self,
        session: Session,
        id: UUID,
        state: RunState | None = None,
        step: Code | None = None,
        limit: Limit = 50,
        cursor: UUID | None = None,
    ) -> Page[RunShape]:
        """Runs of a flow about records that the caller sees, latest first."""
        found = tracing.of_flow(session, self.flows, id, state, step, limit + 1, cursor)
        return Page[RunShape](items=found[:limit], next=_next(found, limit))

    @post("/flows/{id}/runs", allow="flows:write", shared="id", status=200, problems=[404, 409])
    def begin_runs(self, session: Session, id: UUID, chosen: Records) -> Begun:
        """Begin runs by hand on some records."""
        return operating.begin_by_hand(session, self.flows, id, chosen.records)

    @get("/runs", allow="flows:read", shared="record", problems=[404])
    def list_record_runs(
        self,
        session: Session,
        record: str,
        record_id: UUID,
        limit: Limit = 50,
        cursor: UUID | None = None,
    ) -> Page[RunShape]:
        """Runs about one record, of all flows, latest first."""
        about = self.flow_record(record)
        found = tracing.of_record(session, about, record_id, limit + 1, cursor)
        return Page[RunShape](items=found[:limit], next=_next(found, limit))

    @get("/runs/{id}", allow="flows:read", shared="id", problems=[404])
    def get_run(self, session: Session, id: UUID) -> RunWithLog:
        """One run: where it stands, since when, what it waits for, and all that it has done."""
        return tracing.shape(session, self.flows, id)

    @post("/runs/{id}/retry", allow="flows:write", shared="id", status=200, problems=[404, 409])
    def retry_run(self, session: Session, id: UUID) -> RunWithLog:
        """Do the step again at which a run has failed."""
        return self._dealt_with(session, id, operating.retry)

    @post("/runs/{id}/skip", allow="flows:write", shared="id", status=200, problems=[404, 409])
    def skip_step(self, session: Session, id: UUID, skip: Skip) -> RunWithLog:
        """Have a run go on as if its step were done."""
        operating.skip(session, self.flows, id, skip.way)
        return tracing.shape(session, self.flows, id)

    @post("/runs/{id}/end", allow="flows:write", shared="id", status=200, problems=[404, 409])
    def end_run(self, session: Session, id: UUID) -> RunWithLog:
        """Have a run end where it stands."""
        return self._dealt_with(session, id, operating.end)

    @post("/runs/{id}/cancel", allow="flows:write", shared="id", status=200, problems=[404, 409])
    def cancel_run(self, session: Session, id: UUID) -> RunWithLog:
        """Have a run undo what it did, the last first, and end."""
        return self._dealt_with(session, id, operating.cancel)

    @post("/runs/{id}/move", allow="flows:write", shared="id", status=200, problems=[404, 409])
    def move_run(self, session: Session, id: UUID, to: Versioned) -> RunWithLog:
        """Have a run go on by another version of its flow, which has the step where it stands."""
        operating.move(session, self.flows, id, to.version)
        return tracing.shape(session, self.flows, id)

    def _dealt_with(
        self, session: Session, id: UUID, act: Callable[[Session, Flows, UUID], None]
    ) -> RunWithLog:
        act(session, self.flows, id)
        return tracing.shape(session, self.flows, id)


def _listener(name: str) -> Callable[..., None]:
    def listener(service: Any, session: Session, event: Event) -> None:
        runs.heard(session, service.flows, event)

    listener.__name__ = name
    return listener


def _next(found: Sequence[Any], limit: int) -> str | None:
    return str(found[limit - 1].id) if len(found) > limit else None
