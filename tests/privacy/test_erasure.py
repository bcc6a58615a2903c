"""A person who is erased is found nowhere: in no table, no file, no log of any service."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from tests.system import SERVICES, Api, System, Tenant, wait_for

FIRST, LAST = "Zoltána", "Krähenbühl"
EMAIL, PHONE = "zoltana.kraehenbuehl@canary.example", "+33698765432"
CANARIES = (
    "Zoltána Krähenbühl",
    "zoltana.kraehenbuehl",
    "33698765432",
    "06 98 76 54 32",
    "canary file content",
    "canary-file-name",
    "Canary-4711",
    "Deal-canary-4712",
)
SPARED = "Zoltan Spared"
HOLDERS = {"contacts", "sales", "connect", "identity"}


def dump(running: System, service: str) -> str:
    """Every row of every table of a service's database, as text."""
    tables = running.rows(
        service,
        "SELECT tablename AS relname FROM pg_tables WHERE schemaname = 'public'",
    )
    lines = []
    for table in sorted(row["relname"] for row in tables):
        if table == "file_parts":
            found = running.rows(service, "SELECT file_id, body FROM file_parts")
            lines += [
                f"file_parts {bytes(row['body']).decode('utf-8', 'replace')}" for row in found
            ]
            continue
        for row in running.rows(service, f"SELECT to_jsonb(t)::text AS line FROM {table} t"):
            line = row["line"]
            # Bytes are written in hexadecimal.
            if table == "idempotency_keys":
                body = json.loads(line)["body"] or ""
                line += bytes.fromhex(body.removeprefix("\\x")).decode("utf-8", "replace")
            lines.append(f"{table} {line}")
    return "\n".join(lines)


def everywhere(running: System) -> dict[str, str]:
    """Every database, and every log, as text."""
    found = {service: dump(running, service) for service in SERVICES}
    found |= {
        f"log {file.name}": file.read_text(errors="replace")
        for file in running.folder.rglob("*.log")
    }
    return found


def canaries_in(running: System) -> list[str]:
    return [
        f"{canary!r} in {place}: {line[:200]}"
        for place, text in everywhere(running).items()
        for line in text.splitlines()
        for canary in CANARIES
        if canary.lower() in line.lower()
    ]


def planted(running: System, tenant: Tenant) -> dict[str, Any]:
    """A person, with traces of them everywhere that a person leaves some."""
    api = tenant.api
    for record, kind in (("contacts", "text"), ("contacts", "number"), ("opportunities", "text")):
        label = {"en": "Canary", "fr": "Canari"}
        field = {"name": f"own_{kind}", "kind": kind, "label": label, "personal": True}
        made = api.post("/custom-fields", params={"record": record}, json=field)
        assert made.status_code == 201, made.text
    key = {"Idempotency-Key": str(uuid4())}
    fields = {
        "first_name": FIRST,
        "last_name": LAST,
        "emails": [{"address": EMAIL}],
        "phones": [{"number": PHONE}],
        "custom": {"own_text": "Canary-4711", "own_number": 33698765432},
    }
    person: dict[str, Any] = api.post("/contacts", json=fields, headers=key).json()
    path = f"/contacts/{person['id']}"
    _plant_flows(api, person["id"])
    twin = api.make("/contacts", first_name=FIRST, last_name="Twin", emails=[{"address": EMAIL}])
    api.make(f"{path}/notes", body=f"{FIRST} {LAST} likes tea")
    other = api.make("/contacts", last_name="Other")
    hint = {"body": f"Ask {FIRST} {LAST}, 06 98 76 54 32"}
    again = {"Idempotency-Key": str(uuid4())}
    assert api.post(f"/contacts/{other['id']}/notes", json=hint, headers=again).is_success
    files = {"file": ("canary-file-name.txt", b"canary file content", "text/plain")}
    assert api.post(f"{path}/attachments", files=files).status_code == 201
    deal = api.make(
        "/opportunities",
        name=f"Tea for {FIRST} {LAST}",
        contact_id=person["id"],
        owner_id=None,
        custom={"own_text": "word"},
    )
    deal = api.change(
        f"/opportunities/{deal['id']}", deal["version"], custom={"own_text": "Deal-canary-4712"}
    )
    api.make("/opportunities", name="Another's, after Deal-canary-4712")
    gone = api.make("/opportunities", name=f"Gone of {EMAIL}", contact_id=person["id"])
    api.delete(f"/opportunities/{gone['id']}", headers={"If-Match": '"1"'})
    timeline = f"{path}/timeline"
    wait_for(
        "the deals are on the timeline",
        lambda: [e["kind"] for e in api.every(timeline)].count("opportunity_opened") == 2,
    )
    person = api.change(path, api.see(path)["version"], title="Head")
    merging = {"If-Match": f'"{person["version"]}"'}
    merged = api.post(f"{path}/merge", json={"from": twin["id"]}, headers=merging)
    assert merged.status_code == 201, merged.text
    _leave_on_the_desk(running, tenant, person["id"])
    _hand_in_a_file(api)
    _take_files_out(api)
    _plant_rows(running, tenant, person["id"])
    return {"person": person, "deal": deal, "twin": twin, "other": other}


