"""`liaison resend`: a module tells the others again what they keep of its records."""

from typing import Annotated

import typer

from liaison_cli import screen
from liaison_cli.client import segment
from liaison_cli.jobs import follow, told
from liaison_cli.signin import connect


def resend(
    module: Annotated[str, typer.Argument(help="Which one: contacts, identity, sales.")],
) -> None:
    """Have a module tell the others again what they keep of its records.

    After a module was installed late, or restored from a backup, those that it listens to tell it
    what it has missed. Exits with 1 when not everything was told.
    """
    with connect() as client:
        started = client.post(f"/modules/{segment(module)}/resend")
        job = follow(client, started["job"])
    screen.say(f"{told(job)}; {screen.number(job['done'])} records told")
    if job["status"] != "done":
        raise typer.Exit(1)
