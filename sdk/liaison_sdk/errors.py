"""Named errors: what can go wrong, as every service and every client of Liaison names it.

Each error maps to one HTTP status and to an `application/problem+json` body (RFC 9457). Raise the
most specific one; a service may subclass them to name what went wrong in its own field's words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One bad field: where it is (`emails.0.address`), a stable code, and a sentence for people."""

    path: str
    code: str
    message: str


class LiaisonError(Exception):
    """Something went wrong that has a name.

    `detail` is a sentence for the caller; `errors` lists every bad field at once.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(self, detail: str = "", errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.errors = list(errors)

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 body, without the trace id that the wire adds."""
        body: dict[str, Any] = {
            "type": f"urn:liaison:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
        }
        if self.detail:
            body["detail"] = self.detail
        if self.errors:
            body["errors"] = [
                {"path": e.path, "code": e.code, "message": e.message} for e in self.errors
            ]
        return body


class BadRequest(LiaisonError):
    """The request can't be read at all: malformed JSON, a broken header."""

    status, code, title = 400, "bad_request", "The request can't be read"


class Unauthenticated(LiaisonError):
    """Nobody is signed in, or the token is not valid any more."""

    status, code, title = 401, "unauthenticated", "Sign in first"


class Forbidden(LiaisonError):
    """The caller's role does not allow this."""

    status, code, title = 403, "forbidden", "Your role does not allow this"


class NotFound(LiaisonError):
    """No such record, or none that the caller may know of."""

    status, code, title = 404, "not_found", "There is no such record"


class Conflict(LiaisonError):
    """The change clashes with what is there already."""

    status, code, title = 409, "conflict", "This clashes with what is there already"


class StaleVersion(LiaisonError):
    """Somebody changed the record since the caller read it; `current` is what it is now."""

    status, code, title = 412, "stale_version", "The record has changed since you read it"

    def __init__(self, detail: str = "", current: bytes | None = None) -> None:
        super().__init__(detail)
        self.current = current


class TooLarge(LiaisonError):
    """The body or the file is over the limit."""

    status, code, title = 413, "too_large", "This is too large"


class InvalidInput(LiaisonError):
    """The request is readable but some fields are wrong; `errors` names every one."""

    status, code, title = 422, "invalid_input", "Some fields need another look"

    @classmethod
    def field(cls, path: str, code: str, message: str) -> "InvalidInput":
        """One bad field is all that is wrong."""
        return cls(message, [FieldError(path, code, message)])


class PreconditionRequired(LiaisonError):
    """An update must say which version it changes (`If-Match`)."""

    status, code, title = 428, "precondition_required", "Say which version you are changing"


class TooMany(LiaisonError):
    """The caller is over its rate; try again later."""

    status, code, title = 429, "too_many_requests", "Too many requests"


class Unavailable(LiaisonError):
    """A module that is needed does not answer."""

    status, code, title = 503, "unavailable", "A module does not answer right now"


class TookTooLong(LiaisonError):
    """The work was stopped at its time limit; nothing of it was kept."""

    status, code, title = 504, "took_too_long", "This took too long and was stopped"
