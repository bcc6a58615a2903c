"""Who is named by an id that nobody knows is asked after, and nobody else waits for that."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

import httpx
import pytest
from tests.system import System, Tenant, wait_for

from liaison_kit.ids import uuid7

MANY = 12
"""More than a process has connections to write with."""


@contextmanager
def silent(running: System, service: str) -> Iterator[None]:
    """The service is there but answers nothing."""
    process = running.processes[service].process
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
        wait_for(f"{service} is ready", running.processes[service].is_ready, seconds=30)


@pytest.mark.parametrize(
    ("field", "asked"),
    [("company_id", "contacts"), ("contact_id", "contacts"), ("owner_id", "identity")],
)
def test_made_up_ids_wait_for_their_owner_alone_and_hold_up_nobody(
    running: System, tenant: Tenant, field: str, asked: str
) -> None:
    api = tenant.api
    company = api.make("/companies", name="Known")
    known = api.make("/opportunities", name="Known", company_id=company["id"])

    def made_up(_number: int) -> httpx.Response:
        body = {"name": "x", field: str(uuid7())}
        return api.post(
            "/opportunities", json=body, headers={"Idempotency-Key": uuid4().hex}, timeout=60
        )

    with silent(running, asked), ThreadPoolExecutor(MANY) as pool:
        waiting = [pool.submit(made_up, number) for number in range(MANY)]
        meanwhile = 0
        while not all(one.done() for one in waiting):
            # Who names what is known is not held up by those who wait.
            path = f"/opportunities/{known['id']}"
            known = api.change(path, known["version"], name=f"Known {meanwhile}")
            api.make("/opportunities", name="Meanwhile", company_id=company["id"])
            meanwhile += 1
        answers = [one.result() for one in waiting]

    assert meanwhile > 0
    assert {answer.status_code for answer in answers} == {503}
    assert all(asked in answer.json()["detail"] for answer in answers)
    # And once it answers again, they are refused for what they are.
    refused = wait_for(
        f"{asked} answers", lambda: (a := made_up(0)).status_code == 422 and a, seconds=30
    )
    assert [error["path"] for error in refused.json()["errors"]] == [field]


def test_a_record_is_pointed_at_in_the_moment_that_it_is_made(
    running: System, tenant: Tenant
) -> None:
    for number in range(10):
        company = tenant.api.make("/companies", name=f"Fresh {number}")
        person = tenant.api.make("/contacts", last_name="Fresh", company_id=company["id"])
        user = tenant.api.make("/users", name=f"Fresh {number}")
        tenant.api.make("/contacts", last_name="Theirs", owner_id=user["id"])
        other = tenant.api.make("/users", name=f"Other {number}")
        tenant.api.change(f"/companies/{company['id']}", 1, owner_id=other["id"])

        made = tenant.api.make(
            "/opportunities",
            name="At once",
            company_id=company["id"],
            contact_id=person["id"],
            owner_id=user["id"],
        )

        assert made["company_name"] == f"Fresh {number}"
        assert made["owner_name"] == f"Fresh {number}"
