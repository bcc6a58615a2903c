"""Every hook that a plugin may answer, one section per service.

A plugin is a module or object whose functions carry `@hook` and the name of a hook below; it is
installed as an entry point of the group `liaison`. `<service>_<verb>_<noun>` is a question of one
service, a hook without a service's name is asked by each. A hook does no I/O and answers within
half a second; `None` means "no opinion". An answer that is not what the hook declares is dropped,
and counted as the plugin's failure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

import pluggy
from pydantic import Field, StringConstraints

from liaison_sdk.types import WITHOUT_NUL, Code, Name

_spec = pluggy.HookspecMarker("liaison")
hook = pluggy.HookimplMarker("liaison")
"""Marks a plugin's function as the answer to the hook of the same name."""


Reason = Annotated[str, StringConstraints(max_length=1000, pattern=WITHOUT_NUL)]
"""Why a plugin thinks so, for a reader."""


# --- what any service's screens may be given ---------------------------------------------------

Phrase = Name
"""A few words on a screen."""

FieldKind = Literal["text", "number", "date", "boolean", "choice"]
Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Said:
    """What people read, in each language that Liaison speaks; none may be left out."""

    en: Phrase
    fr: Phrase


@dataclass(frozen=True, slots=True)
class AddedField:
    """A field that records of a kind get: kept with them under `custom`, as a tenant's own are.

    Its name begins with the plugin's and an underscore, so that no two fields have one name. A
    `choice` has choices.
    """

    record: Code
    name: Code
    label: Said
    kind: FieldKind
    section: Said | None = None
    choices: tuple[Phrase, ...] = ()
    personal: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Something that is shown beside a record; what it shows is asked for when it is opened."""

    record: Code
    name: Code
    label: Said
    icon: Code


@dataclass(frozen=True, slots=True)
class FormField:
    """What is asked of whoever starts an action."""

    name: Code
    label: Said
    kind: FieldKind
    required: bool = True
    choices: tuple[Phrase, ...] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """Something that can be done with a record, once its form is filled in where it has one."""

    record: Code
    name: Code
    label: Said
    icon: Code
    form: tuple[FormField, ...] = ()


@dataclass(frozen=True, slots=True)
class Additions:
    """All that a plugin adds to the screens of a service."""

    fields: tuple[AddedField, ...] = ()
    panels: tuple[Panel, ...] = ()
    actions: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordFacts:
    """A record as the person who looks at it sees it: its kind, and its fields as the API has them.

    Its added fields are in `values["custom"]`.
    """

    record: str
    id: UUID
    values: Mapping[str, object]


Link = Annotated[str, StringConstraints(max_length=1000, pattern=r"^https://[^\s\x00]+$")]
Tone = Literal["gray", "blue", "violet", "orange", "green", "red", "yellow"]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a panel: what it is called and its value, with a link where there is more."""

    label: Said
    value: Reason
    tone: Tone = "gray"
    link: Link | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a panel shows: lines, and a sentence where there is something to say."""

    rows: tuple[Row, ...] = ()
    note: Said | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What an action changes of its record: fields of the plugin's own, by their names."""

    fields: Mapping[Code, Value]


@dataclass(frozen=True, slots=True)
class Refused:
    """Why an action is not done: what is wrong with which field of its form."""

    errors: Mapping[Code, Said]


@_spec
def screen_additions(service: str) -> Additions | None:
    """What do the screens of this service's records get: fields, panels, actions? Asked once."""


@_spec
def draw_panel(panel: str, record: RecordFacts) -> Drawn | None:
    """What does a panel of this plugin show beside this record?"""


@_spec
def do_action(action: str, record: RecordFacts, form: Mapping[str, Value]) -> Done | Refused | None:
    """What does an action of this plugin change of this record?"""


# --- contacts ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PersonFacts:
    """What is known of a person when two are compared."""

    id: UUID | None
    first_name: str
    last_name: str
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    company: str | None = None


Likeness = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class Match:
    """How alike two people are: `score` from 0 to 1 (the same), and why, for a reader."""

    score: Likeness
    reason: Reason


@_spec
def contacts_score_match(new: PersonFacts, existing: PersonFacts) -> Match | None:
    """How alike are a person who is being created and one who exists?"""


# --- sales -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RepFacts:
    """A sales rep who could own an opportunity; `open_opportunities` is how many they have open."""

    id: UUID
    name: str
    region: str | None
    open_opportunities: int


@dataclass(frozen=True, slots=True)
class OpportunityFacts:
    """What is known of an opportunity that has no owner yet."""

    name: str
    amount: str | None
    currency: str | None
    region: str | None
    custom: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class OwnerSuggestion:
    """Who should own an opportunity, and why, for a reader."""

    user_id: UUID
    reason: Reason


@_spec
def sales_suggest_owner(
    opportunity: OpportunityFacts, reps: Sequence[RepFacts]
) -> OwnerSuggestion | None:
    """Who should own this new opportunity?"""
