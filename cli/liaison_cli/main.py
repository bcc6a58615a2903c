"""The `liaison` command: what a person at a terminal, a script or an operator does with Liaison."""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from liaison_cli import flows, modules, parked, screen
from liaison_cli.calling import api
from liaison_cli.client import checked_url
from liaison_cli.demo.command import demo
from liaison_cli.errors import SignInFirst, Told
from liaison_cli.importing import import_file, imports
from liaison_cli.jobs import jobs
from liaison_cli.resend import resend
from liaison_cli.signin import (
    Credentials,
    Kept,
    connect,
    credentials,
    default_url,
    sign_in,
)
from liaison_cli.summary import summary

INTERRUPTED = 130


class Polite(TyperGroup):
    """Commands whose failures are a clear text on standard error, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Told as told:
            if str(told):
                screen.note(str(told), style="red" if screen.err().is_terminal else "")
            raise typer.Exit(told.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of the output, as in `| head`, has seen enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None


app = typer.Typer(
    cls=Polite,
    name="liaison",
    no_args_is_help=True,
    # Its decorated tracebacks would show local variables, and with them tokens.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Liaison, an open-source CRM. LIAISON_URL says where it is (default http://127.0.0.1:8080).",
)


@app.command("sign-in")
def sign_in_command(
    url: Annotated[str | None, typer.Option(help="Where Liaison is.")] = None,
    email: Annotated[str | None, typer.Option(envvar="LIAISON_EMAIL", help="Your e-mail.")] = None,
    password: Annotated[
        str | None,
        typer.Option(envvar="LIAISON_PASSWORD", help="Asked for when it is not given."),
    ] = None,
) -> None:
    """Sign in and keep the token in your own settings folder.

    Without an e-mail it is the administrator of the Liaison that `make run` started here.
    """
    url = checked_url(url) if url else default_url()
    who = credentials(url) if email is None and password is None else None
    if who is None:
        if email is None or password is None:
            if not screen.is_terminal():
                raise SignInFirst(url)
            email = email or typer.prompt("E-mail", err=True)
            password = password or typer.prompt("Password", hide_input=True, err=True)
        who = Credentials(email, password)
    user = sign_in(url, who)["user"]
    screen.say(f"Signed in at {url} as {user['name']} ({user['email']}).")


@app.command("sign-out")
def sign_out_command() -> None:
    """End your session and forget its token."""
    url = default_url()
    token = Kept().token(url)
    if token is not None:
        with connect(url) as client:
            client.post("/sign-out")
        Kept().forget(url)
    screen.say(f"Signed out at {url}." if token else f"You were not signed in at {url}.")


@app.command()
def whoami() -> None:
    """Show who you are to Liaison, and what you may do."""
    with connect() as client:
        me = client.get("/me")
    user = me["user"]
    screen.say(f"{user['name']} ({user['email']})", style="bold")
    allowed = (
        "everything" if "*" in me["permissions"] else ", ".join(me["permissions"]) or "nothing"
    )
    rows = ", ".join(f"{record}: {rule}" for record, rule in me.get("rows", {}).items())
    facts = {
        "organisation": me["tenant"]["name"],
        "team": user.get("team"),
        "region": user.get("region"),
        "may": allowed,
        "only rows": rows,
        "address": client.url,
    }
    for name, value in facts.items():
        if value:
            screen.say(f"  {name:<12}  {value}")


app.command("import")(import_file)
app.command()(imports)
app.command()(jobs)
app.add_typer(parked.app, name="parked")
app.add_typer(flows.app, name="flows")
app.command()(resend)
app.add_typer(modules.app, name="modules")
app.command()(summary)
app.command()(api)
app.command()(demo)


@app.command()
def run(
    migrate_only: Annotated[
        bool, typer.Option(help="Bring the databases to this version, start nothing.")
    ] = False,
) -> None:
    """Start Liaison on this machine: database, broker, all services, the gateway; as `make run`."""
    _become("liaison_kit.run", *(["--migrate-only"] if migrate_only else []))


@app.command()
def serve(
    service: Annotated[
        str, typer.Argument(help="Which one: connect, contacts, identity, sales, gateway.")
    ],
    roles: Annotated[
        str | None, typer.Option(help="Parts to play, as in rpc,events (default: all).")
    ] = None,
) -> None:
    """Run one service, in the foreground, against the database and broker of the environment."""
    if service == "gateway":
        _become("liaison_gateway")
    _become("liaison_kit.serve", service, *(["--roles", roles] if roles else []))


def _become(module: str, *arguments: str) -> None:
    # In this very process, so that signals reach it; and from the start, because a service has to
    # be patched for eventlet before anything else is imported.
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
