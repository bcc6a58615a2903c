"""Reading a definition: from what somebody wrote to a flow that can run, or what is wrong with it.

All faults are found at once, and each names its step. What they do not keep from being understood
is understood, so that one bad step does not hide what is wrong with the next.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.orm import Session

from liaison_kit import conditions, templates
from liaison_kit.conditions import Condition
from liaison_kit.flows import graph
from liaison_kit.flows.frame import END, LONGEST, MOST_STEPS, Exit, Fault, Frame, faults_of
from liaison_kit.flows.kinds import FlowRecord, Flows, Kind, StartKind
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.errors import FieldError, InvalidInput


class TooLargeFlow(InvalidInput):
    """A definition that nobody draws, and that would be read again and again."""

    code, title = "flow_too_large", "This flow is too large"


@dataclass(frozen=True, slots=True)
class Step:
    """A step: its kind, what is set, where its ways lead, and what undoes it."""

    name: str
    kind: Kind
    settings: Any
    next: Mapping[str, str]
    undo: "Step | None"


@dataclass(frozen=True, slots=True)
class Start:
    """One way for runs to start."""

    kind: StartKind
    settings: Any


@dataclass(eq=False)
class Flow:
    """A definition that can run; its conditions are read once."""

    about: FlowRecord
    frame: Frame
    steps: dict[str, Step]
    starts: Sequence[Start]
    exits: Sequence[tuple[Condition, str]]
    read: dict[int, Condition] = field(default_factory=dict)

    @cached_property
    def first(self) -> str:
        """The step that comes first."""
        return next(iter(self.steps))

    @cached_property
    def listens(self) -> set[tuple[str, bool]]:
        """The events about its records that it listens to, and whether they start runs."""
        found = {(name, True) for s in self.starts if (name := s.kind.listens_to(s.settings))}
        goal = self.frame.goal
        found |= {(goal.event, False)} if goal else set()
        for step in self.steps.values():
            event = getattr(step.settings, "event", None)
            found |= {(event, False)} if event else set()
        return found

    def condition(self, session: Session, tree: Any) -> Condition:
        """A condition of the definition's, read once."""
        found = self.read.get(id(tree))
        if found is None:
            found = self.read[id(tree)] = conditions.parse(session, self.about.kind, tree)
        return found


class Checking:
    """Goes through a definition and remembers what is wrong with it."""

    def __init__(self, session: Session, flows: Flows, about: FlowRecord) -> None:
        self.session = session
        self.flows = flows
        self.about = about
        self.steps: Mapping[str, Any] = {}
        self.faults: list[Fault] = []
        self._step: str | None = None
        self._path = ""

    @property
    def record(self) -> RecordType:
        """The kind of record that the flow is about."""
        return self.about.kind

    def at(self, path: str, step: str | None = None) -> "Checking":
        """What is said from here on is about what stands there."""
        self._path, self._step = path, step
        return self

    def wrong(self, path: str, code: str, message: str) -> None:
        """Something is wrong with what stands at a path from here."""
        whole = f"{self._path}.{path}" if path else self._path
        self.faults.append(Fault(step=self._step, path=whole, code=code, message=message))

    def condition(self, path: str, tree: Any) -> Condition | None:
        """A condition on the record."""
        try:
            return conditions.parse(self.session, self.record, tree, f"{self._path}.{path}")
        except InvalidInput as error:
            self._took(error)
            return None

    def template(self, path: str, source: str) -> None:
        """A template that sees the record, and no more of anything."""
        try:
            named = templates.names(source, path)
        except InvalidInput as error:
            for wrong in error.errors:
                self.wrong(path, wrong.code, wrong.message)
            return
        one, fields = self.about.resource.one, self.record.fields
        for parts in (name.split(".") for name in named):
            if parts[0] != one:
                said = f"A template sees {{{{ {one}.… }}}} and nothing else; {parts[0]} is unknown"
                self.wrong(path, "unknown_name", said)
            elif len(parts) > 1 and (field := parts[1].partition("[")[0]) not in fields:
                said = f"{self.record.name} have no field {field[:80]!r}"
                self.wrong(path, "unknown_field", said)

    def event(self, path: str, name: str) -> None:
        """An event about the record that is heard here."""
        if name not in self.about.heard:
            known = ", ".join(sorted(self.about.heard))
            said = f"{name[:80]} is no event of {self.record.name}; there are {known}"
            self.wrong(path, "unknown_event", said)

    def _took(self, error: InvalidInput) -> None:
        self.faults += [
            Fault(step=self._step, path=e.path, code=e.code, message=e.message)
            for e in error.errors
        ]

    def settings(self, raw: Mapping[str, Any], kind: Kind | StartKind, *own: str) -> Any:
        """What is set of a kind, without what the frame says beside it."""
        said = {name: value for name, value in raw.items() if name not in ("kind", *own)}
        try:
            return kind.settings.model_validate(said)
        except ValidationError as error:
            self.faults += faults_of(error, self._path, self._step)
            return None


