"""Whoever reaches the broker is nobody: not a user, not a service, not a reader of passwords.

Each attacker here has the broker administrator's own connection, or a stolen service's.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from importlib import import_module
from typing import Any
from uuid import uuid4

import httpx
import pika
import psycopg2
import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey
from pika.exceptions import AMQPError, ChannelClosedByBroker, ProbableAccessDeniedError
from tests.system import PASSWORD, Api, System, Tenant, wait_for

from liaison_kit.database.migrations import services
from liaison_kit.trust import keys
from liaison_kit.trust.keys import Keyring
from liaison_kit.trust.signatures import Signer

Channel = Any


@contextmanager
def channel_of(url: str) -> Iterator[Channel]:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        yield connection.channel()


@pytest.fixture
def bus(running: System) -> Iterator[Channel]:
    """A channel of somebody whom the broker allows everything."""
    with channel_of(running.rabbitmq.url) as channel:
        yield channel


_GENERATION = """
import sys
from importlib import import_module
from liaison_kit import additions
from liaison_kit.calls.manifest import generation
from liaison_kit.plugins import Hooks

service = getattr(import_module(sys.argv[1]), sys.argv[2])
hooks = Hooks(service.name, 1)
hooks.load()
service.added = additions.gather(service.name, hooks, [each.kind for each in service.resources])
print(generation(service))
"""


@cache
def queue_of(service: str) -> str:
    """Where the calls to a service's operations come in, those that plugins add among them."""
    module, _, name = services()[service].partition(":")
    # In a process of its own: what plugins add stays with the service.
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _GENERATION, module, name],
        capture_output=True,
        text=True,
        check=True,
    )
    return f"rpc-{service}.{told.stdout.strip()}"


def address_of(operation: str) -> str:
    """The routing key of a call."""
    service, _, name = operation.partition(".")
    module, _, of = services()[service].partition(":")
    found = getattr(getattr(import_module(module), of), name, None)
    if found is not None and found.operation.internal:
        return f"{service}.internal.{name}"
    return f"{queue_of(service).removeprefix('rpc-')}.{name}"


def ask(
    channel: Channel, address: str, body: bytes, principal: Any, exchange: str = "nameko-rpc"
) -> tuple[int, bytes]:
    """The status and the body of what a service answers to a message made by hand."""
    answers: list[tuple[int, bytes]] = []

    def answered(_channel: Any, _method: Any, properties: Any, answer: bytes) -> None:
        answers.append((json.loads(properties.headers["liaison"])["status"], answer))

    tag = channel.basic_consume("amq.rabbitmq.reply-to", answered, auto_ack=True)
    meta = {"principal": principal, "deadline": time.time() + 30, "path": {}, "query": []}
    channel.basic_publish(
        exchange,
        address,
        body,
        pika.BasicProperties(
            headers={"liaison": json.dumps(meta)},
            reply_to="amq.rabbitmq.reply-to",
            correlation_id=str(uuid4()),
        ),
    )
    ends = time.monotonic() + 40
    while not answers:
        assert time.monotonic() < ends, f"nobody takes calls to {address}"
        channel.connection.process_data_events(time_limit=1)
    channel.basic_cancel(tag)
    return answers[0]


def refused(running: System, program: str, what: str) -> float:
    """How many of such a process has refused so far."""
    port = running.processes[program].ops_port
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    return sum(
        float(line.rpartition(" ")[2])
        for line in metrics.splitlines()
        if line.startswith("liaison_refused_total{") and f'what="{what}"' in line
    )


def claims(tenant: Tenant, **more: Any) -> dict[str, Any]:
    return {
        "iss": "identity",
        "exp": int(time.time()) + 100,
        "sub": str(uuid4()),
        "tenant": str(tenant.id),
        "name": "Mallory",
        "permissions": ["*"],
        "rows": {},
        "peers": [],
        "locale": "en",
        "token_id": str(uuid4()),
        "kind": "session",
        **more,
    }


def ring(running: System, party: str) -> Keyring:
    """The keys of a service, as somebody has who has stolen them."""
    credentials = running.ground.credentials
    return Keyring(party, credentials.folder / party / "keys.json", credentials.trusted)


# --- calls ----------------------------------------------------------------------------------------


