"""Manifests: what each service says it can do, heard from the bus and composed into one API."""

import json
import time
from collections.abc import Callable
from typing import Any

from liaison_gateway.routes import Module, Operation, Table
from liaison_kit.telemetry import log

SILENT_AFTER_S = 35.0
"""Services announce themselves every 10 s; three missed announcements are silence."""
FRESH_S = 60.0
"""How old an announcement may be: an old one told again would bring back what is gone."""
DOUBT_S = 1.5
"""How long a service that missed a deadline has to answer the discovery call."""

LISTENING_S = 1.5
"""How long a gateway that has just come up listens before it says that there is no such thing."""

LEAVING_S = 2.0
"""A process that says goodbye may still answer a discovery call on its way out."""


class Registry:
    """The services that have been seen, whether they answer, and the routes that they make.

    A service that was seen and fell silent keeps its routes and answers 503; one that was never
    seen has none and answers 404.
    """

    def __init__(self) -> None:
        self.modules: dict[str, Module] = {}
        self.table = Table()
        self.revision = 0
        """Goes up whenever the composed API changes."""
        self.permissions: list[str] = []
        """Every permission that a module has announced."""
        self._left: dict[tuple[str, str], float] = {}
        self._asked_at: float | None = None
        self.on_new_service: Callable[[str], None] = lambda _service: None
        self.discover: Callable[[], None] = lambda: None

    @staticmethod
    def speaker(body: bytes) -> str | None:
        """Who an announcement says it comes from; nobody when it is none, or is an old one."""
        try:
            said = json.loads(body)
            fresh = abs(time.time() - float(said["at"])) < FRESH_S
            return str(said["service"]) if fresh else None
        except (ValueError, KeyError, TypeError):
            return None

    def heard(self, body: bytes) -> None:
        """Take in one announcement that its service has signed."""
        try:
            manifest = json.loads(body)
            service, instance = str(manifest["service"]), str(manifest["instance"])
            if manifest.get("gone"):
                self._gone(service, instance)
            else:
                self._announced(service, instance, manifest, body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("unreadable manifest", error=repr(error))

    def doubt(self, service: str) -> None:
        """A call was not answered in time: ask the service whether it is there at all.

        One that is slow announces itself and goes on; one that is dead stops costing every caller
        a whole deadline.
        """
        module = self.modules.get(service)
        if module is not None:
            module.answers_until = min(module.answers_until, time.monotonic() + DOUBT_S)
            self.discover()

    def answers(self, service: str) -> bool:
        """Whether the service announced itself lately."""
        module = self.modules.get(service)
        return module is not None and module.answers_until > time.monotonic()

    @property
    def listening(self) -> bool:
        """Whether services that are there may not have been heard yet."""
        if self._asked_at is None or not self.modules:
            return True
        return time.monotonic() < self._asked_at + LISTENING_S

    def pause(self) -> None:
        """The broker was away: nobody's silence in that time counts against them."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
        until = time.monotonic() + SILENT_AFTER_S
        for module in self.modules.values():
            if module.instances:
                module.answers_until = until

    def _gone(self, service: str, instance: str) -> None:
        module = self.modules.get(service)
        if module is None:
            return
        module.instances.pop(instance, None)
        module.bodies.pop(instance, None)
        now = time.monotonic()
        self._left = {key: at for key, at in self._left.items() if at > now - LEAVING_S}
        self._left[service, instance] = now
        if not any(seen > now - SILENT_AFTER_S for seen in module.instances.values()):
            module.instances.clear()
            module.answers_until = 0.0
            log.info("module left", service=service)
        else:
            # Those that remain may have died without a word: have them say that they are there.
            self.doubt(service)

    def _announced(
        self, service: str, instance: str, manifest: dict[str, Any], body: bytes
    ) -> None:
        now = time.monotonic()
        if self._left.get((service, instance), 0.0) > now - LEAVING_S:
            return
        module = self.modules.get(service)
        if module is None:
            module = self.modules[service] = Module(service)
        new_service = not module.manifest
        if module.bodies.get(instance) != body:
            self._forget_silent(module, now)
            version = _version(manifest.get("version", "0"))
            # While two versions run side by side, the newer one's operations are the API.
            if not module.bodies or version >= module.version:
                self._adopt(module, manifest, version)
            module.bodies[instance] = body
        module.instances[instance] = now
        module.answers_until = now + SILENT_AFTER_S
        if new_service:
            log.info("module found", service=service, version=manifest.get("version"))
            self.on_new_service(service)

    @staticmethod
    def _forget_silent(module: Module, now: float) -> None:
        for instance, seen in list(module.instances.items()):
            if seen < now - SILENT_AFTER_S:
                del module.instances[instance]
                module.bodies.pop(instance, None)

    def _adopt(self, module: Module, manifest: dict[str, Any], version: tuple[int, ...]) -> None:
        content = {key: value for key, value in manifest.items() if key != "instance"}
        if content == module.manifest:
            return
        before, module.manifest = module.manifest, content
        try:
            table = self._compose()
        except (KeyError, TypeError, AttributeError):
            module.manifest = before
            raise
        module.version = version
        self.table = table
        self.permissions = self._permissions()
        self.revision += 1

    def _permissions(self) -> list[str]:
        manifests = [module.manifest for module in self.modules.values()]
        named = {p["name"] for m in manifests for p in m.get("permissions") or ()}
        asked = {o.get("permission") for m in manifests for o in m.get("operations") or ()}
        return sorted(named | (asked - {None}))

    def _compose(self) -> Table:
        table = Table()
        for name in sorted(self.modules):
            module = self.modules[name]
            for declared in module.manifest.get("operations", ()):
                if not declared.get("path"):
                    continue
                if not table.add(Operation(module, declared)):
                    log.warning(
                        "two services claim one path",
                        service=name,
                        operation=declared["name"],
                        path=declared["path"],
                    )
        table.keep_timings(self.table)
        return table


def _version(text: object) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in str(text).split("."))
