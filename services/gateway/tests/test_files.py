"""Files go in and out in parts."""

import contextlib
import hashlib
import select
import socket
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from gateway_peer import Peer
from gateway_process import PEOPLE, TENANT, Gateway, eventually, principal
from hypothesis import given
from hypothesis import strategies as st

from liaison_gateway.uploads import _disposition_name, clean_name
from liaison_kit.run.rabbitmq import RabbitMQ
from liaison_sdk.errors import BadRequest

CONTENT = bytes(range(256)) * 5000  # 1.28 MB: two whole parts and a rest


def test_a_raw_body_is_sent_in_parts(api: httpx.Client):
    answer = api.post(
        "/api/v1/files?name=liste%20%C3%A9t%C3%A9.csv",
        content=CONTENT,
        headers={"Content-Type": "text/csv"},
    )

    file = answer.json()
    assert file["name"] == "liste été.csv"
    assert file["content_type"] == "text/csv"
    assert file["size"] == file["got"] == len(CONTENT)
    assert file["parts"] == 3
    assert file["sum"] == sum(CONTENT)


def test_a_forms_file_is_sent_in_parts(api: httpx.Client):
    answer = api.post(
        "/api/v1/files",
        data={"comment": "hello"},
        files={"file": ("../../été.xlsx", CONTENT, "application/vnd.ms-excel")},
    )

    file = answer.json()
    assert file["name"] == "été.xlsx"
    assert file["content_type"] == "application/vnd.ms-excel"
    assert file["size"] == file["got"] == len(CONTENT)
    assert file["sum"] == sum(CONTENT)


def test_the_disposition_names_the_file(api: httpx.Client):
    answer = api.post(
        "/api/v1/files",
        content=b"x",
        headers={"Content-Disposition": "attachment; filename*=UTF-8''%C3%A9t%C3%A9.txt"},
    )

    assert answer.json()["name"] == "été.txt"


def test_an_empty_file_is_a_file(api: httpx.Client):
    answer = api.post("/api/v1/files?name=empty.csv", content=b"")

    assert answer.json()["size"] == 0
    assert answer.json()["parts"] == 0


def test_a_file_over_the_limit_is_413(api: httpx.Client):
    declared = api.post("/api/v1/files", content=b"x" * 2_000_001)
    chunked = api.post("/api/v1/files", content=(b"x" * 100_000 for _ in range(21)))

    assert (declared.status_code, chunked.status_code) == (413, 413)


def test_a_form_without_a_file_or_with_two_is_400(api: httpx.Client):
    none = api.post("/api/v1/files", files={"comment": (None, b"hello")})
    two = api.post("/api/v1/files", files=[("a", ("a", b"1")), ("b", ("b", b"2"))])
    broken = api.post(
        "/api/v1/files",
        content=b"--x\r\nnothing",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    no_boundary = api.post(
        "/api/v1/files", content=b"x", headers={"Content-Type": "multipart/form-data"}
    )

    for answer in (none, two, broken, no_boundary):
        assert answer.status_code == 400, answer.text


def test_a_stored_file_is_streamed_part_by_part(api: httpx.Client):
    answer = api.get("/api/v1/files/17")

    assert answer.content == b"0" * 300_000 + b"1" * 300_000 + b"2" * 300_000
    assert answer.headers["content-type"] == "text/csv"
    assert answer.headers["content-disposition"] == 'attachment; filename="x.csv"'
    assert api.head("/api/v1/files/17").content == b""


# ---- what comes to nothing


def _stored_and_dropped(peer: Peer, before: int) -> tuple[set[str], set[str]]:
    """The ids of uploads of which parts were stored, and of those that were given up."""
    calls = peer.calls[before:]
    stored = {header["upload"]["id"] for name, header, _ in calls if name == "put_part"}
    dropped = {header["upload"]["id"] for name, header, _ in calls if name == "drop_parts"}
    return stored, dropped


def _is_given_up(peer: Peer, before: int) -> bool:
    stored, dropped = _stored_and_dropped(peer, before)
    return bool(stored) and stored == dropped


@pytest.mark.parametrize("refused", ["by its service", "too large", "a broken form", "two files"])
def test_a_refused_file_is_given_up_at_once(api: httpx.Client, contacts: Peer, refused: str):
    before = len(contacts.calls)
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    part = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + CONTENT

    answer = {
        "by its service": lambda: api.post("/api/v1/refused-files", content=CONTENT),
        "too large": lambda: api.post("/api/v1/files", content=(CONTENT for _ in range(3))),
        "a broken form": lambda: api.post("/api/v1/files", content=part, headers=form),
        "two files": lambda: api.post(
            "/api/v1/files", content=part + b"\r\n" + part[:70], headers=form
        ),
    }[refused]()

    assert answer.status_code in (400, 413, 422)
    eventually(lambda: _is_given_up(contacts, before))


def test_a_file_whose_sender_leaves_is_given_up(gateway: Gateway, contacts: Peer):
    before = len(contacts.calls)
    head = b"POST /api/v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer everything\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as s:
        s.sendall(head + b"Content-Length: 1500000\r\n\r\n" + CONTENT)
        eventually(lambda: _stored_and_dropped(contacts, before)[0])

    eventually(lambda: _is_given_up(contacts, before))


def test_a_file_that_is_kept_is_not_given_up(api: httpx.Client, contacts: Peer):
    before = len(contacts.calls)

    assert api.post("/api/v1/files", content=CONTENT).status_code == 200
    assert api.post("/api/v1/refused-files", content=CONTENT).status_code == 422

    eventually(lambda: _stored_and_dropped(contacts, before)[1])
    assert len(_stored_and_dropped(contacts, before)[0]) == 2
    assert len(_stored_and_dropped(contacts, before)[1]) == 1


@pytest.fixture
def hasty(broker: RabbitMQ, identity: Peer, contacts: Peer) -> Iterator[Gateway]:
    """A gateway that waits half a second for a body, and takes two files at once."""
    gateway = Gateway(broker.url, body_timeout_s="0.5", uploads_at_once="2")
    yield gateway.wait("identity", "contacts")
    gateway.stop()


def _sending(gateway: Gateway, length: int) -> socket.socket:
    """Somebody who has begun to send a file."""
    sender = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)
    head = b"POST /api/v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer everything\r\n"
    sender.sendall(head + b"Content-Length: %d\r\n\r\n" % length)
    return sender


