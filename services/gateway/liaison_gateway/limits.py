"""Limits: how often a caller may knock, and how much they may bring."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from liaison_gateway.problems import Gone, OverRate, RequestTimeout
from liaison_sdk.errors import TooLarge

KEYS_REMEMBERED = 50_000
BODY_TIMEOUT_S = 30.0


class Buckets:
    """A token bucket per key, as the one time at which it will be full again (GCRA).

    A whole minute's worth may come at once; after that they come at the steady rate.
    `per_minute` 0 lets everything in.
    """

    def __init__(self, per_minute: int, what: str) -> None:
        self._per_minute = per_minute
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._what = what
        self._full_at: dict[bytes | str, float] = {}

    def take(self, key: bytes | str) -> None:
        """Let one request in or raise `OverRate`."""
        if not self._per_minute:
            return
        now = time.monotonic()
        full_at = self._full_at.get(key, 0.0)
        if full_at < now:
            full_at = now
        wait = full_at + self._interval - now - 60.0
        if wait > 1e-9:
            raise OverRate(self._what, limit_per_minute=self._per_minute, retry_after_s=wait)
        if len(self._full_at) >= KEYS_REMEMBERED:
            self._forget(now)
        self._full_at[key] = full_at + self._interval

    def check(self, key: bytes | str) -> None:
        """Raise `OverRate` when nothing is left, without taking anything."""
        if self._per_minute:
            wait = self._full_at.get(key, 0.0) + self._interval - time.monotonic() - 60.0
            if wait > 1e-9:
                raise OverRate(self._what, limit_per_minute=self._per_minute, retry_after_s=wait)

    def _forget(self, now: float) -> None:
        full = [key for key, full_at in self._full_at.items() if full_at <= now]
        # When every caller is busy, the oldest make room: memory stays bounded.
        for key in full or list(self._full_at)[: KEYS_REMEMBERED // 10]:
            del self._full_at[key]


def check_length(headers: Mapping[bytes, bytes], limit: int) -> None:
    """Refuse a body that says it is too large, before any of it is read."""
    length = headers.get(b"content-length")
    if length is not None and int(length) > limit:
        raise TooLarge(f"The body may have {limit} bytes.")


async def read_body(receive: Any, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    """The whole body, never holding more than the limit; a chunked one may lie about nothing."""
    check_length(headers, limit)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            message = await receive()
            if message["type"] != "http.request":
                raise Gone
            body: bytes = message.get("body", b"")
            if len(body) > limit:
                raise TooLarge(f"The body may have {limit} bytes.")
            if not message.get("more_body"):
                return body
            parts = [body]
            size = len(body)
            while message.get("more_body"):
                message = await receive()
                if message["type"] != "http.request":
                    raise Gone
                part = message.get("body", b"")
                size += len(part)
                if size > limit:
                    raise TooLarge(f"The body may have {limit} bytes.")
                parts.append(part)
            return b"".join(parts)
    except TimeoutError:
        raise RequestTimeout(f"The body did not arrive within {BODY_TIMEOUT_S:g} s.") from None