def measured(definition: Any) -> str:
    """The definition as JSON; `TooLargeFlow` where nobody should keep it."""
    try:
        text = json.dumps(definition, allow_nan=False)
    except (ValueError, RecursionError):
        said = "It is JSON: nested no deeper than anybody reads, and its numbers are finite"
        raise InvalidInput.field("definition", "json", said) from None
    if len(text) > LONGEST:
        said = f"A definition has at most {LONGEST} characters"
        raise TooLargeFlow(said, [FieldError("definition", "too_long", said)])
    steps = definition.get("steps") if isinstance(definition, dict) else None
    if isinstance(steps, dict) and len(steps) > MOST_STEPS:
        said = f"A flow has at most {MOST_STEPS} steps: make several of it"
        raise TooLargeFlow(said, [FieldError("definition.steps", "too_many_steps", said)])
    return text


def read(
    session: Session, flows: Flows, record: str, definition: Any
) -> tuple[Flow | None, list[Fault]]:
    """The flow, where nothing is wrong with it, and what is wrong."""
    about = flows.records[record]
    at = Checking(session, flows, about)
    try:
        frame = Frame.model_validate(definition)
    except ValidationError as error:
        at.faults += faults_of(error, "")
        frame = None
    raw = definition.get("steps") if isinstance(definition, dict) else None
    if not isinstance(raw, dict):
        return None, at.faults
    at.steps = {name: step for name, step in raw.items() if isinstance(step, dict)}
    steps = {name: _step(at, name, step) for name, step in at.steps.items()}
    if frame is None:
        return None, at.faults
    starts = [_start(at, number, start) for number, start in enumerate(frame.start)]
    exits = [_exit(at, number, exit) for number, exit in enumerate(frame.exit)]
    if frame.goal is not None:
        at.at("goal").event("event", frame.goal.event)
    whole = {name: step for name, step in steps.items() if step is not None}
    if not at.faults:
        edges = {n: set(s.next.values()) or {END} for n, s in whole.items()}
        pausing = {n for n, s in whole.items() if s.kind.pauses}
        at.faults += graph.faults(next(iter(whole)), edges, pausing)
    if at.faults:
        return None, at.faults
    known = [start for start in starts if start is not None]
    return Flow(about, frame, whole, known, [e for e in exits if e is not None]), []


def _step(at: Checking, name: str, raw: Mapping[str, Any]) -> Step | None:
    path = f"steps.{name}"
    if name == END:
        at.at(path, name).wrong("", "reserved", f"`{END}` ends a run: give the step another name")
    kind = _kind(at.at(path, name), raw)
    if kind is None:
        return None
    before = len(at.faults)
    settings = at.settings(raw, kind, "next", "undo")
    if settings is not None:
        kind.check(at, settings)
    undo = _undo(at, name, raw["undo"]) if raw.get("undo") is not None else None
    at.at(path, name)
    if settings is None or len(at.faults) > before:
        return None
    return Step(name, kind, settings, _next(at, raw, kind, settings), undo)


