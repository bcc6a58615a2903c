"""Every hook that a plugin may answer, one section per service.

A plugin is a module or object whose functions carry `@hook` and the name of a hook below; it is
installed as an entry point of the group `liaison`. `<service>_<verb>_<noun>` asks a question. A
hook does no I/O and answers within half a second; `None` means "no opinion". An answer that is not
what the hook declares is dropped, and counted as the plugin's failure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import pluggy
from pydantic import Field, StringConstraints

from liaison_sdk.types import WITHOUT_NUL

_spec = pluggy.HookspecMarker("liaison")
hook = pluggy.HookimplMarker("liaison")
"""Marks a plugin's function as the answer to the hook of the same name."""


Reason = Annotated[str, StringConstraints(max_length=1000, pattern=WITHOUT_NUL)]
"""Why a plugin thinks so, for a reader."""


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
