"""What goes wrong at a terminal, told as people want to read it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class Told(Exception):
    """Something that ends the command with a clear text and an exit code; never a traceback."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """An error of the API (RFC 9457): what is wrong, field by field."""

    status: int
    title: str
    detail: str
    code: str
    errors: tuple[tuple[str, str], ...]
    trace_id: str | None
    current: Any = None

    @classmethod
    def of(cls, status: int, body: bytes) -> "Problem":
        """Read the answer; what is no problem document still says its status."""
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if not isinstance(found, Mapping):
            found = {}
        errors = found.get("errors")
        named = [e for e in errors if isinstance(e, Mapping)] if isinstance(errors, list) else []
        return cls(
            status=status,
            title=str(found.get("title") or f"Liaison answered {status}"),
            detail=str(found.get("detail") or ""),
            code=str(found.get("code") or ""),
            errors=tuple((str(e.get("path") or ""), str(e.get("message") or "")) for e in named),
            trace_id=str(found["trace_id"]) if found.get("trace_id") else None,
            current=found.get("current"),
        )

    def __str__(self) -> str:
        lines = [self.title]
        told = {message for _, message in self.errors}
        if self.detail and self.detail != self.title and self.detail not in told:
            lines.append(f"  {self.detail}")
        lines += [
            f"  {path}: {message}" if path else f"  {message}" for path, message in self.errors
        ]
        if self.status >= 500 and self.trace_id:
            # Who runs the server finds the request in the logs and traces by this.
            lines.append(f"  trace {self.trace_id}")
        return "\n".join(lines)


class Refused(Told):
    """Liaison answered, and said no."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class NotThere(Told):
    """Nobody answers at the address."""

    def __init__(self, url: str, why: str = "") -> None:
        super().__init__(
            f"Liaison does not answer at {url}{f' ({why})' if why else ''}.\n"
            "  Start it with `make run` (or `liaison run`), or name another address with"
            " LIAISON_URL."
        )


class SignInFirst(Told):
    """There is no token to come with."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"You are not signed in at {url}.\n"
            "  Sign in with `liaison sign-in`, or set LIAISON_TOKEN to an API token."
        )
