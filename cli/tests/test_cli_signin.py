"""Who the command is to Liaison, and where it keeps that."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Liaison = Callable[..., Result]

SESSION = {
    "token": "fresh",
    "expires_at": "2999-01-01T00:00:00+00:00",
    "user": {"name": "Zoé Hale", "email": "zoe@example.com"},
}
ME = {
    "user": {"name": "Zoé Hale", "email": "zoe@example.com", "team": "Sales", "region": None},
    "tenant": {"name": "Clarté & Hale"},
    "permissions": ["contacts:read"],
    "rows": {"contacts": "own"},
}


def test_sign_in_keeps_the_token_for_its_owner_only(
    server: Any, liaison: Liaison, settings: Path
) -> None:
    server.answers("POST", "/sign-in", (200, SESSION))

    done = liaison(
        "sign-in", "--url", server.url, "--email", "zoe@example.com", "--password", "a b c d e f"
    )

    assert done.exit_code == 0, done.output
    assert "Signed in" in done.stdout
    kept = settings / "sign-in.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text())["addresses"][server.url]["token"] == "fresh"
    assert "a b c d e f" not in kept.read_text()


def test_what_was_signed_in_to_last_is_used_afterwards(server: Any, liaison: Liaison) -> None:
    server.answers("POST", "/sign-in", (200, SESSION))
    server.answers("GET", "/me", (200, ME))
    liaison("sign-in", "--url", server.url, "--email", "z@example.com", "--password", "long enough")

    done = liaison("whoami")

    assert done.exit_code == 0, done.output
    assert "Zoé Hale" in done.stdout
    assert "contacts: own" in done.stdout
    assert server.asked("GET", "/me")[0].headers["authorization"] == "Bearer fresh"


def test_a_token_of_the_environment_wins(signed_in: Any, liaison: Liaison) -> None:
    signed_in.answers("GET", "/me", (200, ME))

    liaison("whoami")

    assert signed_in.asked("GET", "/me")[0].headers["authorization"] == "Bearer secret-token"


def test_the_administrator_of_make_run_is_found_from_a_folder_below(
    server: Any, liaison: Liaison, tmp_path: Path
) -> None:
    run = tmp_path / ".run"
    run.mkdir()
    (run / "lock").write_text(f"process 1, {server.url}")
    (run / "admin_password").write_text("made by make run\n")
    server.answers("POST", "/sign-in", (200, SESSION))
    server.answers("GET", "/me", (200, ME))

    done = liaison("whoami")

    assert done.exit_code == 0, done.output
    assert server.asked("POST", "/sign-in")[0].json == {
        "email": "admin@example.com",
        "password": "made by make run",
    }


def test_the_password_of_make_run_goes_to_no_other_address(
    server: Any, liaison: Liaison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / ".run"
    run.mkdir()
    (run / "lock").write_text("process 1, http://127.0.0.1:1")
    (run / "admin_password").write_text("made by make run")
    monkeypatch.setenv("LIAISON_URL", server.url)

    done = liaison("whoami")

    assert done.exit_code == 2
    assert "not signed in" in done.stderr
    assert server.seen == []


def test_a_token_that_has_ended_is_renewed_once(
    server: Any, liaison: Liaison, monkeypatch: pytest.MonkeyPatch, settings: Path
) -> None:
    monkeypatch.setenv("LIAISON_URL", server.url)
    settings.mkdir(parents=True)
    old = {"token": "old", "expires_at": "2999-01-01T00:00:00+00:00"}
    (settings / "sign-in.json").write_text(
        json.dumps({"current": server.url, "addresses": {server.url: old}})
    )
    monkeypatch.setenv("LIAISON_ADMIN_EMAIL", "admin@example.com")
    monkeypatch.setenv("LIAISON_ADMIN_PASSWORD", "made by make run")
    server.answers("POST", "/sign-in", (200, SESSION))
    server.answers("GET", "/me", (401, {"title": "Sign in first"}), (200, ME))

    done = liaison("whoami")

    assert done.exit_code == 0, done.output
    tokens = [request.headers["authorization"] for request in server.asked("GET", "/me")]
    assert tokens == ["Bearer old", "Bearer fresh"]


def test_a_wrong_password_is_told_without_a_traceback(server: Any, liaison: Liaison) -> None:
    refusal = {"title": "This did not sign you in", "status": 401, "code": "wrong_credentials"}
    server.answers("POST", "/sign-in", (401, refusal))

    done = liaison("sign-in", "--url", server.url, "--email", "z@example.com", "--password", "no")

    assert done.exit_code == 2
    assert done.stderr.strip() == "This did not sign you in"


def test_without_anything_to_sign_in_with_it_says_what_to_do(liaison: Liaison) -> None:
    done = liaison("jobs")

    assert done.exit_code == 2
    assert "liaison sign-in" in done.stderr


def test_signing_out_ends_the_session_and_forgets_it(server: Any, liaison: Liaison) -> None:
    server.answers("POST", "/sign-in", (200, SESSION))
    server.answers("POST", "/sign-out", (204, None))
    liaison("sign-in", "--url", server.url, "--email", "z@example.com", "--password", "long enough")

    done = liaison("sign-out")

    assert done.exit_code == 0, done.output
    assert server.asked("POST", "/sign-out")[0].headers["authorization"] == "Bearer fresh"
    assert liaison("whoami").exit_code == 2