def test_a_file_that_comes_too_slowly_is_408(hasty: Gateway):
    with _sending(hasty, 1_500_000) as sender:
        # What has come so far buys it more time, but no end of it.
        with contextlib.suppress(OSError):
            while not _readable(sender):
                sender.sendall(b"a")

        assert sender.recv(65536).startswith(b"HTTP/1.1 408 ")


def _readable(sender: socket.socket) -> bool:
    return bool(select.select([sender], [], [], 0.05)[0])


def test_a_token_sends_so_many_files_at_once_and_no_more(gateway: Gateway, contacts: Peer):
    before = len(contacts.calls)
    with contextlib.ExitStack() as senders:
        for _ in range(8):
            sender = senders.enter_context(_sending(gateway, 1_500_000))
            sender.sendall(CONTENT[:600_000])
        eventually(lambda: len(_stored_and_dropped(contacts, before)[0]) == 8)
        with gateway.as_("everything") as client, gateway.as_("stranger") as other:
            refused = client.post("/api/v1/files", content=b"x")
            assert other.post("/api/v1/files", content=b"x").status_code == 200

        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
    with gateway.as_("everything") as client:
        eventually(lambda: client.post("/api/v1/files", content=b"x").status_code == 200)


def test_a_long_upload_goes_on_as_who_the_caller_is_by_then(
    gateway: Gateway, identity: Peer, contacts: Peer
):
    PEOPLE["leaving"] = principal("*")
    before = len(contacts.calls)
    head = b"POST /api/v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer leaving\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as sender:
        sender.sendall(head + b"Content-Length: 1500000\r\n\r\n" + CONTENT[:600_000])
        eventually(lambda: _stored_and_dropped(contacts, before)[0])

        del PEOPLE["leaving"]
        identity.emit("token_revoked", TENANT, "leaving")
        with gateway.as_("leaving") as client:
            eventually(lambda: client.get("/api/v1/raw").status_code == 401)
        sender.sendall(CONTENT[:900_000])

        assert sender.recv(65536).startswith(b"HTTP/1.1 401 ")
    eventually(lambda: _is_given_up(contacts, before))


def test_the_same_content_has_the_same_sum_for_its_idempotency_key(api: httpx.Client):
    sums = [
        api.post("/api/v1/files", content=content, headers={"Idempotency-Key": "k"}).json()[
            "sha256"
        ]
        for content in (CONTENT, CONTENT, CONTENT[:-1])
    ]

    assert sums[0] == sums[1] == hashlib.sha256(CONTENT).hexdigest() != sums[2]


# ---- what is said of a file


@pytest.mark.parametrize(
    "content_type",
    [b"text/x\n: y", b"text/x\x0b", b"nonsense", b"text/\xe9", b"a/" + b"b" * 3000, b"/"],
)
def test_a_parts_content_type_that_no_header_holds_is_400(
    api: httpx.Client, contacts: Peer, content_type: bytes
):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\nContent-Type: '
        + content_type
        + b"\r\n\r\nabc\r\n--x--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    before = len(contacts.calls)

    answer = api.post("/api/v1/files", content=body, headers=headers)

    assert answer.status_code == 400, answer.text
    assert len(contacts.calls) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": b"text/\xff"},
        {"Content-Type": b"nonsense"},
        {"Content-Type": b"a/" + b"b" * 3000},
        {"Content-Type": b"multipart/form-data; boundary=" + b"x" * 150},
        {"Content-Type": b"multipart/form-data; boundary*=idna''%80"},
        {"Content-Disposition": b"attachment; filename=" + b"x" * 3000},
        {"Content-Disposition": b"attachment; filename*=idna''%80%ff"},
        {"Content-Disposition": b"attachment; filename*=undefined''a"},
    ],
    ids=str,
)
def test_a_header_of_a_file_that_can_not_be_read_is_400(
    api: httpx.Client, headers: dict[str, bytes]
):
    answer = api.post("/api/v1/files", content=b"abc", headers=headers)

    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "bad_request"


@given(
    st.sampled_from([b"utf-8", b"unicode_escape", b"utf-16", b"utf-7", b"punycode", b"x"]),
    st.binary(max_size=30),
)
def test_a_file_has_a_name_that_can_be_kept_or_is_refused(charset: bytes, name: bytes):
    given = b"attachment; filename*=%b''%b" % (charset, quote(name).encode())
    try:
        found = clean_name(_disposition_name({b"content-disposition": given}))
    except BadRequest:
        return

    assert found.isprintable()
    assert found.encode()
    assert len(found) <= 255