def _kind(at: Checking, raw: Mapping[str, Any]) -> Kind | None:
    kind = at.flows.kinds.get(str(raw.get("kind")))
    if kind is None:
        known = ", ".join(sorted(at.flows.kinds))
        said = f"{str(raw.get('kind'))[:80]} is no kind of step here; there are {known}"
        at.wrong("kind", "unknown_kind", said)
    return kind


def _undo(at: Checking, name: str, raw: Any) -> Step | None:
    at.at(f"steps.{name}.undo", name)
    if not isinstance(raw, dict):
        at.wrong("", "step", "What undoes a step is a step without a next")
        return None
    kind = _kind(at, raw)
    if kind is None:
        return None
    if not kind.may_undo:
        at.wrong("kind", "no_undo", f"{kind.name} undoes nothing: what does is done at once")
        return None
    settings = at.settings(raw, kind)
    if settings is not None:
        kind.check(at, settings)
    return None if settings is None else Step(name, kind, settings, {}, None)


def _next(at: Checking, raw: Mapping[str, Any], kind: Kind, settings: Any) -> dict[str, str]:
    ways, given = list(kind.ways(settings)), raw.get("next")
    if not kind.goes_on:
        if given is not None:
            at.wrong("next", "unexpected", "Nothing comes after it: take its next out")
        return {}
    if isinstance(given, str):
        given = dict.fromkeys(ways, given)
    if not isinstance(given, dict):
        at.wrong("next", "missing", f"Say which step comes next, or `{END}`")
        return {}
    for way in ways:
        if way not in given:
            at.wrong(f"next.{way}", "missing", f"Say where the way {way} leads, or to `{END}`")
    for way, target in given.items():
        if way not in ways:
            said = f"{str(way)[:80]} is no way out of it; there are {', '.join(ways)}"
            at.wrong(f"next.{way}", "unknown_way", said)
        elif not isinstance(target, str) or (target != END and target not in at.steps):
            said = f"There is no step {str(target)[:80]}: name one of the flow's, or `{END}`"
            at.wrong(f"next.{way}", "unknown_step", said)
    return {way: given[way] for way in ways if way in given}


def _start(at: Checking, number: int, raw: Mapping[str, Any]) -> Start | None:
    at.at(f"start.{number}")
    kind = at.flows.starts.get(str(raw.get("kind")))
    if kind is None:
        known = ", ".join(sorted(at.flows.starts))
        said = f"{str(raw.get('kind'))[:80]} is no kind of start here; there are {known}"
        at.wrong("kind", "unknown_kind", said)
        return None
    settings = at.settings(raw, kind)
    if settings is not None:
        kind.check(at, settings)
    return None if settings is None else Start(kind, settings)


def _exit(at: Checking, number: int, exit: Exit) -> tuple[Condition, str] | None:
    found = at.at(f"exit.{number}").condition("when", exit.when)
    return None if found is None else (found, exit.outcome)


# --- what has been read ---------------------------------------------------------------------------

_READ: dict[tuple[UUID, int], tuple[Any, Flow]] = {}
_MOST_READ = 500


def remembered(
    session: Session, flows: Flows, id: UUID, number: int, record: str, definition: Any
) -> Flow:
    """A version that could run when it was activated, read once in this process."""
    known, found = _READ.get((id, number), (None, None))
    # A version stays as it ran, but for somebody who is named in it and was erased.
    if found is None or known != definition:
        found, faults = read(session, flows, record, definition)
        if found is None:
            raise CannotRun(faults)
        if len(_READ) >= _MOST_READ:
            _READ.clear()
        _READ[(id, number)] = definition, found
    return found


class CannotRun(InvalidInput):
    """A flow that has faults is kept as a draft, and does not run."""

    code, title = "flow_has_faults", "This flow can't run yet"

    def __init__(self, faults: Sequence[Fault]) -> None:
        errors = [FieldError(f"definition.{f.path}", f.code, f.message) for f in faults]
        super().__init__(f"{len(errors)} of its parts need another look", errors)
