"""A tenant's own automations, from what they write to the message in somebody's inbox."""

from typing import Any
from uuid import uuid4

from tests.mail_server import MailServer, text_of
from tests.system import PASSWORD, Api, System, Tenant, wait_for

AUTOMATION = """
key: large_deals
name: Large deals in Proposal
record: opportunities
start:
  - kind: event
    event: moved
    where:
      combinator: and
      rules:
        - {field: amount, operator: ">", value: 50000}
        - {field: stage, operator: "=", value: proposal}
again: never
steps:
  tell:
    kind: notify
    to: manager
    subject: "{{ opportunity.name }} is in {{ opportunity.stage_name }}"
    text: "{{ opportunity.owner_name }} may close it for {{ opportunity.amount.amount }}."
    next: {sent: end, nobody: end}
"""
WELCOME = {
    "key": "welcome",
    "record": "contacts",
    "start": [{"kind": "event", "event": "created"}],
    "steps": {
        "hello": {
            "kind": "message",
            "purpose": "welcome",
            "subject": "Welcome, {{ contact.first_name }}",
            "text": "Good to have you.",
            "next": {"sent": "remember", "refused": "end"},
        },
        "remember": {"kind": "set", "field": "title", "value": "Welcomed", "next": "end"},
    },
}


def activated(api: Api, record: str, **written: Any) -> dict[str, Any]:
    flow = api.post("/flows", params={"record": record}, json=written)
    assert flow.status_code == 201, flow.text
    made = flow.json()
    assert made["faults"] == []
    return api.act(f"/flows/{made['id']}/activate", made["version"])


def ended(api: Api, flow: str) -> list[dict[str, Any]]:
    """The runs of a flow, once there are some and all of them have ended."""

    def look() -> list[dict[str, Any]] | None:
        runs: list[dict[str, Any]] = api.see(f"/flows/{flow}/runs")["items"]
        return runs if runs and {run["state"] for run in runs} == {"ended"} else None

    return wait_for("the runs have ended", look)


def in_proposal(api: Api, owner: str, amount: str) -> dict[str, Any]:
    money = {"amount": amount, "currency": "EUR"}
    deal = api.make("/opportunities", name=f"Robots for {amount}", amount=money, owner_id=owner)
    return api.act(f"/opportunities/{deal['id']}/move", deal["version"], stage="proposal")


def test_when_a_large_deal_enters_proposal_its_manager_is_told_and_mailed_if_they_want(
    running: System, tenant: Tenant, mail: MailServer
) -> None:
    api, address = tenant.api, f"bo.{uuid4().hex[:10]}@example.com"
    (role,) = api.see("/roles", external_id="sales_manager")["items"]
    boss = api.make(
        "/users", name="Bo Boss", email=address, password=PASSWORD, role_ids=[role["id"]]
    )
    bos = running.sign_in(address, tenant.slug)
    wanted = bos.patch("/notifications/choices", json={"channels": {"sales.flow_notice": "mail"}})
    assert wanted.status_code == 200, wanted.text
    owner = api.make("/users", name="Ola Owner", manager_id=boss["id"])
    flow = activated(api, "opportunities", yaml=AUTOMATION)

    small = in_proposal(api, owner["id"], "50000.00")
    deal = in_proposal(api, owner["id"], "70000.00")

    (run,) = ended(api, flow["id"])
    letter = mail.wait_for(address)
    (notice,) = bos.see("/notifications", unread="true")["items"]
    assert letter["Subject"] == "Robots for 70000.00 is in Proposal"
    assert "Ola Owner may close it for 70000.00." in text_of(letter)
    assert notice["subject"] == "Robots for 70000.00 is in Proposal"
    assert (notice["record"], notice["record_id"]) == ("opportunities", deal["id"])
    assert api.see("/notifications")["items"] == []
    assert run["record_id"] == deal["id"]
    assert [line["way"] for line in api.see(f"/runs/{run['id']}")["log"]] == ["sent"]
    messages = api.every("/messages", purpose="notification", to_address=address)
    assert [m["about_id"] for m in messages] == [deal["id"]]
    (mine,) = api.see("/runs", record="opportunities", record_id=deal["id"])["items"]
    assert mine["id"] == run["id"]
    assert api.see("/runs", record="opportunities", record_id=small["id"])["items"] == []
    (count,) = api.see(f"/flows/{flow['id']}/steps", version=1)["items"]
    assert count == {"step": "tell", "entered": 1, "standing": 0, "failed": 0, "ways": {"sent": 1}}


def test_a_new_person_is_welcomed_and_that_connect_sent_it_takes_the_run_on(
    running: System, tenant: Tenant, mail: MailServer
) -> None:
    api, address = tenant.api, f"zoe.{uuid4().hex[:10]}@example.com"
    flow = activated(api, "contacts", definition=WELCOME)

    person = api.make("/contacts", first_name="Zoé", last_name="X", emails=[{"address": address}])
    nowhere = api.make("/contacts", first_name="No", last_name="Address")

    wait_for("both have runs", lambda: len(api.see(f"/flows/{flow['id']}/runs")["items"]) == 2)
    runs = {run["record_id"]: run for run in ended(api, flow["id"])}
    assert mail.wait_for(address)["Subject"] == "Welcome, Zoé"
    assert len(mail.to(address)) == 1
    assert api.see(f"/contacts/{person['id']}")["title"] == "Welcomed"
    assert api.see(f"/contacts/{nowhere['id']}")["title"] is None
    log = api.see(f"/runs/{runs[nowhere['id']]['id']}")["log"]
    assert [(line["way"], line["said"]) for line in log] == [("refused", "no address")]


