"""`liaison parked`: events and timers that a handler has given up on, for who operates Liaison."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from liaison_cli import screen
from liaison_cli.client import segment
from liaison_cli.errors import Told
from liaison_cli.signin import connect

app = typer.Typer(
    help="Events and timers that a handler has given up on: list, replay, discard.",
    no_args_is_help=True,
)

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids as `parked list` shows them.")]
SomeIds = Annotated[
    list[str] | None, typer.Argument(metavar="[ID...]", help="Ids as `parked list` shows them.")
]
Handler = Annotated[
    str | None, typer.Option(help="Only those of this handler, as in contacts.on_deal_won.")
]


class State(StrEnum):
    """Where an event is that a handler has failed on."""

    PARKED = "parked"
    RETRYING = "retrying"
    WAITING = "waiting"


@app.command("list")
def list_(
    handler: Handler = None,
    state: Annotated[
        State, typer.Option(help="Those given up on, being retried, or waiting behind such.")
    ] = State.PARKED,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many to list.")] = 50,
) -> None:
    """List parked events, or those that are being retried or wait, latest first."""
    with connect() as client:
        found = client.get("/parked-events", limit=limit, handler=handler, state=state)["items"]
    if not found:
        screen.say(f"Nothing is {state}.")
        return
    screen.table(
        ("id", "handler", "event", "tries", "behind it", "last failed", "error"),
        [_row(event) for event in found],
        right=("tries", "behind it"),
    )


@app.command()
def replay(
    ids: SomeIds = None,
    handler: Handler = None,
    everything: Annotated[bool, typer.Option("--all", help="All parked events.")] = False,
) -> None:
    """Put parked events through their handler again: these, those of a handler, or all."""
    _each(ids or [], handler, everything, "replay", "Replayed")


@app.command()
def discard(ids: Ids) -> None:
    """Give parked events up for good: their handler will not see them again."""
    _each(ids, None, False, "discard", "Discarded")


def _each(ids: list[str], handler: str | None, everything: bool, verb: str, past: str) -> None:
    if bool(ids) + bool(handler) + everything != 1:
        raise Told("Name the events by their ids, or use --handler NAME, or --all.")
    with connect() as client:
        if not ids:
            # Listed to the end first: what fails again is parked again, and would come again.
            ids = [event["id"] for event in client.pages("/parked-events", handler=handler)]
            # Oldest first, so that the order in which things happened is kept.
            ids.reverse()
        for id in ids:
            client.post(f"/parked-events/{segment(id)}/{verb}")
    screen.say(f"{past} {len(ids)} event{'' if len(ids) == 1 else 's'}.")


def _row(event: dict[str, Any]) -> tuple[Any, ...]:
    return (
        event["id"],
        event["handler"],
        f"{event['type']} {event['key']}",
        event["attempts"],
        event.get("waiting", ""),
        screen.when(event["last_failed_at"]),
        (event.get("error") or "").strip().rpartition("\n")[2],
    )
