"""What all pages look alike by: one head, one stylesheet, a title and what is below it.

The gateway shows its own errors by it too, so this knows neither the bus nor a database.
"""

from collections.abc import Sequence
from html import escape
from importlib.resources import files

STYLESHEET = "/p/page.css"
"""Where the gateway serves the stylesheet of every page."""

LANGUAGES = ("en", "fr")

_PAGE = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<link rel="stylesheet" href="{stylesheet}">
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


def page(title: str, body: str, language: str) -> bytes:
    """A whole page; `title` is text and `body` is HTML."""
    return _PAGE.format(
        language=language, title=escape(title), body=body, stylesheet=STYLESHEET
    ).encode()


def stylesheet() -> bytes:
    """The stylesheet."""
    return files("liaison_kit.pages").joinpath("page.css").read_bytes()


def language_of(accepted: str, asked: str | None = None) -> str:
    """The language to show: what the link asks for, else the reader (RFC 9110, 12.5.4)."""
    if asked in LANGUAGES:
        return asked
    wished = sorted(_wishes(accepted), key=lambda wish: -wish[1])
    return next((name for name, weight in wished if name in LANGUAGES and weight > 0), "en")


def _wishes(accepted: str) -> Sequence[tuple[str, float]]:
    found = []
    for part in accepted[:1000].split(","):
        tag, _, weight = part.partition(";")
        try:
            heavy = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            heavy = 0.0
        found.append((tag.strip().lower().partition("-")[0], heavy))
    return found
