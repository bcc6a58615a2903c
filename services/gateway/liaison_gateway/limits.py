"""Limits: how much a request may bring, and how long it may take to bring it."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from liaison_gateway.problems import Gone, RequestTimeout
from liaison_sdk.errors import TooLarge

HEAD_BYTES_ALLOWED = 64 * 1024
HEAD_TOO_LARGE = "liaison.head_too_large"
"""In the scope of a request whose head was over that."""

SLOWEST_UPLOAD = 16 * 1024
"""Bytes per second that a file must come at, on the whole, after a first grace."""


def check_length(headers: Mapping[bytes, bytes], limit: int) -> None:
    """Refuse a body that says it is too large, before any of it is read."""
    length = headers.get(b"content-length")
    if length is not None and int(length) > limit:
        raise TooLarge(f"The body may have {limit} bytes.")


async def read_body(
    receive: Any, headers: Mapping[bytes, bytes], limit: int, timeout_s: float
) -> bytes:
    """The whole body, never holding more than the limit; a chunked one may lie about nothing."""
    check_length(headers, limit)
    try:
        async with asyncio.timeout(timeout_s):
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
        raise RequestTimeout(f"The body did not arrive within {timeout_s:g} s.") from None


async def chunks(receive: Any, grace_s: float) -> AsyncIterator[bytes]:
    """A large body as it comes in, from a client that keeps up a least speed.

    Only the time in which it is waited for counts, so that a slow service costs the client nothing.
    """
    waited = 0.0
    received = 0
    while True:
        left = grace_s + received / SLOWEST_UPLOAD - waited
        started = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(left, grace_s))):
                message = await receive()
        except TimeoutError:
            raise RequestTimeout(
                f"A file must come at {SLOWEST_UPLOAD // 1024} KiB a second, after the first"
                f" {grace_s:g} s."
            ) from None
        waited += time.monotonic() - started
        if message["type"] != "http.request":
            raise Gone
        chunk: bytes = message.get("body", b"")
        received += len(chunk)
        yield chunk
        if not message.get("more_body"):
            return
