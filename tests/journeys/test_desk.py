"""What somebody finds on their desk: what they were told, what they had begun, what they ask."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any
from uuid import uuid4

import httpx
from tests.mail_server import MailServer
from tests.system import PASSWORD, Api, System, Tenant, wait_for

TELL = {"kind": "notify", "to": "owner", "text": "Soon.", "next": "end"}
GIVEN = {
    "key": "given",
    "record": "opportunities",
    "start": [{"kind": "by_hand"}],
    "steps": {"tell": {**TELL, "subject": "Look at {{ opportunity.name }}"}},
}


@contextmanager
def screen(api: Api) -> Iterator["Queue[str]"]:
    """Somebody's screen: what its stream says."""
    heard: Queue[str] = Queue()
    opened = threading.Event()
    with httpx.Client(base_url=api.base_url, headers=api.headers, timeout=60) as client:
        stream = client.stream("GET", "live")

        def listen() -> None:
            with stream as answer:
                opened.set()
                try:
                    for line in answer.iter_lines():
                        if line.startswith("data:"):
                            heard.put(line)
                except httpx.TransportError:
                    pass

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        assert opened.wait(20)
        yield heard


def colleague(running: System, tenant: Tenant, role: str, **more: Any) -> tuple[str, Api]:
    email = f"{uuid4().hex[:10]}@example.com"
    (found,) = tenant.api.see("/roles", external_id=role)["items"]
    user = tenant.api.make(
        "/users", name=role, email=email, password=PASSWORD, role_ids=[found["id"]], **more
    )
    return user["id"], running.sign_in(email, tenant.slug)


def test_a_day_at_the_desk(running: System, tenant: Tenant, mail: MailServer) -> None:
    api = tenant.api
    team = api.make("/teams", name=f"Desk {uuid4().hex[:6]}")["id"]
    rep, reps = colleague(running, tenant, "sales_rep", team_id=team)
    _, boss = colleague(running, tenant, "sales_manager", team_id=team)
    written = api.post("/flows", params={"record": "opportunities"}, json={"definition": GIVEN})
    flow = api.act(f"/flows/{written.json()['id']}/activate", 1)
    deal = api.make("/opportunities", name="Lamps", owner_id=rep)
    kinds = {one["name"]: one for one in api.see("/notification-kinds")["items"]}

    # They are told of it, on their screen, and on nobody else's.
    with screen(reps) as mine, screen(boss) as others:
        for _ in range(2):
            begun = api.post(f"/flows/{flow['id']}/runs", json={"records": [deal["id"]]})
            assert begun.is_success, begun.text
            wait_for("told", lambda: "notifications_changed" in mine.get(timeout=20))
        unheard = [line for line in list(others.queue) if "notifications" in line]
    (notice,) = reps.see("/notifications", unread="true")["items"]

    # What they begin to answer waits for them, on whatever device, and for nobody else.
    draft = f"/drafts/opportunities/{deal['id']}/note"
    first = reps.put(draft, json={"body": "We can deliver"})
    second = reps.put(draft, json={"body": "We can deliver by May"}, headers={"If-Match": '"1"'})
    stale = reps.put(draft, json={"body": "x"}, headers={"If-Match": first.headers["etag"]})

    # The manager shares a question; each sees their own answer.
    question = {"name": "Lamps", "record": "opportunities", "query": "name=Lamps", "share": "team"}
    view = boss.make("/views", **question)
    assert reps.put(f"/views/{view['id']}/default").status_code == 204
    (shared,) = reps.see("/views", record="opportunities")["items"]
    answer = reps.get(f"/opportunities?{shared['query']}").json()["items"]

    # The deal is somebody else's now: what they were told of it is out of sight, and their draft
    # is still theirs.
    deal = api.see(f"/opportunities/{deal['id']}")
    admin = api.see("/me")["user"]["id"]
    api.change(f"/opportunities/{deal['id']}", deal["version"], owner_id=admin)

    assert kinds["sales.flow_notice"]["label"]["fr"] == "Ce qu'annonce un parcours"
    assert (notice["subject"], notice["times"]) == ("Look at Lamps", 2)
    assert unheard == []
    assert mail.to(reps.see("/me")["user"]["email"]) == []
    assert (second.status_code, stale.status_code) == (200, 412)
    assert api.get(draft).status_code == 404
    assert (shared["is_default"], shared["share"]) == (True, "team")
    assert [one["id"] for one in answer] == [deal["id"]]
    wait_for("it is out of sight", lambda: reps.see("/notifications")["items"] == [])
    assert reps.see("/notifications/unread")["unread"] == 0
    assert reps.see(draft)["body"] == "We can deliver by May"
    assert reps.get(f"/opportunities?{shared['query']}").json()["items"] == []


def test_a_user_who_is_told_of_an_erased_person_is_so_no_more(
    running: System, tenant: Tenant
) -> None:
    api = tenant.api
    person = api.make("/contacts", first_name="Zdenka", last_name="Trace")
    draft = f"/drafts/contacts/{person['id']}/form"
    other = f"/drafts/contacts/{uuid4()}/form"
    for path in (draft, other):
        assert api.put(path, json={"body": "Dear Zdenka Trace"}).status_code == 200
    api.make("/views", name="Zdenka Trace", record="contacts", query="q=Zdenka+Trace")
    wait_for(
        "identity has said that it holds such data",
        lambda: running.rows(
            "contacts",
            "SELECT 1 FROM holding_modules WHERE tenant_id = %s AND module = 'identity'",
            (str(tenant.id),),
        ),
    )

    request = api.make(f"/contacts/{person['id']}/erase", reason="asked")

    wait_for(
        "every module has answered",
        lambda: api.see(f"/privacy-requests/{request['id']}")["state"] == "done",
        seconds=60,
    )
    assert api.get(draft).status_code == 404
    assert api.see(other)["body"] == "Dear [erased]"
    assert api.see("/views", record="contacts")["items"][0]["name"] == "[erased]"
