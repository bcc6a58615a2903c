"""The kinds of step that every service has: waiting, deciding, changing the record, telling people.

A service adds its own beside them (`kinds`).
"""

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints, ValidationError, model_validator
from sqlalchemy import select

from liaison_kit import listing, templates
from liaison_kit.conditions import matches
from liaison_kit.flows.durations import Duration, lasting
from liaison_kit.flows.frame import Tree
from liaison_kit.flows.kinds import (
    Did,
    Ends,
    FlowRecord,
    Here,
    Kind,
    StartKind,
    Waits,
    Went,
)
from liaison_kit.flows.reading import Checking
from liaison_kit.messages import send_message
from liaison_kit.notifications import NotificationKind, notify
from liaison_kit.tenants import tenant_settings
from liaison_sdk.contracts.connect import About, Content, MessageIntent, Recipient
from liaison_sdk.errors import InvalidInput, StaleVersion
from liaison_sdk.labels import Label
from liaison_sdk.types import WITHOUT_NUL, Closed, Code

Line = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=WITHOUT_NUL)]
Body = Annotated[str, StringConstraints(min_length=1, max_length=20_000, pattern=WITHOUT_NUL)]


# --- waiting --------------------------------------------------------------------------------------


class WaitSettings(Closed):
    """For how long, or until the moment or day that a field of the record holds."""

    lasts: Duration | None = Field(default=None, alias="for")
    until: Code | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "WaitSettings":
        if (self.lasts is None) == (self.until is None):
            raise ValueError("say for how long, or until which field of the record: one of the two")
        return self


class Wait(Kind):
    """Time goes by."""

    name = "wait"
    settings = WaitSettings
    pauses = True
    writes = False

    def check(self, at: Checking, settings: WaitSettings) -> None:
        """What it waits for is a moment or a day."""
        if settings.until is not None:
            info = at.record.fields.get(settings.until)
            if info is None or info.kind not in ("date", "datetime"):
                dated = (n for n, i in at.record.fields.items() if i.kind in ("date", "datetime"))
                said = f"{settings.until} is no day or moment of it; there are {', '.join(dated)}"
                at.wrong("until", "unknown_field", said)

    def do(self, here: Here, settings: WaitSettings) -> Did:
        """Wait; what is past already is not waited for."""
        if settings.lasts is not None:
            there = tenant_settings(here.session)
            return Waits(lasting(settings.lasts).after(here.now, there))
        found = here.record[str(settings.until)]
        if found is None:
            return Went("done", f"{settings.until} is empty")
        moment = dt.datetime.fromisoformat(found)
        if moment.tzinfo is None:
            # A bare date is a day there.
            moment = moment.replace(tzinfo=here.zone).astimezone(dt.UTC)
        return Waits(moment) if moment > here.now else Went("done")


class WaitUntilSettings(Closed):
    """Which event about the record, and for how long at most."""

    event: Code
    at_most: Duration
    since: Code | None = None


class WaitUntil(Kind):
    """Something is to happen with the record; if it does not, that is a way, too.

    What has happened since the run came to the step before counts, or to the one that `since`
    names: it may have come early. What has taken the run on once does not do so again.
    """

    name = "wait_until"
    settings = WaitUntilSettings
    pauses = True
    writes = False

    def ways(self, settings: WaitUntilSettings) -> Sequence[str]:
        """It happened, or the time was up."""
        return ("happened", "timeout")

    def check(self, at: Checking, settings: WaitUntilSettings) -> None:
        """The event is one that is heard here."""
        at.event("event", settings.event)
        if settings.since is not None and settings.since not in at.steps:
            at.wrong("since", "unknown_step", f"There is no step {settings.since}: name one")

    def do(self, here: Here, settings: WaitUntilSettings) -> Did:
        """Wait for it."""
        until = lasting(settings.at_most).after(here.now, tenant_settings(here.session))
        event = here.about.event(settings.event)
        since = here.entered(settings.since)
        alike = [
            step.name
            for step in here.flow.steps.values()
            if step.kind is self and step.settings.event == settings.event
        ]
        taken = here.left(alike, "happened")
        return Waits(until, [(event, str(here.record_id))], max(since, taken or since))

    def woken(self, here: Here, settings: WaitUntilSettings, happened: str | None) -> Went:
        """Whichever came first."""
        return Went("timeout" if happened is None else "happened")


