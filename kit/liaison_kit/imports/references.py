"""References: cells of a file that name other records."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from sqlalchemy.orm import Session


class Reference(Protocol):
    """How a service finds the records that a file names; `create` is there if it may make them."""

    def resolve(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """The id (or stored value) of each value that names a record; the others are left out."""

    def names(self, session: Session, near: Sequence[str]) -> Sequence[str]:
        """Names of records that the unknown values may have meant; some thousands at most."""

    def create(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """New records of these names, by name; raises `CannotCreate` where that makes no sense."""


class CannotCreate(Exception):
    """This reference can't be made from a name alone."""
