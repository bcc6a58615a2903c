"""One broker for all tests; gateways as processes; services as small peers."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from liaison_kit.run.rabbitmq import RabbitMQ
from liaison_kit.testing import keyring
from liaison_kit.trust.principals import Principals

sys.path.insert(0, str(Path(__file__).parent))

from gateway_peer import Peer, json_answer, operation, problem_answer
from gateway_process import TENANT, Gateway, identity_peer

NOTE = {"$ref": "#/components/schemas/Note"}


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as node:
        yield node


@pytest.fixture(scope="session")
def identity(broker: RabbitMQ) -> Iterator[Peer]:
    peer = identity_peer(broker.url).start()
    yield peer
    peer.die()


@pytest.fixture(scope="session")
def contacts(broker: RabbitMQ) -> Iterator[Peer]:
    stored: dict[str, dict[int, bytes]] = {}

    def put_part(header: dict[str, Any], body: bytes) -> Any:
        part = header["upload"]
        stored.setdefault(part["id"], {})[part["part"]] = body
        return {"status": 204, "headers": {}}, b""

    def drop_parts(header: dict[str, Any], _body: bytes) -> Any:
        stored.pop(header["upload"]["id"], None)
        return {"status": 204, "headers": {}}, b""

    def uploaded(header: dict[str, Any], _body: bytes) -> Any:
        file = header["upload"]
        parts = stored.get(file["id"], {})
        content = b"".join(parts[n] for n in sorted(parts))
        return json_answer({**file, "parts": len(parts), "sum": sum(content), "got": len(content)})

    def get_part(header: dict[str, Any], _body: bytes) -> Any:
        part = header["upload"]["part"]
        return {"status": 200, "content_type": "text/csv"}, b"%d" % part * 300_000

    def download(_header: dict[str, Any], _body: bytes) -> Any:
        head = {
            "status": 200,
            "headers": {"Content-Disposition": 'attachment; filename="x.csv"'},
            "content_type": "text/csv",
            "parts": 3,
            "upload": str(uuid4()),
        }
        return head, b""

    def echo(header: dict[str, Any], body: bytes) -> Any:
        return json_answer({"header": header, "body": body.decode("latin-1")}, ETag='"7"')

    peer = Peer(
        broker.url,
        "contacts",
        [
            operation(
                "get_contact",
                "GET",
                "/contacts/{id}",
                permission="contacts:read",
                path_params=[{"name": "id", "schema": {"type": "string", "format": "uuid"}}],
                response=NOTE,
            ),
            operation("summary", "GET", "/contacts/summary", permission="contacts:read"),
            operation("list_contacts", "GET", "/contacts", permission="contacts:read", list=True),
            operation(
                "create_contact",
                "POST",
                "/contacts",
                permission="contacts:write",
                request=NOTE,
                status=201,
                idempotent=True,
                problems=[409],
            ),
            operation(
                "update_contact",
                "PATCH",
                "/contacts/{id}",
                permission="contacts:write",
                if_match=True,
                request=NOTE,
            ),
            operation("raw", "GET", "/raw"),
            operation("slow", "GET", "/slow"),
            operation("broken", "GET", "/broken"),
            operation(
                "import_file",
                "POST",
                "/imports",
                shared="record",
                upload=True,
                records=["contacts", "companies"],
                permission="imports:write",
            ),
            operation("get_import", "GET", "/imports/{id}", shared="id"),
            operation("get_rest", "GET", "/imports/{id}/rest", shared="id", download=True),
            operation("list_imports", "GET", "/imports", shared="merge"),
            operation("attach", "POST", "/files", upload=True),
            operation("refuse_file", "POST", "/refused-files", upload=True),
            operation("ask_publicly", "GET", "/public", public=True),
            operation("download", "GET", "/files/{id}", download=True),
        ],
        {
            "get_contact": echo,
            "summary": lambda _h, _b: json_answer({"summary": True}),
            "list_contacts": echo,
            "create_contact": echo,
            "update_contact": echo,
            "raw": lambda _h, _b: (
                {"status": 200, "headers": {}, "content_type": "application/json"},
                b'{ "n" : 1.00,\t"z":"\xc3\xa9" }\n',
            ),
            "slow": lambda _h, _b: None,
            "broken": lambda _h, _b: ({"nothing": "of use"}, b""),
            "import_file": uploaded,
            "get_import": _mine("0199f0a0-0000-7000-8000-00000000000c", "contacts"),
            "get_rest": _rest("0199f0a0-0000-7000-8000-00000000000c"),
            "list_imports": _page("contacts", 1, 3, 5),
            "attach": uploaded,
            "ask_publicly": echo,
            "download": download,
            "put_part": put_part,
            "get_part": get_part,
            "drop_parts": drop_parts,
            "refuse_file": lambda _h, _b: problem_answer(422, "invalid_input"),
            "search_records": lambda _h, _b: json_answer({"groups": []}),
            "may_read": _readable,
        },
        schemas={"Note": {"type": "object", "properties": {"text": {"type": "string"}}}},
        records=[
            {
                "name": "contacts",
                "label": {"en": "People", "fr": "Personnes"},
                "permission": "contacts:read",
                "searchable": True,
                "fields": [],
            }
        ],
        menu=[{"label": {"en": "People", "fr": "Personnes"}, "path": "/contacts", "icon": "users"}],
        mine=[
            {"name": "mine", "query": {"owner_id": "me"}, "permission": "contacts:read"},
        ],
        events=[
            {"type": "contact_saved", "record": "contacts", "permission": "contacts:read"},
            {"type": "secret_saved", "record": "contacts", "permission": "contacts:secret"},
            {"type": "noticed", "record": "notices", "permission": None, "to": "owner"},
        ],
        notification_kinds=[{"name": "given", "label": {"en": "Given", "fr": "Confié"}}],
    ).start()
    yield peer
    peer.die()


@pytest.fixture(scope="session")
def sales(broker: RabbitMQ) -> Iterator[Peer]:
    def imported(header: dict[str, Any], _body: bytes) -> Any:
        location = "/api/v1/imports/0199f0a0-0000-7000-8000-00000000000d"
        return json_answer({"service": "sales", "file": header["upload"]}, 202, Location=location)

    peer = Peer(
        broker.url,
        "sales",
        [
            operation("get_import", "GET", "/imports/{id}", shared="id"),
            operation("get_rest", "GET", "/imports/{id}/rest", shared="id", download=True),
            operation("list_imports", "GET", "/imports", shared="merge"),
            operation(
                "import_file",
                "POST",
                "/imports",
                shared="record",
                upload=True,
                records=["opportunities"],
                permission="imports:write",
            ),
            operation(
                "create_note",
                "POST",
                "/notes",
                request=NOTE,
                response=NOTE,
            ),
        ],
        {
            "get_import": _mine("0199f0a0-0000-7000-8000-00000000000d", "sales"),
            "get_rest": _rest("0199f0a0-0000-7000-8000-00000000000d"),
            "get_part": lambda _h, _b: ({"status": 200, "content_type": "text/csv"}, b"sales' own"),
            "list_imports": _page("sales", 2, 4),
            "import_file": imported,
            "put_part": lambda _h, _b: ({"status": 204, "headers": {}}, b""),
            "create_note": lambda _h, _b: json_answer({}),
        },
        schemas={"Note": {"type": "object", "properties": {"amount": {"type": "number"}}}},
    ).start()
    yield peer
    peer.die()


def _readable(header: dict[str, Any], body: bytes) -> Any:
    """Whoever has a row rule sees what is theirs: its id is their own."""
    who = Principals(keyring("contacts")).read(header["principal"])
    theirs = not who.rows or str(who.user) == json.loads(body)["id"]
    if str(who.tenant) == TENANT and theirs:
        return {"status": 204, "headers": {}}, b""
    return problem_answer(404, "not_found")


def _mine(wanted: str, service: str) -> Any:
    def answer(header: dict[str, Any], _body: bytes) -> Any:
        if header["path"]["id"] == wanted:
            return json_answer({"id": wanted, "service": service})
        return problem_answer(404, "not_found")

    return answer


def _rest(wanted: str) -> Any:
    """A file of one part, at who has the record."""

    def answer(header: dict[str, Any], _body: bytes) -> Any:
        if header["path"]["id"] != wanted:
            return problem_answer(404, "not_found")
        head = {"status": 200, "headers": {}, "content_type": "text/csv", "parts": 1}
        return head | {"upload": str(uuid4())}, b""

    return answer


def _page(service: str, *numbers: int) -> Any:
    ids = [f"0199f0a0-0000-7000-8000-{number:012x}" for number in sorted(numbers, reverse=True)]

    def answer(header: dict[str, Any], _body: bytes) -> Any:
        query = dict(header["query"])
        left = [i for i in ids if "cursor" not in query or i < query["cursor"]]
        limit = int(query.get("limit", 50))
        following = left[limit - 1] if len(left) > limit else None
        items = [{"id": i, "service": service} for i in left[:limit]]
        return json_answer({"items": items, "next": following})

    return answer


@pytest.fixture(scope="session")
def gateway(broker: RabbitMQ, identity: Peer, contacts: Peer, sales: Peer) -> Iterator[Gateway]:
    gateway = Gateway(broker.url, body_limit_bytes="100000", upload_limit_bytes="2000000")
    gateway.wait("identity", "contacts", "sales")
    yield gateway
    gateway.stop()


@pytest.fixture(scope="session")
def api(gateway: Gateway) -> Iterator[httpx.Client]:
    """A client that may do everything."""
    with gateway.as_("everything") as client:
        yield client
