"""Values that a field is compared with, from the text that somebody gave."""

import datetime as dt
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from liaison_kit.records.recordtype import FieldInfo
from liaison_kit.zones import moment
from liaison_sdk.errors import InvalidInput

ME = "me"
"""Whoever asks, where a user is asked for."""

TEXT_LENGTH = 200
"""The longest text that records are filtered or searched by."""


def convert(info: FieldInfo, path: str, raw: str) -> Any:
    """A text as a value that PostgreSQL can compare with the field."""
    try:
        match info.kind:
            case "integer":
                number = int(raw)
                if not -(2**63) <= number < 2**63:
                    raise ValueError
                return number
            case "decimal" | "money":
                amount = Decimal(raw)
                if not amount.is_finite() or abs(amount) >= Decimal(10) ** 30:
                    raise ValueError
                return amount
            case "date":
                return dt.date.fromisoformat(raw)
            case "datetime":
                moment = dt.datetime.fromisoformat(raw)
                if moment.tzinfo is None:
                    return moment.replace(tzinfo=dt.UTC)
                # PostgreSQL knows no zone that is further off than sixteen hours.
                return moment.astimezone(dt.UTC)
            case "boolean":
                return boolean(path, raw)
            case "id":
                return str(UUID(raw))
    except (ValueError, OverflowError, InvalidOperation):
        raise InvalidInput.field(
            path, f"{info.kind}_parsing", f"{raw[:80]!r} is not a valid {info.kind}"
        ) from None
    raw = info.renamed.get(raw, raw)
    if info.choices and raw not in info.choices:
        raise InvalidInput.field(path, "choice", f"{path} is one of {', '.join(info.choices)}")
    return raw


def day_of(raw: str) -> dt.date | None:
    """The day that a text names; none if it is a moment, or nothing of the kind."""
    try:
        return dt.date.fromisoformat(raw)
    except ValueError:
        return None


def span(path: str, day: dt.date, there: ZoneInfo) -> tuple[dt.datetime, dt.datetime]:
    """When a day begins there, and when the next one does."""
    try:
        return moment(day, dt.time.min, there), moment(day + _DAY, dt.time.min, there)
    except OverflowError:
        raise InvalidInput.field(
            path, "datetime_parsing", f"{day.isoformat()!r} is not a valid datetime"
        ) from None


_DAY = dt.timedelta(days=1)


def boolean(path: str, raw: str) -> bool:
    """`true` or `false`, however it is spelt."""
    if raw.lower() in ("true", "false"):
        return raw.lower() == "true"
    raise InvalidInput.field(path, "boolean", f"{path} is true or false")
