"""`liaison flows`: where runs of flows stand, for who operates Liaison, and dealing with them."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from liaison_cli import screen
from liaison_cli.client import Client, segment
from liaison_cli.errors import Told
from liaison_cli.signin import connect

app = typer.Typer(
    help="Flows and their runs: see which have failed, retry, skip, end or cancel them.",
    no_args_is_help=True,
)

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids as `flows runs` shows them.")]
Key = Annotated[str | None, typer.Option("--flow", help="Only those of the flow of this key.")]


class State(StrEnum):
    """How a run stands."""

    ACTIVE = "active"
    FAILED = "failed"
    ENDED = "ended"


@app.command("list")
def list_() -> None:
    """List flows: about what, and which version is active."""
    with connect() as client:
        found = list(client.pages("/flows"))
    if not found:
        screen.say("There are no flows.")
        return
    screen.table(
        ("key", "about", "version", "active", "name"),
        [(f["key"], f["record"], f["version"], f["active"], f["name"]) for f in found],
        right=("version", "active"),
    )


@app.command()
def runs(
    flow: Key = None,
    state: Annotated[State, typer.Option(help="How they stand.")] = State.FAILED,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many of each flow.")] = 50,
) -> None:
    """List runs that have failed, or stand otherwise, latest first."""
    with connect() as client:
        rows = [
            _row(one["key"], run)
            for one in _flows(client, flow)
            for run in client.get(f"/flows/{segment(one['id'])}/runs", state=state, limit=limit)[
                "items"
            ]
        ]
    if not rows:
        screen.say(f"No run is {state}.")
        return
    screen.table(("id", "flow", "record", "step", "since", "goes on", "error or outcome"), rows)


@app.command()
def show(id: Annotated[str, typer.Argument(metavar="ID", help="The run.")]) -> None:
    """Show a run's log: the steps that it came to, and what is to be said of them."""
    with connect() as client:
        run = client.get(f"/runs/{segment(id)}")
    screen.table(
        ("number", "step", "came", "left", "by", "said"),
        [
            (
                line["number"],
                line["step"] if line["undoes"] is None else f"{line['step']} (undone)",
                screen.when(line["at"]),
                screen.when(line["left_at"]),
                line["way"],
                line["said"],
            )
            for line in run["log"]
        ],
        right=("number",),
    )
    screen.say(f"It is {run['state']} at {run['step']}. {run['error'] or run['outcome'] or ''}")


@app.command()
def retry(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="Ids as `flows runs` shows them.")
    ] = None,
    flow: Annotated[
        str | None, typer.Option("--flow", help="All failed ones of the flow of this key.")
    ] = None,
) -> None:
    """Have runs do the step again at which they failed: these, or all failed ones of a flow."""
    if bool(ids) == bool(flow):
        raise Told("Name the runs by their ids, or use --flow KEY.")
    with connect() as client:
        chosen = ids or []
        for one in _flows(client, flow) if flow else ():
            # Listed to the end first: what fails again would come again.
            path = f"/flows/{segment(one['id'])}/runs"
            chosen = [run["id"] for run in client.pages(path, state="failed")]
        _each(client, chosen, "retry", "Retried")


@app.command()
def skip(
    ids: Ids,
    way: Annotated[
        str | None, typer.Option(help="By which way they go on, where there are several.")
    ] = None,
) -> None:
    """Have runs go on as if the step where they stand were done."""
    with connect() as client:
        _each(client, ids, "skip", "Skipped a step of", {"way": way})


@app.command()
def end(ids: Ids) -> None:
    """Have runs end where they stand."""
    with connect() as client:
        _each(client, ids, "end", "Ended")


@app.command()
def cancel(ids: Ids) -> None:
    """Have runs undo what they did, the last first, and end."""
    with connect() as client:
        _each(client, ids, "cancel", "Cancelling")


def _each(
    client: Client, ids: list[str], verb: str, past: str, body: dict[str, Any] | None = None
) -> None:
    for id in ids:
        client.post(f"/runs/{segment(id)}/{verb}", body)
    screen.say(f"{past} {len(ids)} run{'' if len(ids) == 1 else 's'}.")


def _flows(client: Client, key: str | None) -> list[dict[str, Any]]:
    """The flow of a key, or all."""
    found = [one for one in client.pages("/flows") if key in (None, one["key"])]
    if key is not None and not found:
        raise Told(f"There is no flow {key}; `liaison flows list` shows those there are.")
    return found


def _row(key: str, run: dict[str, Any]) -> tuple[Any, ...]:
    return (
        run["id"],
        key,
        run["record_id"],
        run["step"],
        screen.when(run["since"]),
        screen.when(run["wakes_at"]),
        run["error"] or run["outcome"],
    )
