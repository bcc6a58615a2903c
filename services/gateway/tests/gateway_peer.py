"""A small real service at the other end of the broker: it speaks the wire protocol with pika."""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pika
from pika.exceptions import AMQPError

from liaison_kit.testing import keyring
from liaison_kit.trust.signatures import Signer

ALIVE_EVERY_S = 10

Answer = tuple[dict[str, Any], bytes]
Handler = Callable[[dict[str, Any], bytes], Answer | None]
"""Given the `liaison` header and the body; None means: never answer."""


def operation(name: str, method: str, path: str, **facts: Any) -> dict[str, Any]:
    """An operation as a manifest declares it."""
    return {
        "name": name,
        "method": method,
        "path": path,
        "summary": f"{name}.",
        "permission": None,
        "public": False,
        **facts,
    }


def json_answer(value: Any, status: int = 200, **headers: str) -> Answer:
    """A JSON reply."""
    head = {"status": status, "headers": headers, "content_type": "application/json"}
    return head, json.dumps(value).encode()


def problem_answer(status: int, code: str) -> Answer:
    """A problem reply."""
    head = {"status": status, "headers": {}, "content_type": "application/problem+json"}
    return head, json.dumps({"status": status, "code": code, "title": code}).encode()


def generation_of(operations: list[dict[str, Any]]) -> str:
    """Peers that offer the same have the same."""
    return hashlib.sha256(json.dumps(operations, sort_keys=True).encode()).hexdigest()[:12]