# --- deciding -------------------------------------------------------------------------------------


class Case(Closed):
    """A way that is gone if the condition holds."""

    when: Tree
    way: Code


class BranchSettings(Closed):
    """Cases in their order: the first one that holds decides. If none does, the way is `else`."""

    cases: Annotated[list[Case], Field(min_length=1, max_length=20)]


class Branch(Kind):
    """The record decides."""

    name = "branch"
    settings = BranchSettings
    writes = False

    def ways(self, settings: BranchSettings) -> Sequence[str]:
        """Those of its cases, and `else`."""
        return (*dict.fromkeys(case.way for case in settings.cases if case.way != "else"), "else")

    def check(self, at: Checking, settings: BranchSettings) -> None:
        """Its conditions are about the record."""
        for number, case in enumerate(settings.cases):
            at.condition(f"cases.{number}.when", case.when)

    def do(self, here: Here, settings: BranchSettings) -> Did:
        """Go by the first that holds."""
        for case in settings.cases:
            condition = here.flow.condition(here.session, case.when)
            if matches(condition, here.record, here.now, here.zone):
                return Went(case.way)
        return Went("else")


class SplitSettings(Closed):
    """Ways and their shares, in percent."""

    shares: Annotated[dict[Code, Annotated[int, Field(ge=1, le=100)]], Field(min_length=2)]

    @model_validator(mode="after")
    def _whole(self) -> "SplitSettings":
        if sum(self.shares.values()) != 100:
            raise ValueError("the shares are percents: together they are 100")
        return self


class Split(Kind):
    """Records are shared out among ways, each record always to the same one."""

    name = "split"
    settings = SplitSettings
    writes = False

    def ways(self, settings: SplitSettings) -> Sequence[str]:
        """Those that have a share."""
        return tuple(settings.shares)

    def do(self, here: Here, settings: SplitSettings) -> Did:
        """Go by the record's way."""
        return Went(share_of(here.flow.frame.key, here.step, here.record_id, settings.shares))


def share_of(flow: str, step: str, record: UUID, shares: dict[str, int]) -> str:
    """The way of a record: by a hash, so that it is the same in every run and every process."""
    digest = hashlib.sha256(f"{flow}/{step}/{record}".encode()).digest()
    place = int.from_bytes(digest[:8]) % 100
    for way, share in sorted(shares.items()):
        place -= share
        if place < 0:
            return way
    raise AssertionError("the shares are less than the whole")


# --- the record -----------------------------------------------------------------------------------

Plain = str | int | float | bool | None


class SetSettings(Closed):
    """A field, and what it becomes: a value, a text with fields of the record, or so much more."""

    field: Code
    value: Plain = None
    add: int | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "SetSettings":
        if len(self.model_fields_set & {"value", "add"}) != 1:
            raise ValueError("give it a value, or say how much to add: one of the two")
        return self


