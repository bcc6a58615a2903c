"""schemathesis over the composed API: answers are as the document says, and never 5xx.

Half of the requests are what the document allows, half are not. Where a path names a record, some
of them name one that is there, at its version, so that they get past the first check.
"""

import itertools
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.system import Api, System, Tenant, wait_for

EXAMPLES = 8
LEFT_OUT = {
    ("POST", "/api/v1/sign-out"): "it would end the session that asks",
    ("POST", "/api/v1/contacts/{id}/erase"): "others would find nobody any more",
    ("POST", "/api/v1/contacts/{id}/merge"): "others would find nobody any more",
    ("POST", "/api/v1/companies/{id}/merge"): "others would find nothing any more",
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


FLOW = {
    "key": "fuzz",
    "record": "companies",
    "start": [{"kind": "by_hand"}],
    "steps": {"calm": {"kind": "wait", "for": "3 days", "next": "end"}},
}


@pytest.fixture(scope="module")
def fuzzed(running: System) -> Tenant:
    """A tenant whose records nobody else needs."""
    return running.tenant("Fuzz")


@pytest.fixture(scope="module")
def known(fuzzed: Tenant) -> dict[str, str]:
    """For each kind of path, the id of a record that is there."""
    api = fuzzed.api
    contact = api.make("/contacts", last_name="Fuzz")
    user = api.make("/users", name="Fuzz", email="fuzz@example.com", password="x" * 12)
    file = api.post(f"/contacts/{contact['id']}/attachments", files={"file": ("a.txt", b"abc")})
    imported = api.post(
        "/imports",
        params={"record": "companies"},
        files={"file": ("companies.csv", b"Name\nFuzz AG\n", "text/csv")},
    ).json()
    tried = api.post(f"/imports/{imported['id']}/dry-run").json()
    wait_for("the dry run", lambda: _ended(api, tried["job"]))
    company = api.make("/companies", name="Fuzz")
    flow = api.post("/flows", params={"record": "companies"}, json={"definition": FLOW}).json()
    api.act(f"/flows/{flow['id']}/activate", flow["version"])
    begun = api.make(f"/flows/{flow['id']}/runs", records=[company["id"]])["begun"]
    exported = api.post("/companies/exports", json={}).json()
    many = {"ids": [contact["id"]], "add_tags": ["Fuzz"]}
    changed = api.post("/contacts/bulk", json=many).json()
    wait_for("the export", lambda: _ended(api, exported["job"]))
    wait_for("the bulk change", lambda: _ended(api, changed["job"]))
    deleted = {}
    for record, named in (
        ("contacts", {"last_name": "Gone"}),
        ("companies", {"name": "Gone"}),
        ("opportunities", {"name": "Gone"}),
        ("products", {"name": "Gone"}),
    ):
        gone = api.make(f"/{record}", **named)
        at = {"If-Match": f'"{gone["version"]}"'}
        assert api.delete(f"/{record}/{gone['id']}", headers=at).is_success
        deleted[f"deleted {record}"] = gone["id"]
    return deleted | {
        "contacts": contact["id"],
        "companies": company["id"],
        "flows": flow["id"],
        "runs": begun[company["id"]],
        "opportunities": api.make("/opportunities", name="Fuzz")["id"],
        "products": api.make("/products", name="Fuzz")["id"],
        "pipelines": api.make("/pipelines", name="Fuzz")["id"],
        "users": user["id"],
        "teams": api.make("/teams", name="Fuzz")["id"],
        "roles": api.make("/roles", name="Fuzz")["id"],
        "notes": api.make(f"/contacts/{contact['id']}/notes", body="Fuzz")["id"],
        "attachments": file.json()["id"],
        "custom-fields": api.post(
            "/custom-fields",
            params={"record": "contacts"},
            json={"name": "fuzz", "kind": "text", "label": {"en": "Fuzz", "fr": "Fuzz"}},
        ).json()["id"],
        "imports": imported["id"],
        "jobs": tried["job"],
        "exports": exported["job"],
        "bulk": changed["job"],
        "templates": api.make(
            "/templates", code="fuzz", language="en", name="Fuzz", subject="Fuzz", text="Fuzz"
        )["id"],
        "views": api.make("/views", name="Fuzz", record="contacts")["id"],
        "tokens": api.make("/tokens", label="Fuzz", permissions=["contacts:read"])["id"],
    }


def _ended(api: Api, job: str) -> bool:
    return bool(api.see(f"/jobs/{job}")["status"] in ("done", "failed"))


@pytest.fixture(scope="module")
def session(fuzzed: Tenant) -> Iterator[requests.Session]:
    with requests.Session() as found:
        found.headers["Authorization"] = fuzzed.api.headers["Authorization"]
        yield found


@pytest.mark.timeout(400)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_operation_answers_as_the_document_says(
    running: System,
    known: dict[str, str],
    session: requests.Session,
    mode: GenerationMode,
) -> None:
    schema = schemathesis.openapi.from_url(f"{running.address}/api/v1/openapi.json")
    faults: dict[str, str] = {}
    answered: dict[str, set[int]] = {}
    operations = [result.ok() for result in schema.get_all_operations()]
    # What deletes comes last, so that others still find something; what may delete all at the end.
    for operation in sorted(
        operations, key=lambda o: (o.path.endswith("/bulk"), o.method.upper() == "DELETE", o.path)
    ):
        name = f"{operation.method.upper()} {operation.path}"
        if (operation.method.upper(), operation.path) in LEFT_OUT:
            continue
        statuses = answered.setdefault(name, set())
        fault = _fuzz(operation, mode, known, session, statuses)
        if fault:
            faults[name] = fault

    assert not faults, "\n\n".join(f"{name}:\n{fault}" for name, fault in faults.items())
    assert len(answered) > 60
    if mode is GenerationMode.POSITIVE:
        # What never got past the checks has not been tested; some acts can't, once others have.
        passed = {name for name, statuses in answered.items() if min(statuses) < 300}
        assert len(passed) > len(answered) * 2 / 3, sorted(set(answered) - passed)


def _fuzz(
    operation: Any,
    mode: GenerationMode,
    known: dict[str, str],
    session: requests.Session,
    statuses: set[int],
) -> str | None:
    """What is wrong with an operation's answers, if anything is; `statuses` gets all of them."""
    record, *rest = operation.path.removeprefix("/api/v1/").split("/")
    # What is to be restored has been deleted.
    there = known.get(f"deleted {record}" if rest[-1:] == ["restore"] else record)
    tries = itertools.count()
    versions = _versioned(operation, session, there)

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        checks = list(CHECKS)
        aimed = next(tries) % 3 > 0
        if aimed and there and "id" in (case.path_parameters or {}):
            case.path_parameters["id"] = there
            if versions and "If-Match" in (case.headers or {}):
                case.headers["If-Match"] = versions()
        elif aimed and "record" in (case.query or {}):
            # Operations that modules share are told by the kind of record whose they are.
            about = {
                "record": "companies",
                "record_id": known["companies"],
                "id": known["companies"],
            }
            case.query |= {name: about[name] for name in about.keys() & case.query.keys()}
        elif mode is GenerationMode.NEGATIVE:
            # An aimed one may have been mended by its aim.
            checks.append(negative_data_rejection)
        response = case.call(session=session, timeout=30)
        statuses.add(response.status_code)
        refused_as_too_much = response.status_code in (413, 414)
        if negative_data_rejection in checks and (refused_as_too_much or _reads_otherwise(case)):
            checks.remove(negative_data_rejection)
        case.validate_response(response, checks=checks)

    try:
        one()
    except FailureGroup as group:
        return "\n".join(f"  {type(f).__name__}: {f.message}" for f in group.exceptions)[:3000]
    except Exception as error:
        return f"  {type(error).__name__}: {str(error)[:1500]}"
    return None


def _reads_otherwise(case: Any) -> bool:
    """Whether the address can't say what is wrong: a value with a comma in it reads as two."""
    lists = (value for value in (case.query or {}).values() if isinstance(value, list))
    return any("," in str(item) for items in lists for item in items)


def _versioned(operation: Any, session: requests.Session, there: str | None) -> Any:
    """Asks for the present version of the record that requests are aimed at."""
    if there is None or uuid.UUID(there).version != 7:
        return None
    record = f"{operation.base_url.rstrip('/')}{operation.path.split('/{')[0]}/{there}"

    def ask() -> str:
        answer = session.get(record, timeout=30)
        return str(answer.headers.get("ETag") or '"1"')

    return ask
