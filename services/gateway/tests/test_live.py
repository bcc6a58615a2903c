"""Live events reach the screens that may know of them, and no others."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from queue import Queue

from gateway_peer import Peer
from gateway_process import OTHER_TENANT, PEOPLE, TENANT, Gateway

Frames = Queue[dict[str, str]]


@contextmanager
def listening(gateway: Gateway, token: str, last: str | None = None) -> Iterator[Frames]:
    """An open stream, read in the background."""
    frames: Frames = Queue()
    connection = HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    headers = {"Authorization": f"Bearer {token}"}
    if last is not None:
        headers["Last-Event-ID"] = last
    connection.request("GET", "/api/v1/live", headers=headers)
    answer = connection.getresponse()
    assert answer.headers["content-type"].startswith("text/event-stream")
    connected = connection.sock

    def read() -> None:
        frame: dict[str, str] = {}
        while line := answer.readline():
            text = line.decode().strip()
            if text:
                name, _, value = text.partition(":")
                frame[name] = value.strip()
            elif frame:
                frames.put(frame)
                frame = {}

    thread = threading.Thread(target=read)
    thread.start()
    try:
        assert frames.get(timeout=5) == {"retry": "2000"}
        yield frames
    finally:
        connected.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        answer.close()
        connection.close()


def test_a_change_reaches_readers_of_its_tenant_only(gateway: Gateway, contacts: Peer):
    with (
        listening(gateway, "reader") as reader,
        listening(gateway, "nobody") as nobody,
        listening(gateway, "stranger") as stranger,
    ):
        contacts.emit("undeclared", TENANT, "r-0")
        event_id = contacts.emit("contact_saved", TENANT, "r-1", version=4, secret="x")
        contacts.emit("contact_saved", OTHER_TENANT, "r-2")

        frame = reader.get(timeout=5)
        assert frame["id"] == event_id
        assert json.loads(frame["data"]) == {
            "type": "contact_saved",
            "record": "contacts",
            "id": "r-1",
            "version": 4,
            "at": "2026-01-02T03:04:05Z",
        }
        assert json.loads(stranger.get(timeout=5)["data"])["id"] == "r-2"
        assert nobody.empty()
        assert reader.empty()


def test_a_row_rule_hides_which_record_changed(gateway: Gateway, contacts: Peer):
    with listening(gateway, "own") as own:
        contacts.emit("contact_saved", TENANT, "r-1", owner_id="somebody else")
        contacts.emit("contact_saved", TENANT, "r-2", owner_id=PEOPLE["own"]["user"])

        assert json.loads(own.get(timeout=5)["data"])["id"] is None
        assert json.loads(own.get(timeout=5)["data"])["id"] == "r-2"


def test_a_client_that_comes_back_gets_what_it_missed(gateway: Gateway, contacts: Peer):
    with listening(gateway, "reader") as reader:
        seen = contacts.emit("contact_saved", TENANT, "r-1")
        missed = contacts.emit("contact_saved", TENANT, "r-2")
        reader.get(timeout=5)
        reader.get(timeout=5)

    with listening(gateway, "reader", last=seen) as again:
        assert again.get(timeout=5)["id"] == missed
    with listening(gateway, "reader", last="0" * 36) as lost:
        assert lost.get(timeout=5)["event"] == "reset"


def test_live_needs_a_token(gateway: Gateway):
    assert gateway.http.get("/api/v1/live").status_code == 401


def test_the_streams_are_counted(gateway: Gateway):
    with listening(gateway, "reader"):
        assert "liaison_live_clients 0.0" not in gateway.ops.get("/metrics").text
