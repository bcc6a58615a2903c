"""Cursors: where a page ended, in a form that only the list that gave it takes back."""

import hmac
import json
from collections.abc import Sequence
from typing import Any

from liaison_kit import base64url
from liaison_kit.settings import settings

_SEAL_BYTES = 16


class ForeignCursor(ValueError):
    """The cursor was not given by this list."""


def written(of: Any, position: Sequence[str | None]) -> str:
    """The cursor of a place in a list; `of` is all that makes the list another one."""
    told = json.dumps(position).encode()
    return base64url.write(_seal(of, told) + told)


def read(of: Any, cursor: str) -> list[str | None]:
    """The place that a cursor of this list tells; raises `ForeignCursor`.

    Nothing of it is read before it is known to be our own.
    """
    try:
        text = base64url.read(cursor)
    except ValueError:
        raise ForeignCursor from None
    seal, told = text[:_SEAL_BYTES], text[_SEAL_BYTES:]
    if not hmac.compare_digest(seal, _seal(of, told)):
        raise ForeignCursor
    position: list[str | None] = json.loads(told)
    return position


def _seal(of: Any, told: bytes) -> bytes:
    secret = settings().secret_key.get_secret_value().encode()
    text = b"cursor\n" + json.dumps(of, default=str).encode() + b"\n" + told
    return hmac.digest(secret, text, "sha256")[:_SEAL_BYTES]
