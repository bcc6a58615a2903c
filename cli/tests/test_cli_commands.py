"""Jobs, parked events, the summary, and any call of the API."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Liaison = Callable[..., Result]

JOB: dict[str, Any] = {
    "id": "j1",
    "title": "book.csv",
    "status": "done",
    "done": 8800,
    "total": 8800,
    "error": None,
    "started_at": "2026-01-02T03:04:05.678+00:00",
    "ended_at": None,
}


def summary_row(**values: Any) -> dict[str, Any]:
    none: dict[str, Any] = {
        name: [] for name in ("amounts", "open_amounts", "won_amounts", "lost_amounts", "weighted")
    }
    counts = {"count": 0, "open": 0, "won": 0, "lost": 0}
    return {"key": None, "label": None, "win_rate": None, "mean_cycle_days": None} | (
        none | counts | values
    )


def test_jobs_are_a_table_that_a_program_can_read_too(signed_in: Any, liaison: Liaison) -> None:
    signed_in.answers("GET", "/jobs", (200, {"items": [JOB], "next": None}))

    done = liaison("jobs")

    assert done.exit_code == 0, done.output
    last = done.stdout.splitlines()[-1]
    assert last.split() == [
        "j1",
        "book.csv",
        "done",
        "8,800",
        "of",
        "8,800",
        "2026-01-02",
        "03:04:05",
    ]
    assert last == last.rstrip()


@pytest.mark.parametrize(("ends", "code"), [("done", 0), ("failed", 1), ("cancelled", 1)])
def test_following_a_job_ends_as_the_job_does(
    signed_in: Any, liaison: Liaison, ends: str, code: int
) -> None:
    running = JOB | {"status": "running", "done": 1}
    signed_in.answers("GET", "/jobs/j1", (200, running), (200, JOB | {"status": ends}))

    done = liaison("jobs", "--follow", "j1")

    assert done.exit_code == code
    assert f"book.csv: {ends}" in done.stdout


def test_a_job_is_cancelled(signed_in: Any, liaison: Liaison) -> None:
    signed_in.answers("POST", "/jobs/j1/cancel", (200, JOB | {"status": "running"}))

    done = liaison("jobs", "--cancel", "j1")

    assert done.exit_code == 0, done.output
    assert "stops after its present step" in done.stdout


def test_parked_events_of_a_handler_are_replayed_oldest_first(
    signed_in: Any, liaison: Liaison
) -> None:
    events = [{"id": "e2"}, {"id": "e1"}]
    signed_in.answers("GET", "/parked-events", (200, {"items": events, "next": None}))
    for id in ("e1", "e2"):
        signed_in.answers("POST", f"/parked-events/{id}/replay", (200, {"id": id}))

    done = liaison("parked", "replay", "--handler", "contacts.on_deal_won")

    assert done.exit_code == 0, done.output
    assert signed_in.asked("GET", "/parked-events")[0].query["handler"] == "contacts.on_deal_won"
    posts = [request.path.split("/")[-2] for request in signed_in.seen if request.method == "POST"]
    assert posts == ["e1", "e2"]
    assert done.stdout == "Replayed 2 events.\n"


def test_what_to_replay_has_to_be_said(signed_in: Any, liaison: Liaison) -> None:
    done = liaison("parked", "replay")

    assert done.exit_code == 2
    assert signed_in.seen == []


def test_a_parked_event_shows_the_last_line_of_its_error(signed_in: Any, liaison: Liaison) -> None:
    event = {
        "id": "e1",
        "handler": "contacts.on_deal_won",
        "type": "deal_won",
        "key": "k",
        "attempts": 5,
        "last_failed_at": "2026-01-02T03:04:05Z",
        "error": "Traceback\n  File\nValueError: no such company",
    }
    signed_in.answers("GET", "/parked-events", (200, {"items": [event], "next": None}))

    done = liaison("parked", "list")

    assert "ValueError: no such company" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(("ends", "code"), [("done", 0), ("failed", 1), ("cancelled", 1)])
def test_a_resend_is_followed_to_its_end(
    signed_in: Any, liaison: Liaison, ends: str, code: int
) -> None:
    job = JOB | {"title": "Resend contacts", "status": "running", "done": 500, "total": 1200}
    ended = job | {"status": ends, "done": 1200 if ends == "done" else 500}
    signed_in.answers("POST", "/modules/contacts/resend", (202, {"job": "j1"}))
    signed_in.answers("GET", "/jobs/j1", (200, job), (200, ended))

    done = liaison("resend", "contacts")

    assert done.exit_code == code
    assert done.stdout == f"Resend contacts: {ends}; {ended['done']:,} records told\n"


def test_a_module_that_is_not_there_tells_nothing(signed_in: Any, liaison: Liaison) -> None:
    done = liaison("resend", "marketing")

    assert done.exit_code == 2
    assert "There is nothing here" in done.stderr
    assert [request.path for request in signed_in.seen] == ["/api/v1/modules/marketing/resend"]


def test_a_summary_shows_each_currency_and_the_total(signed_in: Any, liaison: Liaison) -> None:
    row = summary_row(
        key="won",
        label="Gagnée",
        count=1200,
        won=1200,
        amounts=[
            {"amount": "1234567.80", "currency": "EUR"},
            {"amount": "5.00", "currency": "GBP"},
        ],
        win_rate="0.6315",
        mean_cycle_days="47.99",
    )
    answer = {"by": "stage", "rows": [row], "total": summary_row(count=1200)}
    signed_in.answers("GET", "/sales/summary", (200, answer))

    done = liaison("summary", "--by", "stage", "--where", "closed_on[gte]=2026-01-01")

    assert done.exit_code == 0, done.output
    assert signed_in.seen[0].query == {"by": "stage", "closed_on[gte]": "2026-01-01"}
    for told in ("Gagnée", "1,234,567.80 EUR", "5.00 GBP", "63.15%", "47.99", "total"):
        assert told in done.stdout


def test_any_call_is_shown_as_json(signed_in: Any, liaison: Liaison) -> None:
    signed_in.answers("GET", "/contacts", (200, {"items": [{"last_name": "Kœchlin"}]}))

    done = liaison("api", "get", "/contacts?q=k%C5%93chlin&stage=won")

    assert json.loads(done.stdout) == {"items": [{"last_name": "Kœchlin"}]}
    assert "Kœchlin" in done.stdout
    assert signed_in.seen[0].query == {"q": "kœchlin", "stage": "won"}


def test_data_may_come_from_a_file_or_from_another_program(
    signed_in: Any, liaison: Liaison
) -> None:
    signed_in.answers("PATCH", "/contacts/1", (200, {}))
    Path("changes.json").write_text('{"title": "Gérante"}', encoding="utf-8")

    liaison("api", "PATCH", "/contacts/1", "--data", "@changes.json", "--if-match", "3")
    liaison("api", "PATCH", "/contacts/1", "--data", "-", input='{"title": "Gérante"}')

    first, second = signed_in.seen
    assert first.json == second.json == {"title": "Gérante"}
    assert first.headers["if-match"] == '"3"'


def test_broken_data_is_told_before_anything_is_sent(signed_in: Any, liaison: Liaison) -> None:
    done = liaison("api", "POST", "/contacts", "--data", "{oops")

    assert done.exit_code == 2
    assert "--data is not JSON" in done.stderr
    assert signed_in.seen == []


def test_a_call_never_goes_to_another_address(signed_in: Any, liaison: Liaison) -> None:
    done = liaison("api", "GET", "https://elsewhere.example.com/contacts")

    assert done.exit_code == 2
    assert signed_in.seen == []
