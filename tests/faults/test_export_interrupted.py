"""An export whose process is killed goes on from its checkpoint: each row once, in its order."""

from typing import Any

from tests.system import Api, System, Tenant, wait_for

ROWS = 30_000


def job_at(api: Api, path: str, *statuses: str) -> dict[str, Any] | None:
    """The job, once it has one of these states."""
    answer = api.get(path)
    if answer.status_code == 503:
        return None
    found: dict[str, Any] = answer.json()
    return found if found["status"] in statuses else None


def test_an_export_goes_on_when_its_process_is_killed(running: System) -> None:
    tenant: Tenant = running.tenant("Export")
    api = tenant.api
    rows = "Last name\n" + "".join(f"Row {number}\n" for number in range(ROWS))
    made = api.post(
        "/imports",
        params={"record": "contacts"},
        files={"file": ("rows.csv", rows.encode(), "text/csv")},
    ).json()
    imported = api.post(f"/imports/{made['id']}/start")
    path = imported.headers["location"].removeprefix("/api/v1")
    wait_for("the import ends", lambda: job_at(api, path, "done"), seconds=60)
    body = {"fields": ["last_name"], "sort": "id", "byte_order_mark": False}
    started = api.post("/contacts/exports", json=body)
    path = started.headers["location"].removeprefix("/api/v1")

    def begun() -> dict[str, Any] | None:
        job = job_at(api, path, "running", "done")
        return job if job is not None and job["done"] else None

    under_way = wait_for("the export is under way", begun, every=0.01)
    running.kill("contacts")
    running.start_service("contacts")
    running.wait_until_whole()

    job = wait_for("the export ends", lambda: job_at(api, path, "done"), seconds=60)
    assert 0 < under_way["done"] < ROWS, "it was over before it could be killed"
    assert (job["done"], job["total"]) == (ROWS, ROWS)
    found = api.get(f"/exports/{job['id']}/content").text.split("\r\n")[1:-1]
    assert found == [f"Row {number}" for number in range(ROWS)]