def test_a_principal_is_believed_only_if_identity_has_signed_it(
    running: System, tenant: Tenant, bus: Channel
) -> None:
    mine = OKPKey.generate_key("Ed25519", {"kid": ring(running, "identity").signing()[0]})
    stolen = ring(running, "sales").signing_jwk()
    body = b'{"name":"Forged Ltd"}'
    before = running.count("contacts", "companies", tenant.id)
    counted = refused(running, "contacts", "call")

    for principal in (
        claims(tenant),
        json.dumps(claims(tenant)),
        jwt.encode({"alg": "Ed25519", "kid": mine.kid}, claims(tenant), mine, ["Ed25519"]),
        jwt.encode({"alg": "Ed25519", "kid": stolen.kid}, claims(tenant), stolen, ["Ed25519"]),
        None,
        "",
    ):
        status, answer = ask(bus, address_of("contacts.create_company"), body, principal)

        assert status == 401, answer
    assert running.count("contacts", "companies", tenant.id) == before
    assert refused(running, "contacts", "call") == counted + 5


def test_nobody_makes_an_organisation_or_an_administrator_by_a_message(
    running: System, tenant: Tenant, bus: Channel
) -> None:
    new = {
        "name": "Mine",
        "administrator": {"name": "M", "email": "m@mine.example", "password": PASSWORD},
    }
    before = running.rows("identity", "SELECT count(*) AS n FROM tenants")

    address = address_of("identity.create_tenant")
    status, _ = ask(bus, address, json.dumps(new).encode(), claims(tenant))

    assert status >= 400
    assert running.rows("identity", "SELECT count(*) AS n FROM tenants") == before


def test_a_call_that_comes_around_the_exchange_is_not_answered_as_one(
    running: System, bus: Channel
) -> None:
    """The default exchange leads into every queue, past what the broker allows by topic."""
    status, _ = ask(bus, queue_of("identity"), b"{}", None, exchange="")

    assert status >= 400


def test_no_password_crosses_the_bus_in_clear(running: System, bus: Channel) -> None:
    queue = bus.queue_declare("", exclusive=True).method.queue
    for exchange in ("nameko-rpc", "identity.events", "liaison.manifests"):
        bus.queue_bind(queue, exchange, "#")
    secret, next_one = f"open {uuid4()}", f"sesame {uuid4()}"

    victim = running.tenant("victim")
    user = victim.api.make("/users", name="Zoe", email=f"z@{victim.slug}.example", password=secret)
    hers = running.sign_in(user["email"], victim.slug, secret)
    changed = hers.post(
        f"/users/{user['id']}/password", json={"password": next_one, "current_password": secret}
    )
    running.sign_in(user["email"], victim.slug, next_one)

    assert changed.status_code == 200
    seen = []
    while (message := bus.basic_get(queue, auto_ack=True))[0] is not None:
        seen.append(
            (message[0].routing_key, json.dumps(message[1].headers, default=str), message[2])
        )
    heard = {key for key, _, _ in seen}
    sealed = ("sign_in", "create_user", "set_password")
    assert {address_of(f"identity.{operation}") for operation in sealed} <= heard
    for _, head, body in seen:
        for said in (secret, next_one, PASSWORD, _token(hers)):
            assert said not in head
            assert said.encode() not in body


def test_what_should_be_sealed_is_not_taken_open(running: System, bus: Channel) -> None:
    body = b'{"email":"a@b.example","password":"x"}'
    status, answer = ask(bus, address_of("identity.sign_in"), body, None)

    assert status == 400
    assert b"sealed" in answer


def _token(api: Api) -> str:
    return api.headers["authorization"].removeprefix("Bearer ")


# --- events and announcements ---------------------------------------------------------------------


def deal_won(tenant: Tenant, company: str, source: str = "sales") -> bytes:
    envelope = {
        "id": str(uuid4()),
        "type": "deal_won",
        "version": 1,
        "source": source,
        "seq": 1,
        "tenant": str(tenant.id),
        "occurred_at": "2026-01-01T00:00:00Z",
        "key": str(uuid4()),
        "correlation_id": str(uuid4()),
        "data": {
            "opportunity_id": str(uuid4()),
            "name": "Forged deal",
            "company_id": company,
            "contact_id": None,
            "owner_id": None,
            "amount": {"amount": "1.00", "currency": "EUR"},
            "won_on": "2026-01-01",
        },
    }
    return json.dumps(envelope).encode()


