"""An import that is cut off goes on from its checkpoint and ends with exactly the file's rows."""

import csv
import io
from typing import Any

import pytest
from tests.system import System, wait_for

ROWS = 40_000


def _file() -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["External id", "First name", "Last name", "E-mail", "Stage"])
    for number in range(ROWS):
        writer.writerow(
            [f"row-{number}", f"Zoé {number}", "Lefèvre", f"zoe.{number}@example.com", "lead"]
        )
    return text.getvalue().encode()


@pytest.mark.timeout(200)
@pytest.mark.parametrize("fault", ["its process is killed", "the database stops"])
def test_an_import_goes_on_and_ends_with_exactly_the_rows_of_its_file(
    running: System, fault: str
) -> None:
    tenant = running.tenant("Import")
    api = tenant.api
    made = api.post(
        "/imports",
        params={"record": "contacts"},
        files={"file": ("people.csv", _file(), "text/csv")},
    )
    assert made.status_code == 201, made.text
    wanted = {
        "External id": "external_id",
        "First name": "first_name",
        "Last name": "last_name",
        "E-mail": "email",
        "Stage": "stage",
    }
    assert made.json()["mapping"] == wanted
    started = api.post(f"/imports/{made.json()['id']}/start")
    assert started.status_code == 202, started.text
    job_path = started.headers["location"].removeprefix("/api/v1")

    def job() -> dict[str, Any]:
        answer = api.get(job_path)
        if answer.status_code == 503:
            # The database has just been away: ask again, as the answer says.
            assert "retry-after" in answer.headers
            return {"status": "running", "done": 0}
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    under_way = wait_for("the import is under way", lambda: _at(job(), least=1), every=0.02)
    if fault == "its process is killed":
        running.kill("contacts")
        kept = running.count("contacts", "people", tenant.id)
        running.start_service("contacts")
    else:
        running.postgres.stop()
        running.postgres.start()
        kept = running.count("contacts", "people", tenant.id)
    running.wait_until_whole()

    ended = wait_for(
        "the import ends",
        lambda: (lambda j: j if j["status"] not in ("queued", "running") else None)(job()),
        seconds=120,
        every=0.3,
    )
    assert under_way["done"] < ROWS, "it was over before it could be killed"
    assert 0 < kept < ROWS, "it was over before it could be killed"
    assert (ended["status"], ended["done"], ended["error"]) == ("done", ROWS, None)
    counts = api.see(f"/imports/{made.json()['id']}")["counts"]
    assert counts["created"] == ROWS
    assert not counts.get("failed")
    people = running.rows(
        "contacts",
        "SELECT count(*) AS n, count(DISTINCT external_id) AS ids FROM people WHERE tenant_id = %s",
        (str(tenant.id),),
    )
    assert people == [{"n": ROWS, "ids": ROWS}]
    changes = running.count("contacts", "import_changes", tenant.id)
    assert changes == ROWS


def _at(job: dict[str, Any], least: int) -> dict[str, Any] | None:
    return job if job["done"] >= least else None
