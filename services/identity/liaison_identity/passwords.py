"""Passwords: hashed with argon2id, away from the event loop, in the same time for everybody."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import SecretStr

from liaison_kit.process.native import natively

# What OWASP recommends: 19 MiB, so that sixteen sign-ins at once still fit a small machine.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def hashed(password: SecretStr) -> str:
    """What is kept of a password."""
    return natively(lambda: _hasher.hash(password.get_secret_value()))


def right(kept: str | None, password: SecretStr) -> bool:
    """Whether this is the password; takes as long when there is none to compare with."""
    return natively(lambda: _right(kept, password.get_secret_value()))


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
