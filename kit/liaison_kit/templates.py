"""Templates: text with fields, in Liquid, as tenants and services write it.

    check(source, "subject")
    render(source, "subject", {"name": "Ada"})

A template sees the fields that it is given and nothing else: it reads no attribute of an object,
and no other template. A field that it names and is not given is an error. How often it loops, how
much it keeps and how much it makes is limited. Every error names its path and line.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from typing import Any, ClassVar

from liquid import BoundTemplate, Environment, StrictUndefined
from liquid.exceptions import LiquidError, LiquidTypeError

from liaison_sdk.errors import FieldError, InvalidInput

LONGEST = 1 << 20
"""Bytes that a template may make, in the end or on the way."""
MOST_TURNS = 10_000
"""Turns of all loops together, one within another counted by their product."""


class BadTemplate(InvalidInput):
    """A template that can't be read, or can't be filled in with the fields that are given."""

    code, title = "bad_template", "This template can't be used"


class _Liquid(Environment):
    loop_iteration_limit: ClassVar[int | None] = MOST_TURNS
    local_namespace_limit: ClassVar[int | None] = 1 << 16
    output_stream_limit: ClassVar[int | None] = LONGEST

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        for tag in ("include", "render"):
            del self.tags[tag]
        # What a person wrote is never markup, whatever a template says of it.
        del self.filters["safe"]
        for name, size in _GROWING.items():
            self.filters[name] = _bounded(self.filters[name], size)


def check(source: str, path: str, *, html: bool = False) -> None:
    """Raise `BadTemplate` unless this can be read; what it is filled in with, `render` looks at."""
    try:
        _read(source, html)
    except (LiquidError, RecursionError) as error:
        raise _named(error, path) from None


def render(source: str, path: str, fields: Mapping[str, Any], *, html: bool = False) -> str:
    """The template filled in; in HTML the fields are text, whatever they contain."""
    try:
        return str(_read(source, html).render(**fields))
    except (LiquidError, RecursionError) as error:
        raise _named(error, path) from None


def names(source: str, path: str) -> list[str]:
    """What the template names of the fields that it is given, as in `deal.owner.name`."""
    try:
        return list(_read(source, False).global_variable_paths())
    except (LiquidError, RecursionError) as error:
        raise _named(error, path) from None


@lru_cache(maxsize=500)
def _read(source: str, html: bool) -> BoundTemplate:
    return (_HTML if html else _TEXT).from_string(source)


def _named(error: Exception, path: str) -> BadTemplate:
    said, line = "It is nested too deeply", None
    if isinstance(error, LiquidError):
        said = str(error.message or type(error).__name__)
        place = error.context()
        line = None if place is None else place[0]
    message = said if line is None else f"line {line}: {said}"
    return BadTemplate(f"{path}: {message}", [FieldError(path, "bad_template", message)])


def _after_replacing(text: Any, old: Any = "", new: Any = "") -> int:
    return len(str(text)) + (str(text).count(str(old)) * len(str(new)))


def _after_joining(items: Any, between: Any = " ") -> int:
    return len(items) * len(str(between)) if isinstance(items, list | tuple) else 0


_GROWING: dict[str, Callable[..., int]] = {"replace": _after_replacing, "join": _after_joining}
"""Filters whose result may be as long as two of their arguments multiplied."""


def _bounded(made: Callable[..., Any], size: Callable[..., int]) -> Callable[..., Any]:
    """A filter that refuses to make more than may be: a limit on what comes out comes too late."""

    @wraps(made)
    def bounded(*given: Any, **named: Any) -> Any:
        if size(*given) > LONGEST:
            raise LiquidTypeError("the result would be too long", token=None)
        return made(*given, **named)

    return bounded


_TEXT = _Liquid(undefined=StrictUndefined)
_HTML = _Liquid(undefined=StrictUndefined, autoescape=True)
