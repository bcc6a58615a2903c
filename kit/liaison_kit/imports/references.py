"""References: cells of a file that name other records."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from sqlalchemy.orm import Session

SEVERAL: Final = "several"
"""What a name resolves to that several records bear: nobody guesses which of them is meant."""


class Reference(Protocol):
    """How a service finds the records that a file names; `create` is there if it may make them."""

    def resolve(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """The id (or stored value) of each value that names a record; the others are left out.

        Of one that names several it is `SEVERAL`.
        """

    def names(self, session: Session, near: Sequence[str]) -> Sequence[str]:
        """Names of records that the unknown values may have meant; some thousands at most."""

    def create(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """New records of these names, by name; raises `CannotCreate` where that makes no sense."""


class CannotCreate(Exception):
    """This reference can't be made from a name alone."""


def one_each(named: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The id of each name, of pairs of the two; `SEVERAL` of a name that has more than one."""
    found: dict[str, str] = {}
    for name, id in named:
        found[name] = id if found.get(name, id) == id else SEVERAL
    return found