@pytest.mark.parametrize("way", ["exchange", "queue", "retry"])
def test_an_event_is_believed_only_if_its_service_has_signed_it(
    running: System, tenant: Tenant, api: Api, bus: Channel, way: str
) -> None:
    company = api.make("/companies", name=f"Target by {way}")
    (theirs,) = Signer(ring(running, "contacts")).sign("event", [deal_won(tenant, company["id"])])
    unsigned = deal_won(tenant, company["id"])
    counted = refused(running, "contacts", "event")

    for body in (unsigned, unsigned[:-1] + b',"signature":"a.0.b.c"}'):
        if way == "exchange":
            bus.basic_publish("sales.events", "deal_won.0", body)
        else:
            turn = pika.BasicProperties(headers={"turn": 1 if way == "retry" else 0})
            bus.basic_publish("", "contacts.on_deal_won", body, turn)

    wait_for("both are refused", lambda: refused(running, "contacts", "event") >= counted + 2)
    # One that contacts has signed for sales is looked at by somebody; nothing comes of it either.
    bus.basic_publish("sales.events", "deal_won.0", theirs)
    wait_for("it is parked", lambda: _parked(running) >= 1)
    assert api.see(f"/companies/{company['id']}")["customer_since"] is None
    running.rows("contacts", "DELETE FROM failed_events RETURNING id")


def _parked(running: System) -> int:
    found = running.rows("contacts", "SELECT count(*) AS n FROM failed_events WHERE type = ''")
    return int(found[0]["n"])


def evil(service: str, **more: Any) -> bytes:
    operation = {
        "name": "sign_in",
        "method": "POST",
        "path": "/sign-in",
        "summary": "Mine.",
        "permission": None,
        "public": True,
    }
    told = {
        "service": service,
        "version": "99.0.0",
        "instance": f"{service}-{uuid4()}",
        "label": {"en": "Evil", "fr": "Mal"},
        "operations": [operation],
        "schemas": {},
        "records": [],
        "permissions": [],
        "menu": [],
        "at": time.time(),
        **more,
    }
    return json.dumps(told).encode()


def test_a_service_is_announced_by_itself_only(
    running: System, bus: Channel, tmp_path: Any
) -> None:
    keys.create("evil", tmp_path / "evil.json", tmp_path / "trusted")
    own = Signer(Keyring("evil", tmp_path / "evil.json", tmp_path / "trusted"))
    stolen = Signer(ring(running, "sales"))
    document = httpx.get(f"{running.address}/api/v1/openapi.json").json()
    counted = refused(running, "gateway", "announcement")

    forged = [
        evil("identity"),
        evil("evil"),
        own.sign("announcement", [evil("evil")])[0],
        own.sign("announcement", [evil("identity")])[0],
        stolen.sign("announcement", [evil("identity")])[0],
        stolen.sign("event", [evil("sales")])[0],
        evil("identity", gone=True),
    ]
    for body in forged:
        bus.basic_publish("liaison.manifests", "", body)
    # An old one of its own, told again, is no news either.
    (old,) = stolen.sign("announcement", [evil("sales", at=time.time() - 3600)])
    bus.basic_publish("liaison.manifests", "", old)

    wait_for(
        "all are refused",
        lambda: refused(running, "gateway", "announcement") >= counted + len(forged),
    )
    assert httpx.get(f"{running.address}/api/v1/openapi.json").json() == document
    assert running.tenant().api.see("/me")["kind"] == "session"


# --- a stolen service -----------------------------------------------------------------------------

Act = Callable[[Channel], Any]


def stolen(running: System, service: str) -> str:
    """The broker's address as a service knows it."""
    return running.ground.credentials.broker_url(service, running.rabbitmq.url)


@pytest.mark.parametrize(
    "act",
    [
        lambda c: c.queue_bind(
            c.queue_declare("sales.spy").method.queue, "nameko-rpc", "identity.*.*"
        ),
        lambda c: c.queue_bind(c.queue_declare("sales.spy").method.queue, "nameko-rpc", "#"),
        lambda c: c.queue_bind(queue_of("identity"), "nameko-rpc", "sales.#"),
        lambda c: _spy(c, "liaison.manifests", ""),
        lambda c: c.queue_declare(queue_of("identity"), durable=True),
        lambda c: c.queue_delete("contacts.on_deal_won"),
        lambda c: c.queue_purge("contacts.on_deal_won"),
        lambda c: c.exchange_delete("contacts.events"),
        lambda c: c.exchange_delete("nameko-rpc"),
        lambda c: list(c.consume(queue_of("identity"), inactivity_timeout=1)),
        lambda c: list(c.consume("contacts.on_deal_won", inactivity_timeout=1)),
        lambda c: c.basic_get(queue_of("contacts")),
        lambda c: _publish(c, "contacts.events", "companies_saved.0"),
        lambda c: _publish(c, "identity.events", "user_removed.0"),
        lambda c: _publish(c, "nameko-rpc", "sales.process.x"),
        lambda c: _publish(c, "liaison.discovery", ""),
    ],
)
def test_a_services_broker_user_reaches_nothing_of_the_others(running: System, act: Act) -> None:
    with (
        pytest.raises((ChannelClosedByBroker, ProbableAccessDeniedError, AMQPError)) as refusal,
        channel_of(stolen(running, "sales")) as channel,
    ):
        act(channel)

    assert "403" in repr(refusal.value), refusal.value
    assert "ACCESS_REFUSED" in repr(refusal.value)


