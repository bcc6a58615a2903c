"""How problems look to a person: clear, each bad field on a line, never a traceback."""

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from liaison_cli import screen

Liaison = Callable[..., Result]


def test_each_bad_field_is_on_a_line_of_its_own(signed_in: Any, liaison: Liaison) -> None:
    refusal = {
        "title": "The input is not valid",
        "detail": "2 fields need another look",
        "errors": [
            {"path": "emails.0.address", "code": "email", "message": "It has no @"},
            {"path": "stage", "code": "choice", "message": "No such stage"},
        ],
        "trace_id": "abc",
    }
    signed_in.answers("POST", "/contacts", (422, refusal))

    done = liaison("api", "POST", "/contacts", "--data", "{}")

    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        "The input is not valid",
        "  2 fields need another look",
        "  emails.0.address: It has no @",
        "  stage: No such stage",
    ]


def test_a_failure_on_the_other_side_names_its_trace(signed_in: Any, liaison: Liaison) -> None:
    signed_in.answers("GET", "/contacts", (500, {"title": "It broke", "trace_id": "abc"}))

    done = liaison("api", "GET", "/contacts")

    assert done.stderr.splitlines() == ["It broke", "  trace abc"]


def test_an_answer_that_is_no_problem_document_is_told_by_its_status(
    signed_in: Any, liaison: Liaison
) -> None:
    signed_in.answers("GET", "/contacts", (502, b"<html>Bad gateway"))

    done = liaison("api", "GET", "/contacts")

    assert done.exit_code == 2
    assert done.stderr.strip() == "Liaison answered 502"


def test_a_server_that_is_not_there_is_told_with_what_to_do(
    liaison: Liaison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIAISON_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("LIAISON_TOKEN", "t")

    done = liaison("jobs")

    assert done.exit_code == 2
    assert "does not answer at http://127.0.0.1:1" in done.stderr
    assert "make run" in done.stderr
    assert "Traceback" not in done.output


def test_what_is_no_address_is_told(liaison: Liaison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIAISON_URL", "localhost")

    done = liaison("jobs")

    assert done.exit_code == 2
    assert "localhost is no address" in done.stderr


def test_a_busy_server_is_asked_again_when_it_says(signed_in: Any, liaison: Liaison) -> None:
    busy = (429, {"title": "Too many"}, {"Retry-After": "0"})
    signed_in.answers("POST", "/contacts", busy, (201, {"id": "1"}))

    done = liaison("api", "POST", "/contacts", "--data", "{}")

    assert done.exit_code == 0, done.output
    first, second = signed_in.asked("POST", "/contacts")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


def test_characters_that_a_terminal_would_obey_are_not_printed() -> None:
    assert screen.plain("a\x1b[31mb\x9b0m\r\x07") == "a\ufffd[31mb\ufffd0m\ufffd\ufffd"
    assert screen.plain("Zoé\nKœchlin 東") == "Zoé\nKœchlin 東"
