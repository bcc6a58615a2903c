"""`liaison jobs`: long work that goes on inside Liaison, and following it to its end."""

import time
from typing import Annotated, Any

import typer

from liaison_cli import screen
from liaison_cli.client import Client, segment
from liaison_cli.signin import connect

ENDED = ("done", "failed", "cancelled")
SHOWN = 50
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0


def jobs(
    follow_id: Annotated[
        str | None, typer.Option("--follow", metavar="ID", help="Wait for this job to end.")
    ] = None,
    cancel_id: Annotated[
        str | None, typer.Option("--cancel", metavar="ID", help="Ask this job to stop.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many to list.")] = SHOWN,
) -> None:
    """List jobs, latest first; follow one, or cancel one.

    `--follow` exits with 1 when the job failed or was cancelled.
    """
    with connect() as client:
        if cancel_id:
            job = client.post(f"/jobs/{segment(cancel_id)}/cancel")
            ended = job["status"] in ENDED
            screen.say(
                f"{job['title']}: {'cancelled' if ended else 'stops after its present step'}"
            )
        if follow_id:
            job = follow(client, follow_id)
            screen.say(told(job))
            if job["status"] != "done":
                raise typer.Exit(1)
        if not follow_id and not cancel_id:
            found = client.get("/jobs", limit=limit)
            screen.table(
                ("id", "what", "status", "done", "started", "ended"),
                [_row(job) for job in found["items"]],
                right=("done",),
            )


def follow(client: Client, id: str, what: str | None = None) -> dict[str, Any]:
    """Wait for a job to end, with a bar where there is a terminal; returns it as it ended."""
    pause = FIRST_PAUSE_S
    path = f"/jobs/{segment(id)}"
    job: dict[str, Any] = client.get(path)
    try:
        with screen.progress(what or job["title"], total=job.get("total")) as bar:
            while job["status"] not in ENDED:
                bar.at(job["done"], job.get("total"))
                time.sleep(pause)
                pause = min(LONGEST_PAUSE_S, pause * 1.3)
                job = client.get(path)
    except KeyboardInterrupt:
        screen.note(
            f"It goes on without you. To see how far it is: liaison jobs --follow {id}\n"
            f"To stop it: liaison jobs --cancel {id}"
        )
        raise
    return job


def told(job: dict[str, Any]) -> str:
    """How a job ended, in one line."""
    why = f": {job['error']}" if job.get("error") else ""
    return f"{job['title']}: {job['status']}{why}"


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    done = screen.number(job["done"])
    if job.get("total") is not None:
        done = f"{done} of {screen.number(job['total'])}"
    status = f"{job['status']}: {job['error']}" if job.get("error") else job["status"]
    started, ended = screen.when(job["started_at"]), screen.when(job["ended_at"])
    return (job["id"], job["title"], status, done, started, ended)
