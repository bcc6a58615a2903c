"""Visits: pages that services show to whoever has a link, and the forms on them.

A visitor is nobody: cookies and tokens are not looked at, so there is nothing that another site
could have a browser do in somebody's name. What they send, the address included, which often holds
the secret that lets them in, travels sealed to the service. Errors are pages, too.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from liaison_gateway.auth import check_form
from liaison_gateway.bus import RawHeaders
from liaison_gateway.incoming import Incoming, decode_segment, read_query
from liaison_gateway.limits import read_body
from liaison_gateway.problems import UnsupportedMediaType
from liaison_gateway.routes import Route
from liaison_kit.pages.layout import language_of, page
from liaison_sdk.errors import BadRequest

PAGES_PREFIX = "/p/"
FORM_BYTES_ALLOWED = 16 * 1024
FIELDS_ALLOWED = 50
_FORM = b"application/x-www-form-urlencoded"

PAGE_HEADERS: RawHeaders = [
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self';"
        b" base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-opener-policy", b"same-origin"),
]

_TITLES = {
    400: ("This request can't be read", "Cette demande est illisible"),
    403: ("This came from another site", "Cette demande vient d'un autre site"),
    404: ("There is nothing here", "Il n'y a rien ici"),
    405: ("This is not done here", "Cela ne se fait pas ici"),
    413: ("This is too large", "C'est trop volumineux"),
    429: ("Too many requests", "Trop de demandes"),
    503: ("This is not available now", "Indisponible pour le moment"),
}
_OTHERWISE = ("Something went wrong", "Une erreur est survenue")
_NOTES = {
    404: (
        "The link may be incomplete or too old.",
        "Le lien est peut-être incomplet ou trop ancien.",
    ),
    429: ("Please try again in some minutes.", "Réessayez dans quelques minutes."),
    503: ("Please try again in a moment.", "Réessayez dans un instant."),
}
_NO_NOTE = (
    "Go back, and try once more.",
    "Revenez en arrière, puis réessayez.",
)


async def sealed_body(
    incoming: Incoming, route: Route, values: list[str], query: bytes, receive: Any, time_s: float
) -> bytes:
    """All that a visitor sends, for the service to read."""
    said: dict[str, Any] = {
        "path": {
            name: decode_segment(value, name)
            for name, value in zip(route.params, values, strict=True)
        },
        "query": read_query(query) if query else [],
        "form": [],
    }
    asked = next((value for name, value in said["query"] if name == "lang"), None)
    said["language"] = _language(incoming.headers, asked)
    if route.method == "POST":
        check_form(incoming.headers)
        said["form"] = await _form(incoming.headers, receive, time_s)
        incoming.restart_clock()
    return json.dumps(said).encode()


async def _form(
    headers: Mapping[bytes, bytes], receive: Any, time_s: float
) -> list[tuple[str, str]]:
    """The fields of a form, in order."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != _FORM:
        raise UnsupportedMediaType("Send the form as application/x-www-form-urlencoded.")
    raw = await read_body(receive, headers, FORM_BYTES_ALLOWED, time_s)
    try:
        fields = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=FIELDS_ALLOWED,
        )
    except ValueError:
        raise BadRequest("This is no form, or one with too many fields.") from None
    if any("\0" in part for field in fields for part in field):
        raise BadRequest("A field has a NUL character.")
    return fields


def error_page(status: int, headers: Mapping[bytes, bytes]) -> bytes:
    """What a visitor sees when something went wrong."""
    language = _language(headers, None)
    chosen = 1 if language == "fr" else 0
    title = _TITLES.get(status, _OTHERWISE)[chosen]
    note = _NOTES.get(status, _NO_NOTE)[chosen]
    return page(title, f"<p>{note}</p>", language)


def _language(headers: Mapping[bytes, bytes], asked: str | None) -> str:
    return language_of(headers.get(b"accept-language", b"").decode("latin-1"), asked)
