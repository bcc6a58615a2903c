"""Incoming requests: what the gateway reads of one, checked, and how it is told to a service."""

import json
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any
from urllib.parse import unquote, unquote_plus

from liaison_gateway.problems import UrlTooLong
from liaison_sdk.errors import BadRequest, FieldError

URL_BYTES_ALLOWED = 16 * 1024
ADDRESS_BYTES_ALLOWED = 48 * 1024
"""What the path's and the query's values may become on the way to a service, where JSON's escapes
count: a frame of the broker holds 128 KiB."""

QUERY_PARAMETERS_ALLOWED = 200
SHORTEST_TIMEOUT_S = 0.1
"""What a caller gets who asks for less: nothing could be answered in no time at all."""
LONGEST_SHOWN = 200
"""How much of what came is repeated in a sentence about it."""

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_VERSION = re.compile(rb'"?(\d{1,18})"?')
_IDEMPOTENCY_KEY = re.compile(rb"[\x21-\x7e]{1,255}")

Query = list[tuple[str, str]]


class Incoming:
    """One request on its way to a service."""

    __slots__ = (
        "ask_again",
        "deadline",
        "headers",
        "idempotency_key",
        "if_match",
        "notification_kinds",
        "path",
        "permissions",
        "principal",
        "query",
        "source",
        "timeout_s",
        "traceparent",
    )

    def __init__(self, headers: dict[bytes, bytes], traceparent: str, timeout_s: float) -> None:
        self.headers = headers
        self.traceparent = traceparent
        self.timeout_s = timeout_s
        self.path: list[tuple[str, str]] = []
        self.query: Query = []
        self.if_match: int | None = None
        self.idempotency_key: str | None = None
        self.principal = "null"
        self.ask_again: Callable[[], Awaitable[str]] | None = None
        """Gives the caller's principal as it is now; None as long as that is not needed."""
        self.source: str | None = None
        """The address that it came from, where nobody is signed in whom one could name instead, and
        where identity counts who tries passwords."""
        self.permissions: Sequence[str] = ()
        """What modules have announced that roles and tokens may allow, for identity to know."""
        self.notification_kinds: Sequence[str] = ()
        """What they have announced that they tell people, for identity to know."""
        if b"liaison-timeout" in headers:
            self.timeout_s = timeout_of(headers, timeout_s)
        self.deadline = time.time() + self.timeout_s

    @property
    def trace_id(self) -> str:
        """The id that problems and logs name."""
        return self.traceparent[3:35]

    def read_preconditions(self) -> None:
        """Take `If-Match` and `Idempotency-Key`, or raise `BadRequest`."""
        version = self.headers.get(b"if-match")
        if version is not None:
            match = _VERSION.fullmatch(version)
            if match is None:
                raise _bad("If-Match", "invalid_version", 'If-Match is the version, as in "3".')
            self.if_match = int(match[1])
        key = self.headers.get(b"idempotency-key")
        if key is not None:
            if _IDEMPOTENCY_KEY.fullmatch(key) is None:
                raise _bad(
                    "Idempotency-Key",
                    "invalid_key",
                    "An Idempotency-Key has 1 to 255 printable ASCII characters and no spaces.",
                )
            self.idempotency_key = key.decode("ascii")

    def head(self, *, query: Query | None = None, upload: dict[str, Any] | None = None) -> bytes:
        """The `liaison` header of a call. Built by hand: it is made for every request."""
        query = self.query if query is None else query
        path = ",".join([f"{quoted(name)}:{quoted(value)}" for name, value in self.path])
        asked = json.dumps(query) if query else "[]"
        if len(path) + len(asked) > ADDRESS_BYTES_ALLOWED:
            raise UrlTooLong(URL_BYTES_ALLOWED)
        text = (
            f'{{"path":{{{path}}},"query":{asked},'
            f'"principal":{self.principal},"traceparent":"{self.traceparent}",'
            f'"deadline":{self.deadline:.3f}'
        )
        if self.if_match is not None:
            text += f',"if_match":{self.if_match}'
        if self.idempotency_key is not None:
            text += f',"idempotency_key":{quoted(self.idempotency_key)}'
        if self.source is not None:
            text += f',"source":{quoted(self.source)}'
        if self.permissions:
            text += f',"permissions":{json.dumps(self.permissions)}'
        if self.notification_kinds:
            text += f',"notification_kinds":{json.dumps(self.notification_kinds)}'
        if upload is not None:
            text += f',"upload":{json.dumps(upload)}'
        return (text + "}").encode()

    def time_left(self) -> float:
        """Seconds until the deadline; small but never nothing, so that a call can still fail."""
        return max(0.001, self.deadline - time.time())

    def restart_clock(self) -> None:
        """Give the next step a whole deadline: a long upload must not eat the answer's time."""
        self.deadline = time.time() + self.timeout_s

    async def next_step(self) -> None:
        """Begin a step of long work: with a whole deadline, and as who the caller is now."""
        if self.ask_again is not None:
            self.principal = await self.ask_again()
        self.restart_clock()

    def parameter(self, name: str) -> str | None:
        """The last value of a query parameter."""
        return next((v for n, v in reversed(self.query) if n == name), None)


