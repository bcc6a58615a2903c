"""Passwords: hashed with argon2id, away from the event loop, in the same time for everybody.

A hash takes a core for a while and 19 MiB. So few are worked out at once, in two lanes: strangers
who crowd one don't keep those out who come from where they usually do.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import SecretStr

from liaison_kit.process.native import natively
from liaison_sdk.errors import Unavailable

T = TypeVar("T")

# What OWASP recommends.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class TooManyAtOnce(Unavailable):
    """So many passwords are being looked at that one more would only wait."""

    code, title = "too_many_at_once", "Too many people are signing in at this moment"


class Lane:
    """One hash at a time, and a few that wait for their turn; who comes beyond that is told."""

    def __init__(self, waiting: int) -> None:
        self._places = threading.BoundedSemaphore(1 + waiting)
        self._turn = threading.BoundedSemaphore(1)

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the lane, or `TooManyAtOnce`."""
        if not self._places.acquire(blocking=False):
            raise TooManyAtOnce("Try again in some seconds")
        try:
            yield
        finally:
            self._places.release()

    def work(self, work: Callable[[], T]) -> T:
        """Do the work when it is its turn."""
        with self._turn:
            return natively(work)


# Together they leave some of a process's workers to those who are signed in.
USUAL, STRANGE = Lane(waiting=6), Lane(waiting=4)


def hashed(password: SecretStr, lane: Lane = USUAL) -> str:
    """What is kept of a password."""
    with lane.place():
        return lane.work(lambda: _hasher.hash(password.get_secret_value()))


def right(kept: str | None, password: SecretStr, lane: Lane = USUAL) -> bool:
    """Whether this is the password; takes as long when there is none to compare with.

    For those who have a place in the lane.
    """
    return lane.work(lambda: _right(kept, password.get_secret_value()))


def outdated(kept: str) -> bool:
    """Whether the hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(kept)


def _right(kept: str | None, password: str) -> bool:
    try:
        _hasher.verify(kept or _nobodys(), password)
    except (VerificationError, InvalidHashError):
        return False
    return kept is not None


@cache
def _nobodys() -> str:
    return _hasher.hash("the password of nobody")