class Peer:
    """One service process: announces itself, answers calls, publishes events."""

    def __init__(
        self,
        url: str,
        service: str,
        operations: list[dict[str, Any]],
        handlers: dict[str, Handler],
        *,
        version: str = "1.0.0",
        **manifest: Any,
    ) -> None:
        self.url = url
        self.service = service
        self._signer = Signer(keyring(service))
        self.manifest = {
            "service": service,
            "version": version,
            "generation": f"{version.replace('.', '-')}-{generation_of(operations)}",
            "instance": f"peer-{uuid4()}",
            "workers": 50,
            "since": time.time(),
            "label": {"en": service.capitalize(), "fr": service.capitalize()},
            "operations": operations,
            "schemas": {},
            "records": [],
            "permissions": [],
            "menu": [],
            **manifest,
        }
        self.handlers = handlers
        self.calls: list[tuple[str, dict[str, Any], bytes]] = []
        self.discovered = 0
        """How often it was made to tell its whole manifest."""
        self.correlations: list[str] = []
        self.reply_to = ""
        self.silent = False
        """Whether it gives no word when it is asked for one, as a process that hangs."""
        self._unanswered: list[Any] = []
        self._thread: threading.Thread | None = None
        self._connection: pika.BlockingConnection | None = None
        self._channel: Any = None
        self._up = threading.Event()
        self._stop = False

    def start(self) -> "Peer":
        """Connect, announce, and answer until `stop`; connects again when the broker went away."""
        self._stop = False
        self.manifest["instance"] = f"peer-{uuid4()}"
        self.manifest["since"] = time.time()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._up.wait(20)
        return self

    def stop(self) -> None:
        """Leave as a service does that is stopped."""
        gone = {"service": self.service, "instance": self.manifest["instance"], "gone": True}
        self._on_loop(lambda: self._tell(gone))
        self.die()

    def die(self) -> None:
        """Leave as a service does that is killed: silently."""
        self._stop = True
        self._up.clear()
        if self._connection is not None and self._connection.is_open:
            self._connection.add_callback_threadsafe(self._close)
        if self._thread is not None:
            self._thread.join(10)

    def delete_queue(self) -> None:
        """Make calls unroutable."""
        self._on_loop(lambda: self._channel.queue_delete(self.queue))

    @property
    def queue(self) -> str:
        """Where its calls come in."""
        return f"rpc-{self.service}.{self.manifest['generation']}"

    def announce(self) -> None:
        """Publish the manifest."""
        self._on_loop(self._announce)

    def emit(self, event_type: str, tenant: str, key: str, **data: Any) -> str:
        """Publish one event; gives its id."""
        event_id = str(uuid4())
        envelope = {
            "id": event_id,
            "type": event_type,
            "version": 1,
            "source": self.service,
            "tenant": tenant,
            "occurred_at": "2026-01-02T03:04:05Z",
            "key": key,
            "data": data,
        }
        (signed,) = self._signer.sign("event", [json.dumps(envelope).encode()])
        self._on_loop(
            lambda: self._channel.basic_publish(f"{self.service}.events", f"{event_type}.3", signed)
        )
        return event_id

    def _on_loop(self, work: Callable[[], Any]) -> None:
        done = threading.Event()

        def run() -> None:
            work()
            done.set()

        assert self._connection is not None
        self._connection.add_callback_threadsafe(run)
        assert done.wait(10)

    def _close(self) -> None:
        assert self._connection is not None
        self._connection.close()

    def _run(self) -> None:
        while not self._stop:
            try:
                self._serve()
            except (AMQPError, OSError):
                if not self._stop:
                    time.sleep(0.2)

    def _serve(self) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(self.url))
        channel = self._channel = self._connection.channel()
        channel.exchange_declare("nameko-rpc", "topic", durable=True)
        channel.exchange_declare(f"{self.service}.events", "topic", durable=True)
        for exchange in ("liaison.manifests", "liaison.discovery"):
            channel.exchange_declare(exchange, "fanout", durable=True)
        mine = channel.queue_declare("", exclusive=True).method.queue
        self.manifest["ask_at"] = f"{self.service}.process.{uuid4()}"
        channel.queue_bind(mine, "liaison.discovery")
        channel.queue_bind(mine, "nameko-rpc", self.manifest["ask_at"])
        channel.basic_qos(prefetch_count=50)
        channel.basic_consume(mine, self._asked, auto_ack=True)
        self._take(self.queue, f"{self.service}.{self.manifest['generation']}.*")
        offered = {declared["name"] for declared in self.manifest["operations"]}
        for name in set(self.handlers) - offered:
            self._take(f"rpc-{self.service}.internal.{name}", f"{self.service}.internal.{name}")
        self._announce()
        self._connection.call_later(ALIVE_EVERY_S, self._say_alive)
        self._up.set()
        channel.start_consuming()

    def _say_alive(self) -> None:
        """As every service does, however long the tests take."""
        if self._connection is not None and self._connection.is_open:
            self._say_here()
            self._connection.call_later(ALIVE_EVERY_S, self._say_alive)

    def _take(self, queue: str, routing_key: str) -> None:
        self._channel.queue_declare(queue, durable=True, auto_delete=True)
        self._channel.queue_bind(queue, "nameko-rpc", routing_key)
        self._channel.basic_consume(queue, self._answer)

    def _asked(self, _channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        if self.silent:
            return
        if body == b"whole":
            self.discovered += 1
            self._announce()
            return
        self._say_here()

    def _say_here(self) -> None:
        if not self.silent:
            here = {"service": self.service, "instance": self.manifest["instance"], "here": True}
            self._tell(here)

    def _announce(self) -> None:
        self._tell(self.manifest)

    def _tell(self, announcement: dict[str, Any]) -> None:
        text = json.dumps({**announcement, "at": time.time()}).encode()
        (signed,) = self._signer.sign("announcement", [text])
        self._channel.basic_publish("liaison.manifests", "", signed)

    def _answer(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        name = method.routing_key.rpartition(".")[2]
        head = properties.headers["liaison"]
        if head.isdecimal():
            head, body = body[: int(head)], body[int(head) :]
        header = json.loads(head)
        self.correlations.append(properties.correlation_id)
        self.reply_to = properties.reply_to
        self.calls.append((name, header, body))
        answer = self.handlers[name](header, body)
        if answer is None:
            self._unanswered.append(properties)
            return
        self._reply(channel, properties, answer)

    def answer_late(self, answer: Answer) -> None:
        """Answer all that was not answered."""

        def reply() -> None:
            for properties in self._unanswered:
                self._reply(self._channel, properties, answer)
            self._unanswered.clear()

        self._on_loop(reply)

    @staticmethod
    def _reply(channel: Any, properties: Any, answer: Answer) -> None:
        head, content = answer
        channel.basic_publish(
            "",
            properties.reply_to,
            content,
            pika.BasicProperties(
                correlation_id=properties.correlation_id,
                headers={"liaison": json.dumps(head)},
                delivery_mode=1,
            ),
        )
