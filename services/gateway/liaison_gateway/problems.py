"""Problems: the errors that only a door can meet, and how every error is written to the client."""

import json
from collections.abc import Mapping
from typing import ClassVar

from liaison_sdk.errors import LiaisonError, TooMany, Unauthenticated, Unavailable

PROBLEM_JSON = b"application/problem+json"
_NO_HEADERS: Mapping[str, str] = {}


class SignInFirst(Unauthenticated):
    """No valid token came with the request."""

    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer realm="liaison"'}


class MethodNotAllowed(LiaisonError):
    """The path is there, for other methods."""

    status, code, title = 405, "method_not_allowed", "This method is not allowed here"

    def __init__(self, allow: str) -> None:
        super().__init__(f"This address answers {allow}.")
        self.headers = {"Allow": allow}


class UrlTooLong(LiaisonError):
    """The address is longer than any that Liaison has."""

    status, code, title = 414, "url_too_long", "The address is too long"

    def __init__(self, allowed: int) -> None:
        super().__init__(f"An address with its query may have {allowed} bytes.")


class HeadTooLarge(LiaisonError):
    """The request's first line and headers are more than any request needs."""

    status, code, title = 431, "head_too_large", "The request's head is too large"

    def __init__(self, allowed: int) -> None:
        super().__init__(f"A request's first line and headers may have {allowed} bytes together.")


class RequestTimeout(LiaisonError):
    """The request did not arrive in time."""

    status, code, title = 408, "request_timeout", "The request took too long to arrive"


class UnsupportedMediaType(LiaisonError):
    """The body is of a kind that the operation does not read."""

    status, code, title = 415, "unsupported_media_type", "This kind of content is not read here"


class TooManyUploads(TooMany):
    """The caller has as many uploads under way as they may have at once."""

    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}

    def __init__(self, allowed: int) -> None:
        super().__init__(f"You may send {allowed} files at once; wait until one of them is done.")


class OverRate(TooMany):
    """The caller is over its rate; `retry_after_s` is when the next request is let in."""

    def __init__(self, detail: str, *, limit_per_minute: int, retry_after_s: float) -> None:
        super().__init__(detail)
        seconds = max(1, int(retry_after_s + 0.999))
        self.headers = {
            "Retry-After": str(seconds),
            "RateLimit-Policy": f'"token";q={limit_per_minute};w=60',
            "RateLimit": f'"token";r=0;t={seconds}',
        }


class ModuleDown(Unavailable):
    """A module does not answer; the problem carries its name as `service`."""

    def __init__(self, detail: str, service: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.service = service
        self.headers = {"Retry-After": str(retry_after_s)}


class ModuleBusy(ModuleDown):
    """More is asked of a module than it can answer in time."""

    code, title = "busy", "This is busy; ask again in a moment"

    def __init__(self, service: str, retry_after_s: float) -> None:
        seconds = min(30, max(1, int(retry_after_s + 0.999)))
        super().__init__(f"The module {service} is busy.", service, seconds)


class NotReady(ModuleDown):
    """The gateway does not know yet which modules there are."""

    def __init__(self) -> None:
        super().__init__("Liaison is starting; ask again in a moment.")


class Gone(Exception):
    """The client closed its connection; there is nobody left to answer."""


def headers_of(error: LiaisonError) -> Mapping[str, str]:
    """The extra response headers of an error."""
    found: Mapping[str, str] = getattr(error, "headers", _NO_HEADERS)
    return found


def body_of(error: LiaisonError, trace_id: str) -> bytes:
    """The problem document of an error; all members are always there."""
    document = {"detail": error.title, "errors": []} | error.problem() | {"trace_id": trace_id}
    service = getattr(error, "service", None)
    if service is not None:
        document["service"] = service
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