def _leave_on_the_desk(running: System, tenant: Tenant, person: str) -> None:
    for id in (person, str(uuid4())):
        draft = f"/drafts/contacts/{id}/form"
        assert tenant.api.put(draft, json={"body": f"Dear {FIRST} {LAST}"}).is_success
        with running.database(running.roles("identity").owner) as connection:
            connection.cursor().execute(
                "INSERT INTO notifications (id, tenant_id, user_id, heap, module, kind, channel,"
                " record, record_id, subject, text, created_at, updated_at)"
                " SELECT gen_random_uuid(), tenant_id, id, gen_random_uuid(), 'contacts', 'given',"
                " 'app', 'contacts', %s, %s, %s, now(), now() FROM users WHERE tenant_id = %s",
                (id, f"{FIRST} {LAST} called", f"From {PHONE}", str(tenant.id)),
            )
    tenant.api.make("/views", name=f"{FIRST} {LAST}", record="contacts", query=f"q={EMAIL}")


def _hand_in_a_file(api: Api) -> None:
    content = f"Last name,E-mail,Owner\nX,{EMAIL},nobody of this name\n,bad row of {EMAIL},\n"
    files = {"file": (f"{EMAIL}.csv", content.encode(), "text/csv")}
    answer = api.post("/imports", params={"record": "contacts"}, files=files)
    assert answer.status_code in (200, 201), answer.text


def _plant_flows(api: Api, person: str) -> None:
    """A flow whose active version and whose draft name the person, and a run that waits."""
    steps = {"calm": {"kind": "wait", "for": "30 days", "next": "end"}}
    written = {
        "key": "canary",
        "record": "contacts",
        "name": f"For {FIRST} {LAST}",
        "start": [{"kind": "by_hand"}],
        "steps": steps,
    }
    flow = api.post("/flows", params={"record": "contacts"}, json={"definition": written}).json()
    api.act(f"/flows/{flow['id']}/activate", flow["version"])
    draft = written | {"name": f"Again for {EMAIL}", "note": 33698765432}
    saved = api.patch(
        f"/flows/{flow['id']}",
        json={"definition": draft},
        headers={"If-Match": f'"{flow["version"]}"'},
    )
    assert saved.is_success, saved.text
    begun = api.make(f"/flows/{flow['id']}/runs", records=[person])
    run = begun["begun"][person]
    wait_for("the run waits", lambda: api.see(f"/runs/{run}")["wakes_at"])
    assert api.post(f"/runs/{run}/skip", json={"way": "done"}).is_success
    begun = api.make(f"/flows/{flow['id']}/runs", records=[person])


def _take_files_out(api: Api) -> None:
    for format in ("csv", "xlsx"):
        started = api.post("/contacts/exports", json={"format": format})
        assert started.status_code == 202, started.text
        job = started.headers["location"].removeprefix("/api/v1")
        wait_for("the export", lambda job=job: api.see(job)["status"] == "done")


