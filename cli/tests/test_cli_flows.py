"""Flows and their runs, for who operates Liaison."""

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

Liaison = Callable[..., Result]

FLOW = {"id": "f1", "key": "welcome", "record": "contacts", "version": 2, "active": 1, "name": "Hi"}
RUN: dict[str, Any] = {
    "id": "r1",
    "record_id": "c1",
    "state": "failed",
    "step": "hello",
    "since": "2026-01-02T03:04:05.678+00:00",
    "wakes_at": None,
    "error": "The template is gone",
    "outcome": None,
}


def listed(*items: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return 200, {"items": list(items), "next": None}


def test_runs_that_have_failed_are_shown_with_their_flow_and_error(
    signed_in: Any, liaison: Liaison
) -> None:
    signed_in.answers("GET", "/flows", listed(FLOW))
    signed_in.answers("GET", "/flows/f1/runs", listed(RUN))

    done = liaison("flows", "runs")

    assert done.exit_code == 0, done.output
    assert signed_in.asked("GET", "/flows/f1/runs")[0].query["state"] == "failed"
    last = done.stdout.splitlines()[-1]
    assert last.split()[:4] == ["r1", "welcome", "c1", "hello"]
    assert last.endswith("The template is gone")


def test_all_failed_runs_of_a_flow_are_retried(signed_in: Any, liaison: Liaison) -> None:
    signed_in.answers("GET", "/flows", listed(FLOW, FLOW | {"id": "f2", "key": "other"}))
    signed_in.answers("GET", "/flows/f1/runs", listed(RUN, RUN | {"id": "r2"}))
    for id in ("r1", "r2"):
        signed_in.answers("POST", f"/runs/{id}/retry", (200, RUN))

    done = liaison("flows", "retry", "--flow", "welcome")

    assert done.exit_code == 0, done.output
    assert done.stdout == "Retried 2 runs.\n"


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("end", "Ended 1 run."),
        ("cancel", "Cancelling 1 run."),
        ("skip", "Skipped a step of 1 run."),
    ],
)
def test_a_run_is_dealt_with(signed_in: Any, liaison: Liaison, verb: str, said: str) -> None:
    signed_in.answers("POST", f"/runs/r1/{verb}", (200, RUN))

    done = liaison("flows", verb, "r1")

    assert done.exit_code == 0, done.output
    assert done.stdout == f"{said}\n"


def test_a_runs_log_is_shown(signed_in: Any, liaison: Liaison) -> None:
    line = {"number": 1, "step": "hello", "at": RUN["since"], "left_at": None, "way": None}
    signed_in.answers(
        "GET", "/runs/r1", (200, RUN | {"log": [line | {"said": "waits", "undoes": None}]})
    )

    done = liaison("flows", "show", "r1")

    assert done.stdout.splitlines()[-1] == "It is failed at hello. The template is gone"


def test_which_runs_has_to_be_said_and_a_flow_has_to_be_there(
    signed_in: Any, liaison: Liaison
) -> None:
    nothing = liaison("flows", "retry")
    signed_in.answers("GET", "/flows", listed())
    nobody = liaison("flows", "runs", "--flow", "nobody")

    assert (nothing.exit_code, nobody.exit_code) == (2, 2)
    assert "no flow nobody" in nobody.output
