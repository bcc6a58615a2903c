"""Announcements: a process of a service tells the gateways what it can do, and that it is there."""

import json
import time
from contextlib import suppress
from typing import Any
from uuid import uuid4

import amqp
import eventlet
from eventlet.queue import Empty, LightQueue
from nameko.extensions import DependencyProvider

from liaison_kit.calls.line import CONNECTION_ERRORS
from liaison_kit.calls.manifest import manifest
from liaison_kit.calls.serving import OperationConsumer
from liaison_kit.calls.wire import DISCOVERY, EXCHANGE, MANIFESTS, WHOLE, body_of
from liaison_kit.process.roles import plays
from liaison_kit.settings import settings
from liaison_kit.telemetry import log
from liaison_kit.trust.signatures import Signer


class Announcer(DependencyProvider):  # type: ignore[misc]
    """Tells gateways what this process can do: at the start, every 10 s, and when one asks.

    It speaks on the connection that calls come in on, and is asked through a queue that is gone
    with that connection: a question that can't be delivered says that no call can either.
    """

    EVERY_S = 10.0
    PACE_S = 1.0
    """Nobody can make a service announce itself more often than that by asking."""
    WORD_PACE_S = 0.25

    calls = OperationConsumer()

    def setup(self) -> None:
        service = self.container.service_cls
        self._signer = Signer(service.keys)
        self._who = {"service": service.name, "instance": f"{service.name}-{uuid4()}"}
        self._manifest = (
            manifest(service)
            | self._who
            | {
                "workers": settings().max_workers,
                "since": time.time(),
            }
        )
        self._channel: Any = None
        self._wanted: LightQueue = LightQueue(1)
        self._said_at = 0.0
        self._saying = False
        if plays("rpc"):
            self.calls.opened = self._opened
            self.calls.leaving = self._leaving

    def start(self) -> None:
        if plays("rpc"):
            self.container.spawn_managed_thread(self._announce_regularly)

    def stop(self) -> None:
        if plays("rpc"):
            self._publish(self._who | {"gone": True})

    def _opened(self, connection: Any) -> None:
        channel = connection.channel()
        for exchange in (MANIFESTS, DISCOVERY) if settings().declare_exchanges else ():
            channel.exchange_declare(exchange, "fanout", durable=True, auto_delete=False)
        # Each connection's has its own name: the broker may not know yet that the last has ended.
        service, line = self._who["service"], uuid4()
        queue = f"discovery-{service}-{line}"
        self._ask_at = f"{service}.process.{line}"
        channel.queue_declare(queue, exclusive=True, auto_delete=True)
        channel.queue_bind(queue, DISCOVERY)
        channel.queue_bind(queue, EXCHANGE, self._ask_at)
        channel.basic_consume(queue, no_ack=True, callback=self._asked)
        self._channel = channel
        self._announce()

    def _asked(self, message: Any) -> None:
        if body_of(message) == WHOLE:
            if self._wanted.empty():
                self._wanted.put_nowait(True)
        elif not self._saying:
            self._saying = True
            wait = self._said_at + self.WORD_PACE_S - time.monotonic()
            eventlet.spawn_after(max(0.0, wait), self._say)

    def _say(self) -> None:
        self._saying = False
        self._said_at = time.monotonic()
        self._publish(self._who | {"here": True})

    def _announce_regularly(self) -> None:
        while True:
            with suppress(Empty):
                self._wanted.get(timeout=self.EVERY_S)
            self._announce()
            eventlet.sleep(self.PACE_S)

    def _announce(self) -> None:
        self._said_at = time.monotonic()
        self._publish(self._manifest | {"ask_at": self._ask_at})

    def _leaving(self) -> None:
        self._publish(self._who | {"leaving": True})

    def _publish(self, body: dict[str, Any]) -> None:
        if self._channel is None:
            return
        try:
            # Dated, so that an old one can't be told again to bring back what is gone.
            text = json.dumps(body | {"at": time.time()}).encode()
            (signed,) = self._signer.sign("announcement", [text])
            message = amqp.Message(signed, content_type="application/json")
            self._channel.basic_publish(message, MANIFESTS, "")
        except CONNECTION_ERRORS as error:
            log.warning("not announced", error=type(error).__name__)
