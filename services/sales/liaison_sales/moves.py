"""How an opportunity may go from stage to stage: pure rules, no database.

Open ones go anywhere. Entering a won or lost stage closes; a closed one only reopens. Leaving the
first stage engages, if no day of engagement is known. A deal can't end before it was engaged. `now`
is told on the clock of the tenant, whose days these are.
"""

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any, Final
from uuid import UUID

from liaison_sales.pipelines import Step
from liaison_sdk.errors import Conflict, InvalidInput

MOVED: Final = frozenset(
    {"stage_id", "status", "stage_since", "engaged_on", "closed_on", "win_reason", "lost_reason"}
)
"""What a move itself may change."""

_REASONS: Final = {"won": "win_reason", "lost": "lost_reason"}


def opened(given: Mapping[str, Any], step: Step, first: Step, now: dt.datetime) -> dict[str, Any]:
    """What a new opportunity has from the stage that it starts in."""
    closed_on = given["closed_on"]
    if step.kind != "open" and closed_on is None:
        closed_on = now.date()
    _not_ahead("closed_on", closed_on, now)
    engaged_on = given["engaged_on"]
    if engaged_on is None and step.id != first.id:
        engaged_on = closed_on or now.date()
    return {
        "stage_id": UUID(step.id),
        "status": step.kind,
        "stage_since": _moment(closed_on or engaged_on, now),
        "engaged_on": engaged_on,
        "closed_on": closed_on,
    }


def moved(
    deal: Mapping[str, Any],
    step: Step,
    first: Step,
    now: dt.datetime,
    *,
    on: dt.date | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    """What changes when an open opportunity enters a stage on a day."""
    if deal["status"] != "open":
        raise Conflict(f"This opportunity is {deal['status']}; reopen it first")
    _not_ahead("on", on, now)
    day = on or now.date()
    values: dict[str, Any] = {
        "stage_id": UUID(step.id),
        "status": step.kind,
        "stage_since": _moment(on, now),
    }
    if deal["engaged_on"] is None and step.id != first.id:
        values["engaged_on"] = day
    if step.kind != "open":
        engaged_on = deal["engaged_on"]
        if engaged_on is not None and day < engaged_on:
            raise InvalidInput.field(
                "on", "before_engaged", f"A deal engaged on {engaged_on} can't end on {day}"
            )
        values["closed_on"] = day
        if reason is not None:
            values[_REASONS[step.kind]] = reason
    return values


def reopened(deal: Mapping[str, Any], step: Step, now: dt.datetime) -> dict[str, Any]:
    """What changes when a closed opportunity is worked on again."""
    if deal["status"] == "open":
        raise Conflict("This opportunity is open")
    if step.kind != "open":
        raise InvalidInput.field("stage", "not_open", f"{step.name} is no stage to work in")
    return {
        "stage_id": UUID(step.id),
        "status": "open",
        "stage_since": now.astimezone(dt.UTC),
        "closed_on": None,
        "win_reason": None,
        "lost_reason": None,
    }


def check(deal: Mapping[str, Any], sent: Collection[str]) -> None:
    """Whether the fields that were sent suit the deal as it is then; the bad one is named.

    Only those: a file may have brought a won deal without its day, and that must not keep anybody
    from correcting its name.
    """
    status, closed_on, engaged_on = deal["status"], deal["closed_on"], deal["engaged_on"]
    if "closed_on" in sent and status == "open" and closed_on is not None:
        raise InvalidInput.field("closed_on", "open", "An open opportunity has no day of closing")
    if "closed_on" in sent and status != "open" and closed_on is None:
        raise InvalidInput.field("closed_on", "missing", f"A {status} opportunity has one")
    if closed_on is not None and engaged_on is not None and closed_on < engaged_on:
        path = "engaged_on" if "engaged_on" in sent else "closed_on"
        raise InvalidInput.field(
            path, "before_engaged", f"A deal engaged on {engaged_on} can't end on {closed_on}"
        )
    for kind, reason in _REASONS.items():
        if reason in sent and deal[reason] is not None and status != kind:
            raise InvalidInput.field(reason, status, f"This opportunity is {status}, not {kind}")


def _not_ahead(path: str, day: dt.date | None, now: dt.datetime) -> None:
    # East of the tenant's home it is tomorrow already.
    if day is not None and day > now.date() + dt.timedelta(days=1):
        raise InvalidInput.field(path, "in_future", "What has not happened yet has no day")


def _moment(day: dt.date | None, now: dt.datetime) -> dt.datetime:
    if day is None or day >= now.date():
        return now.astimezone(dt.UTC)
    return dt.datetime.combine(day, dt.time(), now.tzinfo).astimezone(dt.UTC)