class Set(Kind):
    """A field of the record is changed, by the record's own rules."""

    name = "set"
    settings = SetSettings
    may_undo = True

    def needs(self, about: FlowRecord, settings: SetSettings) -> Sequence[str]:
        """To change such records."""
        return (f"{about.kind.name}:write",)

    def check(self, at: Checking, settings: SetSettings) -> None:
        """The field can be changed, and takes what it is to be."""
        taken = at.about.resource.changes.model_fields
        if settings.field not in taken:
            said = f"{settings.field} is no field that can be changed; there are {', '.join(taken)}"
            at.wrong("field", "unknown_field", said)
            return
        if settings.add is not None:
            if at.record.fields[settings.field].kind != "integer":
                at.wrong("add", "no_number", f"{settings.field} is no whole number to add to")
            return
        if isinstance(settings.value, str) and "{" in settings.value:
            at.template("value", settings.value)
            return
        try:
            at.about.resource.changes.model_validate({settings.field: settings.value})
        except ValidationError as error:
            for wrong in error.errors(include_url=False, include_input=False):
                at.wrong("value", wrong["type"], wrong["msg"])

    def do(self, here: Here, settings: SetSettings) -> Did:
        """Change it."""
        resource = here.about.resource
        value: Any = settings.value
        record = here.record
        # Its lock is had by the first try, so that nobody is in between at the second.
        for attempt in (1, 2):
            if settings.add is not None:
                value = (record[settings.field] or 0) + settings.add
            elif isinstance(value, str) and "{" in value:
                value = templates.render(value, "value", here.fields())
            try:
                changes = resource.changes.model_validate({settings.field: value})
            except ValidationError as error:
                said = error.errors(include_url=False, include_input=False)[0]["msg"]
                raise InvalidInput.field(settings.field, "value", said) from None
            try:
                resource.rules.change(here.session, here.record_id, record["version"], changes)
            except StaleVersion:
                if attempt == 2:
                    raise
                found = listing.read(here.session, here.about.kind, here.record_id)
                assert found is not None
                record = json.loads(found[0])
            else:
                break
        # The log outlives the one whom it is about.
        is_personal = here.about.kind.fields[settings.field].personal
        return Went("done", settings.field if is_personal else f"{settings.field}: {value}"[:500])


# --- people ---------------------------------------------------------------------------------------


class NotifySettings(Closed):
    """Which user, and what they are told: in Liquid, with the record's fields."""

    to: Literal["owner", "manager"] | UUID
    subject: Line
    text: Body


FLOW_NOTICE = NotificationKind(
    "flow_notice",
    Label(en="What a flow tells", fr="Ce qu'annonce un parcours"),
    subject=Label(en="{{ subject }}", fr="{{ subject }}"),
    text=Label(en="{{ text }}", fr="{{ text }}"),
    fields=("subject", "text"),
)
"""What a service with flows adds to its kinds of notification: the words are the tenant's."""


class Notify(Kind):
    """A user is told something: the record's owner, their manager, or a certain one.

    It is a notification, which they have mailed if they want that; who may not see the record gets
    none.
    """

    name = "notify"
    settings = NotifySettings
    may_undo = True

    def ways(self, settings: NotifySettings) -> Sequence[str]:
        """It is on its way, or there is nobody to tell."""
        return ("sent", "nobody")

    def check(self, at: Checking, settings: NotifySettings) -> None:
        """There are such users, and the texts can be filled in."""
        at.template("subject", settings.subject)
        at.template("text", settings.text)
        if settings.to in ("owner", "manager") and at.record.owner is None:
            said = f"{at.record.name} belong to nobody: name a user by their id"
            at.wrong("to", "no_owner", said)
        elif settings.to == "manager" and "manager_id" not in at.flows.users.table.c:
            said = "Managers are not known here: name the owner, or a user by their id"
            at.wrong("to", "no_managers", said)

    def do(self, here: Here, settings: NotifySettings) -> Did:
        """Hand it over."""
        user = _user(here, settings.to)
        if user is None:
            return Went("nobody")
        fields = here.fields()
        said = {name: templates.render(getattr(settings, name), name, fields) for name in _SAID}
        notify(here.session, FLOW_NOTICE, [user], said, about=_about(here))
        return Went("sent")


_SAID = ("subject", "text")


class MessageSettings(Closed):
    """What the one gets whom the record is about: a template of the tenant's, or a text."""

    purpose: Code
    template: Code | None = None
    subject: Line | None = None
    text: Body | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "MessageSettings":
        if (self.template is None) == (self.subject is None or self.text is None):
            raise ValueError("name a template, or give a subject and a text: one of the two")
        return self


SENT, FAILED = "message_sent", "message_failed"
ANSWERED_WITHIN = dt.timedelta(days=7)
"""A message whose end nobody tells by then counts as refused."""