def _plant_rows(running: System, tenant: Tenant, person: str) -> None:
    """What is hard to bring about by the API alone: a message, a parked event, a job."""
    with running.database(running.roles("connect").owner) as connection:
        connection.cursor().execute(
            "INSERT INTO messages (id, tenant_id, version, created_at, updated_at, intent_id,"
            " sender, channel, purpose, to_address, to_name, person_id, language, subject, text,"
            " secret, fingerprint, urgent, state, attempts, wake_at) VALUES (gen_random_uuid(), %s,"
            " 1, now(), now(), gen_random_uuid(), 'sales', 'email', 'survey', %s, %s, %s, 'en',"
            " %s, %s, false, 'x', false, 'sent', 1, now())",
            (str(tenant.id), EMAIL, f"{FIRST} {LAST}", person, f"Dear {FIRST} {LAST}", "Hello"),
        )
    for service in ("contacts", "sales", "connect", "identity"):
        with running.database(running.roles(service).owner) as connection:
            cursor = connection.cursor()
            body = json.dumps({"tenant": str(tenant.id), "data": {"name": f"{FIRST} {LAST}"}})
            cursor.execute(
                "INSERT INTO failed_events (id, handler, queue, event_id, tenant_id, type, key,"
                " seq, body, state, attempt, turn, first_failed_at, last_failed_at) VALUES"
                " (gen_random_uuid(), 'on_tenant_saved', 'q', gen_random_uuid(), %s, 'planted',"
                " 'k', 1, %s, 'parked', 5, 1, now(), now())",
                (str(tenant.id), body),
            )
            cursor.execute(
                "INSERT INTO jobs (id, tenant_id, kind, title, arguments, checkpoint, status, done,"
                " cancel, attempts, created_at) VALUES (gen_random_uuid(), %s, 'planted', 'x',"
                " %s, '{}', 'done', 0, false, 1, now())",
                (str(tenant.id), json.dumps({"to": EMAIL})),
            )


def finished(api: Api, id: str, seconds: float = 60) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = api.see(f"/privacy-requests/{id}")
        return found if found["state"] == "done" else None

    return wait_for("every module has answered", look, seconds=seconds)


def erased(api: Api, id: str) -> dict[str, Any]:
    answer = api.post(f"/contacts/{id}/erase", json={"reason": "asked"})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def holding(running: System, tenant: Tenant) -> set[str]:
    rows = running.rows(
        "contacts",
        "SELECT module FROM holding_modules WHERE tenant_id = %s AND retired_at IS NULL",
        (str(tenant.id),),
    )
    return {row["module"] for row in rows}


@pytest.fixture
def tenant(running: System) -> Iterator[Tenant]:
    """An organisation whose modules have all said that they hold data of persons."""
    made = running.tenant("Privacy")
    wait_for("every module has said so", lambda: holding(running, made) == HOLDERS)
    yield made
    for service in ("sales",):
        if service not in running.processes:
            running.start_service(service)


def test_after_an_erasure_the_person_is_found_nowhere(
    running: System, tenant: Tenant, tmp_path: Any
) -> None:
    api = tenant.api
    spared = api.make("/contacts", first_name="Zoltan", last_name="Spared")
    them = planted(running, tenant)
    before = canaries_in(running)

    request = finished(api, erased(api, them["person"]["id"])["id"])

    assert len(before) > 12
    assert canaries_in(running) == []
    assert api.see(f"/contacts/{spared['id']}")["last_name"] == "Spared"
    deal = api.see(f"/opportunities/{them['deal']['id']}")
    assert (deal["name"], deal["contact_id"], deal["custom"]) == ("Tea for [erased]", None, {})
    (flow,) = api.every("/flows")
    runs = api.every(f"/flows/{flow['id']}/runs")
    assert flow["name"] == "Again for [erased]"
    assert [(run["state"], run["outcome"]) for run in runs] == [
        ("ended", "erased"),
        ("ended", "done"),
    ]
    assert api.get(f"/contacts/{them['person']['id']}").status_code == 404
    _is_genuine(running, request["certificate"], tmp_path)


