"""Announcements: a process of a service tells the gateways what it can do."""

import json
import time
from typing import Any
from uuid import uuid4

import eventlet
import kombu
from nameko.extensions import DependencyProvider

from liaison_kit.calls.manifest import manifest
from liaison_kit.calls.publisher import CONNECTION_ERRORS, Publisher
from liaison_kit.calls.serving import RawConsumer
from liaison_kit.process.roles import plays
from liaison_kit.settings import settings
from liaison_kit.telemetry import log
from liaison_kit.trust.signatures import Signer

MANIFESTS = "liaison.manifests"


def _declare_manifests(channel: Any) -> None:
    if settings().declare_exchanges:
        channel.exchange_declare(MANIFESTS, "fanout", durable=True, auto_delete=False)


class Announcer(DependencyProvider):  # type: ignore[misc]
    """Tells gateways what this service can do: at the start, every 10 s, and when one asks."""

    EVERY_S = 10

    def setup(self) -> None:
        self._signer = Signer(self.container.service_cls.keys)
        self._publisher = Publisher(_declare_manifests)
        self.instance = f"{self.container.service_name}-{uuid4()}"
        self._stopping = False

    def start(self) -> None:
        if plays("rpc"):
            self.container.spawn_managed_thread(self._announce_regularly)
            self.container.spawn_managed_thread(self._listen)

    def stop(self) -> None:
        self._stopping = True
        if plays("rpc"):
            service = self.container.service_name
            self._publish({"service": service, "instance": self.instance, "gone": True})
            self._publisher.close()

    def _announce(self) -> None:
        self._publish(manifest(self.container.service_cls) | {"instance": self.instance})

    def _publish(self, body: dict[str, Any]) -> None:
        try:
            # Dated, so that an old one can't be told again to bring back what is gone.
            text = json.dumps(body | {"at": time.time()}).encode()
            (signed,) = self._signer.sign("announcement", [text])
            self._publisher.publish(signed, "{}", MANIFESTS, "")
        except CONNECTION_ERRORS as error:
            log.warning("manifest not announced", error=type(error).__name__)

    def _announce_regularly(self) -> None:
        while not self._stopping:
            self._announce()
            eventlet.sleep(self.EVERY_S)

    def _listen(self) -> None:
        exchange = kombu.Exchange(
            "liaison.discovery",
            "fanout",
            durable=True,
            no_declare=not settings().declare_exchanges,
        )
        queue = kombu.Queue(
            f"discovery-{self.instance}", exchange, exclusive=True, auto_delete=True
        )
        consumer = RawConsumer(
            settings().broker,
            queues=[queue],
            callbacks=[self._asked],
            heartbeat=30,
            prefetch_count=1,
        )
        consumer.run()

    def _asked(self, message: Any) -> None:
        message.ack()
        self._announce()
