"""Which permissions there are: those of the modules that run, and of all that are shipped.

Identity does not know the modules; the gateway does, and says with the question which permissions
they have announced. The shipped ones count whether their module runs or not, so that roles can be
made before it does.
"""

from collections.abc import Iterable
from difflib import get_close_matches

from liaison_identity.grants import ACCOUNT, EVERYTHING
from liaison_identity.standard_roles import (
    CATALOGUE,
    FIGURES,
    FURTHER,
    MARKETING,
    MERGING,
    PEOPLE,
    SELLING,
    STAFF,
    SUPPORT,
    both,
    export,
    read,
)
from liaison_sdk.errors import FieldError, InvalidInput

SHIPPED = frozenset(
    {
        EVERYTHING,
        *ACCOUNT,
        *both(*PEOPLE, *FURTHER, *SELLING, *CATALOGUE, *MARKETING, *SUPPORT, *FIGURES, *STAFF),
        *both("roles", "tenant", "jobs", "imports", "custom_fields", "privacy", "flows"),
        *MERGING,
        *export(*PEOPLE, *FURTHER, "opportunities", *CATALOGUE),
        *read("history", "audit"),
        "views:share",
        "views:write",
        "operations:manage",
    }
)


class UnknownPermission(InvalidInput):
    """A permission, or a kind of record, that no module has: mostly a slip of the pen."""

    code, title = "unknown_permission", "There is no such permission"


def check(names: Iterable[str], rows: Iterable[str], announced: Iterable[str]) -> None:
    """Every permission and every kind of record must be one that there is."""
    known = SHIPPED | set(announced)
    records = {name.partition(":")[0] for name in known} - {EVERYTHING}
    errors = [
        FieldError("permissions", "unknown_permission", _said("permission", name, known))
        for name in names
        if name not in known
    ] + [
        FieldError(f"rows.{name}", "unknown_record", _said("kind of record", name, records))
        for name in rows
        if name not in records
    ]
    if errors:
        raise UnknownPermission(errors[0].message, errors)


def _said(what: str, name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.0)
    return f"There is no {what} {name}; the nearest is {near[0]}"