def _spy(channel: Channel, exchange: str, key: str) -> None:
    queue = channel.queue_declare(f"sales.{uuid4()}", exclusive=True).method.queue
    channel.queue_bind(queue, exchange, key)


def _publish(channel: Channel, exchange: str, key: str) -> None:
    channel.confirm_delivery()
    channel.basic_publish(exchange, key, b"{}")


def test_a_services_database_role_enters_no_other_database(running: System) -> None:
    contacts = running.roles("contacts").service

    for other in ("identity", "sales"):
        address = contacts.set(drivername="postgresql", database=f"liaison_{other}")
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            psycopg2.connect(address.render_as_string(hide_password=False))


@pytest.mark.parametrize("service", ["identity", "contacts", "sales"])
def test_a_services_role_owns_nothing_and_may_not_become_who_does(
    running: System, service: str
) -> None:
    with running.as_service(service) as connection, closing(connection.cursor()) as cursor:
        for statement in (
            "ALTER TABLE history DISABLE ROW LEVEL SECURITY",
            "DROP TABLE history",
            "CREATE TABLE mine (id int)",
            f"SET ROLE liaison_{service}_owner",
            "SET ROLE postgres",
            "CREATE ROLE mine",
        ):
            with pytest.raises(psycopg2.Error):
                cursor.execute(statement)


def test_a_process_knows_no_secret_of_another(running: System) -> None:
    folder = running.ground.credentials.folder
    secrets = {
        file.read_text().strip(): file
        for file in folder.rglob("*")
        if file.is_file() and file.name != "keys.json"
    }
    server_password = (running.folder / "postgres" / "password").read_text().strip()

    for name, process in running.processes.items():
        if process.process.poll() is not None:
            continue
        path = f"/proc/{process.process.pid}/environ"
        with open(path, "rb") as file:
            environment = file.read().decode()
        known = {file.parent.name for secret, file in secrets.items() if secret in environment}

        assert known == {name}, name
        assert server_password not in environment


# --- work that goes on ----------------------------------------------------------------------------


def test_a_job_has_the_rights_that_its_person_has_when_it_runs(running: System) -> None:
    tenant = running.tenant("leaver")
    role = next(r for r in tenant.api.every("/roles") if r["external_id"] == "administrator")
    email = f"leaver@{tenant.slug}.example"
    user = tenant.api.make(
        "/users", name="Leaver", email=email, password=PASSWORD, role_ids=[role["id"]]
    )
    hers = running.sign_in(email, tenant.slug)
    # Contacts is away while the job waits for it.
    job = hers.post("/modules/contacts/resend")
    assert job.status_code == 202
    first = tenant.api.see(f"/jobs/{job.json()['job']}")
    wait_for("the job ends", lambda: _ended(tenant.api, first["id"]))
    assert tenant.api.see(f"/jobs/{first['id']}")["status"] == "done"

    running.stop_process("contacts")
    running.start_service("contacts", roles="rpc,events,relay")
    running.wait_until_whole()
    second = hers.post("/modules/contacts/resend").json()["job"]
    tenant.api.change(f"/users/{user['id']}", user["version"], active=False)
    running.start_service("contacts", name="contacts-jobs", roles="jobs")
    wait_for("the job ends", lambda: _ended(tenant.api, second))
    ended = tenant.api.see(f"/jobs/{second}")
    running.stop_process("contacts-jobs")
    running.stop_process("contacts")
    running.start_service("contacts")
    running.wait_until_whole()

    assert ended["status"] == "failed"
    assert "may not go on" in ended["error"]


def _ended(api: Api, job: str) -> bool:
    return api.see(f"/jobs/{job}")["status"] in ("done", "failed", "cancelled")
