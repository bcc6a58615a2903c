"""A walk through many records at once: a board, a file and back, a change of all and its undo."""

from typing import Any

import httpx
from tests.system import Api, System, Tenant, wait_for


def ended(api: Api, answer: httpx.Response) -> dict[str, Any]:
    """The job that an answer points to, when it has ended."""
    assert answer.status_code == 202, answer.text
    path = answer.headers["location"].removeprefix("/api/v1")

    def over() -> dict[str, Any] | None:
        job = api.see(path)
        return job if job["status"] not in ("queued", "running") else None

    job = wait_for("the job ends", over)
    assert job["status"] == "done", job
    return job


def test_a_card_is_moved_and_the_column_goes_on_as_a_list(api: Api) -> None:
    for number in range(3):
        api.make("/opportunities", name=f"Board {number}", region="Board")

    board = api.see("/opportunities/board", by="stage_id", region="Board", limit=2)
    first, second = board["columns"][:2]
    rest = api.see("/opportunities", region="Board", stage_id=first["key"], cursor=first["next"])
    card = first["items"][0]
    moved = api.act(
        "/opportunities/board", card["version"], id=card["id"], by="stage_id", to=second["key"]
    )

    names = {item["name"] for item in first["items"] + rest["items"]}
    assert names == {"Board 0", "Board 1", "Board 2"}
    assert moved["stage_id"] == second["key"]
    again = api.post(
        "/opportunities/board",
        json={"id": card["id"], "by": "stage_id", "to": second["key"]},
        headers={"If-Match": f'"{card["version"]}"'},
    )
    assert again.status_code == 412
    after = api.see("/opportunities/board", by="stage_id", region="Board")["columns"]
    assert [column["count"] for column in after[:2]] == [2, 1]


def test_a_file_that_was_exported_is_imported_and_changes_nothing(
    running: System, new_tenant: Any
) -> None:
    tenant: Tenant = new_tenant()
    api = tenant.api
    for number in range(3):
        api.make(
            "/contacts",
            last_name=f"=cmd|'/C calc'!A{number}",
            phones=[{"number": f"+3361234567{number}", "kind": "mobile"}],
            tags=["vip"],
        )
    before = api.every("/contacts", sort="id")

    for format, kind in (("csv", "text/csv"), ("xlsx", "spreadsheetml")):
        job = ended(api, api.post("/contacts/exports", json={"format": format}))
        file = api.get(f"/exports/{job['id']}/content")
        assert file.status_code == 200
        assert kind in file.headers["content-type"]
        assert f".{format}" in file.headers["content-disposition"]
        if format == "csv":
            assert b"'=cmd|" in file.content
            assert b",=cmd|" not in file.content
        name = f"people.{format}"
        made = api.post(
            "/imports", params={"record": "contacts"}, files={"file": (name, file.content)}
        )
        assert made.status_code == 201, made.text
        ended(api, api.post(f"/imports/{made.json()['id']}/start"))
        counts = api.see(f"/imports/{made.json()['id']}")["counts"]
        assert (counts["unchanged"], counts["created"], counts["updated"]) == (3, 0, 0)

    assert api.every("/contacts", sort="id") == before
    trail = wait_for("the audit trail has both files", lambda: _exported(api))
    assert {entry["details"]["format"] for entry in trail} == {"csv", "xlsx"}
    assert [(e["record"], e["details"]["rows"], e["by_name"]) for e in trail] == [
        ("contacts", 3, "Ada Admin")
    ] * 2
    stranger: Tenant = new_tenant()
    assert stranger.api.get(f"/exports/{job['id']}/content").status_code == 404


def _exported(api: Api) -> list[dict[str, Any]] | None:
    found = [entry for entry in api.every("/audit") if entry["action"] == "list_exported"]
    return found if len(found) == 2 else None


def test_all_that_a_list_finds_is_changed_and_changed_back(
    running: System, new_tenant: Any
) -> None:
    tenant: Tenant = new_tenant()
    api = tenant.api
    for number in range(120):
        api.make("/contacts", last_name=f"Many {number}", title="Clerk")
    (other,) = [api.make("/contacts", last_name="Other", title="Boss")]

    body = {"filters": {"title": "Clerk"}, "add_tags": ["moved"]}
    job = ended(api, api.post("/contacts/bulk", json=body))

    assert (job["done"], job["total"]) == (120, 120)
    assert len(api.every("/contacts", tags="moved", limit=200)) == 120
    assert api.see(f"/contacts/{other['id']}")["tags"] == []
    ended(api, api.post(f"/bulk/{job['id']}/undo"))
    report = api.see(f"/bulk/{job['id']}")
    assert (report["changed"], report["undone"], report["kept"]) == (120, 120, 0)
    assert api.every("/contacts", tags="moved") == []
    stranger: Tenant = new_tenant()
    assert stranger.api.get(f"/bulk/{job['id']}").status_code == 404
    assert stranger.api.post(f"/bulk/{job['id']}/undo").status_code == 404
