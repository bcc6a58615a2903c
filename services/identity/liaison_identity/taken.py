"""Clashes that the database finds, named for people."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy.exc import IntegrityError

from liaison_kit.records.recordtype import RecordType
from liaison_sdk.errors import Conflict, FieldError, InvalidInput


@contextmanager
def named(kind: RecordType, unique: Mapping[str, str]) -> Iterator[None]:
    """Around a write; `unique` names the field of each unique index that may clash."""
    try:
        yield
    except IntegrityError as error:
        constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None) or ""
        if constraint in unique:
            field = unique[constraint]
            raise Conflict(
                f"Another of the {kind.name} has this {field}",
                [FieldError(field, "taken", f"This {field} is taken")],
            ) from None
        if constraint.startswith("fk_"):
            # It was there a moment ago, when the reference was checked.
            path = constraint.removeprefix(f"fk_{kind.name}_")
            raise InvalidInput.field(
                path, "unknown_reference", f"{path} names no record of yours"
            ) from None
        raise