class Message(Kind):
    """The one whom the record is about gets a message, if connect sends it."""

    name = "message"
    settings = MessageSettings

    def ways(self, settings: MessageSettings) -> Sequence[str]:
        """Connect has sent it, or has not; or there is nobody to get it."""
        return ("sent", "refused")

    def needs(self, about: FlowRecord, settings: MessageSettings) -> Sequence[str]:
        """To send messages."""
        return ("messages:write",)

    def check(self, at: Checking, settings: MessageSettings) -> None:
        """There is somebody to write to, and the texts can be filled in."""
        if at.about.reaches is None:
            said = f"Nobody is written to about {at.record.name}: notify a user instead"
            at.wrong("kind", "nobody", said)
        for name in ("subject", "text"):
            source = getattr(settings, name)
            if source is not None:
                at.template(name, source)

    def do(self, here: Here, settings: MessageSettings) -> Did:
        """Hand it over, and wait for what becomes of it."""
        assert here.about.reaches is not None
        to = here.about.reaches(here.session, here.record)
        if to is None:
            return Went("refused", "no address")
        content = None
        if settings.template is None:
            content = _content(here, str(settings.subject), str(settings.text))
        _hand_over(here, to, settings.purpose, content, settings.template)
        answers = [(SENT, str(here.key)), (FAILED, str(here.key))]
        return Waits(here.now + ANSWERED_WITHIN, answers, here.begun_at)

    def woken(self, here: Here, settings: MessageSettings, happened: str | None) -> Went:
        """What has become of it."""
        return Went("sent" if happened == SENT else "refused")


def _hand_over(
    here: Here, to: Recipient, purpose: str, content: Content | None, template: str | None = None
) -> None:
    intent = MessageIntent(
        id=here.key,
        to=to,
        purpose=purpose,
        content=content,
        template=template,
        fields=here.fields() if template is not None else {},
        about=_about(here),
    )
    send_message(here.session, intent)


def _about(here: Here) -> About:
    owner = here.about.kind.owner
    return About(
        record=here.about.kind.name,
        id=here.record_id,
        owner_id=None if owner is None else here.record[owner.key],
    )


def _content(here: Here, subject: str, text: str) -> Content:
    fields = here.fields()
    line = " ".join(templates.render(subject, "subject", fields).split())
    return Content(subject=line[:900], text=templates.render(text, "text", fields))


def _user(here: Here, to: str | UUID) -> UUID | None:
    """Who is to be told, if they are known here and have not been removed."""
    users = here.flows.users.table
    found = to if isinstance(to, UUID) else None
    if found is None:
        owner = here.about.kind.owner
        theirs = None if owner is None else here.record[owner.key]
        found = None if theirs is None else UUID(theirs)
        if to == "manager" and found is not None:
            found = here.session.scalar(select(users.c.manager_id).where(users.c.id == found))
    if found is None:
        return None
    return here.session.scalar(select(users.c.id).where(users.c.id == found, ~users.c.removed))


# --- the end --------------------------------------------------------------------------------------


class ExitSettings(Closed):
    """What has become of the run."""

    outcome: Code = "done"


class ExitStep(Kind):
    """The run ends."""

    name = "exit"
    settings = ExitSettings
    goes_on = False
    writes = False

    def ways(self, settings: ExitSettings) -> Sequence[str]:
        """None."""
        return ()

    def do(self, here: Here, settings: ExitSettings) -> Did:
        """End it."""
        return Ends(settings.outcome)


# --- starts ---------------------------------------------------------------------------------------


class EventSettings(Closed):
    """Which event about the record, and how the record has to be by then."""

    event: Code
    where: Tree | None = None


class EventStart(StartKind):
    """Something has happened with a record."""

    name = "event"
    settings = EventSettings

    def listens_to(self, settings: EventSettings) -> str:
        """The event."""
        return settings.event

    def check(self, at: Checking, settings: EventSettings) -> None:
        """It is heard here, and the condition is about the record."""
        at.event("event", settings.event)
        if settings.where is not None:
            at.condition("where", settings.where)


class ByHand(StartKind):
    """Somebody starts it, on records of their choice."""

    name = "by_hand"


KINDS: tuple[Kind, ...] = (
    Wait(),
    WaitUntil(),
    Branch(),
    Split(),
    Set(),
    Notify(),
    Message(),
    ExitStep(),
)
"""The kinds of step that every service has."""

STARTS: tuple[StartKind, ...] = (EventStart(), ByHand())
"""The kinds of start that every service has."""