def _is_genuine(running: System, certificate: dict[str, Any], folder: Any) -> None:
    trusted = running.ground.environment("contacts")["LIAISON_TRUST_DIR"]

    def checked(text: str) -> int:
        file = folder / "certificate.json"
        file.write_text(text)
        command = [sys.executable, "-m", "liaison_kit.certificates", str(file)]
        done = subprocess.run([*command, "--trust-dir", trusted], capture_output=True, text=True)
        return done.returncode

    written = json.dumps(certificate)
    assert checked(written) == 0
    assert checked(written.replace('"asked"', '"unlawful"')) == 1
    assert {part["module"] for part in certificate["modules"]} == HOLDERS


def test_a_module_that_is_away_is_named_and_finishes_when_it_is_back(
    running: System, tenant: Tenant
) -> None:
    api = tenant.api
    person = api.make("/contacts", first_name="Away", last_name="Asker")
    running.kill("sales")
    request = erased(api, person["id"])

    def others_have_answered() -> dict[str, Any] | None:
        found = api.see(f"/privacy-requests/{request['id']}")
        done = {part["module"] for part in found["modules"] if part["state"] == "done"}
        return found if done == HOLDERS - {"sales"} else None

    waiting = wait_for("the others have answered", others_have_answered, seconds=40)
    running.start_service("sales")

    assert waiting["state"] == "running"
    assert [p["module"] for p in waiting["modules"] if p["state"] == "waiting"] == ["sales"]
    assert finished(api, request["id"])["state"] == "done"


def test_a_module_that_is_retired_is_waited_for_no_more(running: System, tenant: Tenant) -> None:
    api = tenant.api
    person = api.make("/contacts", first_name="Retired", last_name="Asker")
    running.kill("sales")
    request = erased(api, person["id"])

    answer = api.post("/modules/sales/retire")

    assert answer.status_code == 204, answer.text
    done = finished(api, request["id"])
    assert {p["module"]: p["state"] for p in done["modules"]}["sales"] == "retired"
    assert api.post("/modules/sales/retire").status_code == 404
    audit = wait_for(
        "the audit trail has it",
        lambda: [e for e in api.every("/audit") if e["action"] == "module_retired"],
    )
    assert audit[0]["details"] == {"module": "sales"}


def test_who_asks_gets_what_every_module_holds_and_nobody_else_does(
    running: System, tenant: Tenant
) -> None:
    api = tenant.api
    label = {"en": "Badge", "fr": "Badge"}
    field = {"name": "badge", "kind": "text", "label": label, "personal": True}
    assert api.post("/custom-fields", params={"record": "contacts"}, json=field).is_success
    badge = {"badge": "B-4713"}
    person = api.make("/contacts", first_name="Held", last_name="Asker", custom=badge)
    _plant_flows(api, person["id"])
    api.make(f"/contacts/{person['id']}/notes", body="likes tea")
    api.make("/opportunities", name="Chairs", contact_id=person["id"])
    other = api.make("/users", name="Other", email="other@held.example")
    answer = api.post(f"/contacts/{person['id']}/access")
    assert answer.status_code == 201, answer.text

    done = finished(api, answer.json()["id"])
    held = api.get(f"/privacy-requests/{done['id']}/file").json()

    assert (done["has_file"], held["person"]) == (True, person["id"])
    assert held["modules"]["contacts"]["people"][0]["last_name"] == "Asker"
    assert held["modules"]["contacts"]["people"][0]["custom"] == badge
    assert [run["flow"] for run in held["modules"]["contacts"]["flow_runs"]] == ["canary"] * 2
    assert held["modules"]["contacts"]["flow_log"][0]["step"] == "calm"
    assert held["modules"]["contacts"]["notes"][0]["body"] == "likes tea"
    assert held["modules"]["sales"]["opportunities"][0]["name"] == "Chairs"
    assert other["id"] not in json.dumps(held)