def traceparent(headers: dict[bytes, bytes]) -> str:
    """The caller's W3C trace context, or a new one, not sampled."""
    given = headers.get(b"traceparent")
    if given is not None and _TRACEPARENT.fullmatch(given) is not None:
        return given.decode("ascii")
    return f"00-{random.getrandbits(128) | 1:032x}-{random.getrandbits(64) | 1:016x}-00"


def decode_segment(raw: str, name: str) -> str:
    """A path segment's text; `name` is how a problem calls it."""
    if _BAD_ESCAPE.search(raw):
        raise _bad(name, "invalid_encoding", f"{name} has a broken percent-encoding.")
    try:
        text = unquote(raw, errors="strict")
    except UnicodeDecodeError:
        raise _bad(name, "invalid_encoding", f"{name} is not UTF-8.") from None
    if "\0" in text:
        raise _bad(name, "nul_character", f"{name} has a NUL character.")
    return text


def read_query(raw: bytes) -> Query:
    """The query's parameters in order; what cannot be decoded is named, all of it at once."""
    found: Query = []
    errors: list[FieldError] = []
    if raw.count(b"&") > QUERY_PARAMETERS_ALLOWED:
        raise BadRequest(f"A query may have {QUERY_PARAMETERS_ALLOWED} parameters.")
    for piece in raw.split(b"&"):
        if not piece:
            continue
        raw_name, _, raw_value = piece.partition(b"=")
        name, problem = _decode_parameter(raw_name)
        if problem is None:
            value, problem = _decode_parameter(raw_value)
            found.append((name, value))
        if problem is not None:
            shown = name.replace("\0", "\N{REPLACEMENT CHARACTER}")
            errors.append(FieldError(shown, problem, _SAID[problem]))
    if errors:
        shown = errors[0].path[:LONGEST_SHOWN]
        raise BadRequest(f"The query parameter {shown} cannot be read.", errors)
    return found


_SAID = {
    "invalid_encoding": "It is not percent-encoded UTF-8.",
    "nul_character": "It has a NUL character.",
}


def _decode_parameter(raw: bytes) -> tuple[str, str | None]:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return raw.decode(errors="replace"), "invalid_encoding"
    if "%" in text or "+" in text:
        broken = _BAD_ESCAPE.search(text) is not None
        try:
            text = unquote_plus(text, errors="strict")
        except UnicodeDecodeError:
            return unquote_plus(text), "invalid_encoding"
        if broken:
            return text, "invalid_encoding"
    if "\0" in text:
        return text, "nul_character"
    return text, None


def timeout_of(headers: Mapping[bytes, bytes], most: float) -> float:
    """How long the caller is willing to wait, within bounds."""
    given = headers.get(b"liaison-timeout")
    if given is None:
        return most
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 86_400:
        raise _bad("Liaison-Timeout", "invalid_timeout", "Liaison-Timeout is a number of seconds.")
    return min(max(seconds, SHORTEST_TIMEOUT_S), most)


def _bad(path: str, code: str, message: str) -> BadRequest:
    return BadRequest(message, [FieldError(path, code, message)])
