"""`liaison modules`: which modules Liaison waits for, for who operates it."""

from typing import Annotated

import typer

from liaison_cli import screen
from liaison_cli.client import segment
from liaison_cli.signin import connect

app = typer.Typer(help="The modules that are asked about persons: retire.", no_args_is_help=True)


@app.callback()
def modules() -> None:
    """The modules that are asked about persons."""


@app.command()
def retire(
    name: Annotated[str, typer.Argument(help="Which one: connect, sales.")],
) -> None:
    """Wait for a module no more: it was taken out for good, and its data with it.

    Merges, erasures and questions of access that waited for it go on. The audit trail keeps who
    did this. A module that runs again says so, and is asked again.
    """
    with connect() as client:
        client.post(f"/modules/{segment(name)}/retire")
    screen.say(f"{name} is retired: nobody waits for it any more.")
