"""A process starts with secrets of its own, or says which is missing and does not start."""

import os
import subprocess
import sys

import pytest

OWN = {
    "DATABASE_URL": "postgresql://liaison_contacts:its-own@127.0.0.1:1/liaison_contacts",
    "AMQP_URL": "amqp://contacts:its-own@127.0.0.1:1/%2F",
    "LIAISON_SECRET_KEY": "a secret that nobody else has",
}


def started(program: str, **settings: str | None) -> tuple[int, str]:
    """How a process ends, and what it says."""
    kept = {k: v for k, v in os.environ.items() if k not in OWN and not k.startswith("LIAISON_")}
    given = {name: value for name, value in (OWN | settings).items() if value is not None}
    module = ["liaison_gateway"] if program == "gateway" else ["liaison_kit.serve", program]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *module],
        env=kept | given,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("program", ["contacts", "gateway"])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"AMQP_URL": None}, "Set AMQP_URL"),
        ({"AMQP_URL": "amqp://guest:guest@127.0.0.1:5672/%2F"}, "RabbitMQ's user guest"),
        ({"AMQP_URL": "amqp://127.0.0.1:5672/%2F"}, "RabbitMQ's user guest"),
        ({"LIAISON_SECRET_KEY": None}, "Set LIAISON_SECRET_KEY"),
        ({"LIAISON_SECRET_KEY": "short"}, "LIAISON_SECRET_KEY has to have 24 characters"),
        ({"LIAISON_KEY_FILE": "nowhere.json"}, "There is no key file nowhere.json"),
    ],
)
def test_what_everybody_knows_is_no_secret(
    program: str, wrong: dict[str, str | None], said: str
) -> None:
    code, error = started(program, **wrong)

    assert code == 1
    assert said in error
    assert "Traceback" not in error


def test_a_service_needs_a_database_and_the_gateway_has_none() -> None:
    code, error = started("contacts", DATABASE_URL=None)

    assert (code, error.strip()) == (
        1,
        "Set DATABASE_URL: there is no default that anybody knows.",
    )