def test_flows_of_all_modules_are_one_list_and_nobody_elses_are_in_it(
    running: System, tenant: Tenant
) -> None:
    stranger = running.tenant("Stranger").api
    draft = {"key": f"draft_{uuid4().hex[:8]}", "record": "companies", "steps": 7}
    made = tenant.api.post("/flows", params={"record": "companies"}, json={"definition": draft})
    flow = made.json()

    listed = tenant.api.every("/flows")
    theirs = [
        stranger.get(f"/flows/{flow['id']}"),
        stranger.post(f"/flows/{flow['id']}/activate", headers={"If-Match": '"1"'}),
        stranger.get(f"/flows/{flow['id']}/runs"),
    ]

    assert made.status_code == 201
    assert {fault["path"] for fault in flow["faults"]} >= {"start", "steps"}
    assert flow["key"] in {one["key"] for one in listed}
    assert [one["key"] for one in tenant.api.every("/flows", record="companies")] == [flow["key"]]
    assert stranger.see("/flows")["items"] == []
    assert [answer.status_code for answer in theirs] == [404, 404, 404]


def test_who_sees_no_deal_of_others_sees_no_run_about_one(running: System, tenant: Tenant) -> None:
    api = tenant.api
    calm = {"kind": "wait", "for": "3 days", "next": "end"}
    definition = {
        "key": f"calm_{uuid4().hex[:8]}",
        "record": "opportunities",
        "start": [{"kind": "by_hand"}],
        "steps": {"calm": calm},
    }
    flow = activated(api, "opportunities", definition=definition)
    narrow = {"opportunities": "own"}
    may = ["flows:read", "flows:write", "opportunities:read"]
    role = api.make("/roles", name=f"Own {uuid4().hex[:8]}", permissions=may, rows=narrow)
    email = f"own.{uuid4().hex[:10]}@example.com"
    user = api.make(
        "/users", name="Own Only", email=email, password=PASSWORD, role_ids=[role["id"]]
    )
    own = api.make("/opportunities", name="Own", owner_id=user["id"])["id"]
    other = api.make("/opportunities", name="Other's")["id"]
    path = f"/flows/{flow['id']}"
    begun = api.make(f"{path}/runs", records=[own, other])["begun"]

    theirs = running.sign_in(email, tenant.slug)

    assert [run["record_id"] for run in theirs.see(f"{path}/runs")["items"]] == [own]
    assert theirs.get(f"/runs/{begun[other]}").status_code == 404
    assert theirs.post(f"/runs/{begun[other]}/end").status_code == 404
    hidden = {"record": "opportunities", "record_id": other}
    assert theirs.get("/runs", params=hidden).status_code == 404
    assert theirs.post(f"{path}/runs", json={"records": [other]}).status_code == 404
    wait_for("both stand", lambda: api.see(f"{path}/steps", version=1)["items"])
    wait_for(
        "both are counted",
        lambda: [c["standing"] for c in api.see(f"{path}/steps", version=1)["items"]] == [2],
    )
    assert [c["standing"] for c in theirs.see(f"{path}/steps", version=1)["items"]] == [1]
    assert theirs.act(f"/runs/{begun[own]}/end", 1)["outcome"] == "ended_by_hand"


def test_another_module_does_what_a_step_calls_for_and_its_answer_takes_the_run_on(
    running: System, tenant: Tenant
) -> None:
    api = tenant.api
    definition = {
        "key": f"note_{uuid4().hex[:8]}",
        "record": "opportunities",
        "start": [{"kind": "by_hand"}],
        "steps": {
            "note": {
                "kind": "call",
                "module": "contacts",
                "operation": "add_note",
                "with": {
                    "record": "contacts",
                    "id": "{{ opportunity.contact_id }}",
                    "body": "{{ opportunity.name }} is ours to win",
                },
                "next": {"done": "sure", "refused": "end"},
            },
            "sure": {"kind": "set", "field": "probability", "value": 90, "next": "end"},
        },
    }
    flow = activated(api, "opportunities", definition=definition)
    person = api.make("/contacts", last_name="Noted")
    deal = api.make("/opportunities", name="Noted", contact_id=person["id"])
    nobody = api.make("/opportunities", name="Nobody's")

    begun = api.make(f"/flows/{flow['id']}/runs", records=[deal["id"], nobody["id"]])["begun"]

    ended(api, flow["id"])
    (note,) = api.see(f"/contacts/{person['id']}/notes")["items"]
    assert note["body"] == "Noted is ours to win"
    log = {id: api.see(f"/runs/{run}")["log"] for id, run in begun.items()}
    assert [line["way"] for line in log[deal["id"]]] == ["done", "done"]
    assert [line["way"] for line in log[nobody["id"]]] == ["refused"]
    assert api.see(f"/opportunities/{deal['id']}")["probability"] == 90
