"""`liaison api`: any call of the HTTP API, as in `liaison api GET '/contacts?q=dupont'`."""

import json
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

import typer

from liaison_cli import screen
from liaison_cli.errors import Told
from liaison_cli.signin import connect

METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")


def api(
    method: Annotated[str, typer.Argument(metavar="METHOD", help=", ".join(METHODS))],
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="As in '/contacts?q=dupont'; /api/v1 is added.")
    ],
    data: Annotated[
        str | None, typer.Option(help="JSON to send: itself, @FILE, or - for standard input.")
    ] = None,
    version: Annotated[
        int | None,
        typer.Option("--version", "--if-match", help="Which version of the record to change."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--idempotency-key", help="Repeating it gets the first answer."),
    ] = None,
) -> None:
    """Call the HTTP API and show what it answers."""
    method = method.upper()
    if method not in METHODS:
        raise Told(f"{method} is no method; it is one of {', '.join(METHODS)}.")
    parts = urlsplit(path)
    if parts.scheme or parts.netloc:
        raise Told("Give the path only, as in /contacts; the address is that of LIAISON_URL.")
    query: dict[str, list[str]] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        query.setdefault(name, []).append(value)
    body = None if data is None else parsed(data)
    with connect() as client:
        answer = client.call(method, parts.path, query=query, body=body, key=key, version=version)
    if not answer.content:
        screen.note(f"{answer.status_code} {answer.reason_phrase}")
    elif "json" in answer.headers.get("Content-Type", ""):
        screen.document(answer.json())
    else:
        sys.stdout.buffer.write(answer.content)


def parsed(data: str) -> object:
    """The JSON that `--data` names."""
    try:
        if data == "-":
            text = sys.stdin.read()
        elif data.startswith("@"):
            text = Path(data[1:]).read_text(encoding="utf-8")
        else:
            text = data
    except (OSError, UnicodeDecodeError) as error:
        raise Told(f"{data[1:]} can't be read: {error}") from None
    try:
        found: object = json.loads(text)
    except ValueError as error:
        raise Told(f"--data is not JSON: {error}") from None
    return found
