"""Manifests: what the services that are there say they can do, composed into one API.

While two versions of a service run side by side, what both offer alike is answered by both, and
what they offer differently, or only one of them does, by those who offer it; of two declarations
of one operation the newer version's is the API.
"""

import time
from collections.abc import Callable
from typing import Any

from liaison_gateway import announcements
from liaison_gateway.crews import Crew, declared_in, signature
from liaison_gateway.presence import Presence
from liaison_gateway.routes import Module, Operation, Table
from liaison_kit.telemetry import log

LISTENING_S = 1.5
"""How long a gateway that has just come up listens before it says that there is no such thing."""
REMEMBERED_S = 10.0
"""How long an operation that nobody offers any more is said to be away rather than unknown."""


class Registry:
    """The services that have been seen, whether they answer, and the routes that they make.

    A service that was seen and left keeps its routes and answers 503; one that was never seen has
    none and answers 404.
    """

    def __init__(
        self,
        on_lost: Callable[[Crew], None],
        on_silence: Callable[[str], None],
        hung_after_s: float,
    ) -> None:
        self.modules: dict[str, Module] = {}
        self.table = Table()
        self.pages = Table("")
        """The pages of all services."""
        self.revision = 0
        """Goes up whenever the composed API changes."""
        self.permissions: list[str] = []
        """Every permission that a module has announced."""
        self.notification_kinds: list[str] = []
        """Every kind of notification that one has, with its module's name before it."""
        self.presence = Presence(self._changed, on_lost, hung_after_s)
        self._on_silence = on_silence
        self._up_since: float | None = None
        self.on_new_service: Callable[[str], None] = lambda _service: None

    def heard(self, body: bytes) -> None:
        """Take in one announcement."""
        try:
            self.presence.heard(announcements.read(body))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning("unreadable announcement", error=repr(error))

    def answers(self, service: str) -> bool:
        """Whether there is anybody to send a call to."""
        module = self.modules.get(service)
        return module is not None and module.answers_until > time.monotonic()

    def owner_of(self, record: str) -> tuple[str, str | None] | None:
        """The service that has a kind of record, and the permission that reading it takes."""
        for name, module in self.modules.items():
            for declared in module.manifest.get("records") or ():
                if declared.get("name") == record:
                    return name, declared.get("permission")
        return None

    @property
    def listening(self) -> bool:
        """Whether services that are there may not have been heard yet."""
        if self._up_since is None or not self.modules:
            return True
        return time.monotonic() < self._up_since + LISTENING_S

    def connected(self) -> None:
        """The broker is there, for the first time or again."""
        if self._up_since is None:
            self._up_since = time.monotonic()
        self.presence.forgive()

    def look(self) -> None:
        """What comes to pass by waiting; to be called several times a second."""
        self.presence.look()
        now = time.monotonic()
        for module in self.modules.values():
            if any(until <= now for _, until in module.left.values()):
                module.left = {key: kept for key, kept in module.left.items() if kept[1] > now}
                self._compose()

    # ---- the API

    def _changed(self, service: str) -> None:
        """Somebody of this service came, left or stopped answering."""
        crews = self.presence.crews(service)
        module = self.modules.get(service)
        if module is None:
            if not crews:
                return
            module = Module(service)
        self._adopt(module, crews)
        self._route(module, crews)
        if service not in self.modules:
            self.modules[service] = module
            self._compose()
            log.info("module found", service=service, version=module.manifest.get("version"))
            self.on_new_service(service)

    def _adopt(self, module: Module, crews: list[Crew]) -> None:
        """Offer what the crews offer; nobody being there, go on offering what they did."""
        manifests = [crew.manifest for crew in crews]
        if not crews or manifests == module.composed_of:
            return
        before = {(o["method"].upper(), o["path"]): o for o in module.offered}
        offered: dict[tuple[str, str], dict[str, Any]] = {}
        for manifest in manifests:
            for declared in declared_in(manifest):
                offered.setdefault((declared["method"].upper(), declared["path"]), declared)
        until = time.monotonic() + REMEMBERED_S
        module.left |= {key: (declared, until) for key, declared in before.items()}
        module.left = {key: kept for key, kept in module.left.items() if key not in offered}
        module.offered = list(offered.values())
        module.composed_of = manifests
        module.manifest = _together(manifests)
        if module.name in self.modules:
            self._compose()
        log.info("module changed", service=module.name, version=module.manifest.get("version"))

    def _permissions(self) -> list[str]:
        manifests = [module.manifest for module in self.modules.values()]
        named = {p["name"] for m in manifests for p in m.get("permissions") or ()}
        asked = {o.get("permission") for m in self.modules.values() for o in m.offered}
        return sorted(named | {permission for permission in asked if permission is not None})

    def _compose(self) -> None:
        table, pages = Table(), Table("")
        for name in sorted(self.modules):
            module = self.modules[name]
            # Calls that are under way go on with the operation that they were made for.
            before = {operation.key: operation for operation in module.operations}
            module.operations = []
            for declared in (*module.offered, *(one for one, _ in module.left.values())):
                operation = Operation(module, declared)
                known = before.get(operation.key)
                if known is not None and known.manifest == declared:
                    operation = before.pop(operation.key)
                module.operations.append(operation)
            now = {operation.key: operation for operation in module.operations}
            for operation in before.values():
                operation.target.serve([])
                if operation.key in now:
                    operation.target.heir = now[operation.key].target
            for operation in module.operations:
                place = pages if operation.page else table
                if not place.add(operation):
                    log.warning(
                        "two services claim one path",
                        service=name,
                        operation=operation.name,
                        path=operation.key[1],
                    )
            self._route(module, self.presence.crews(name))
        table.keep_timings(self.table)
        pages.keep_timings(self.pages)
        self.table, self.pages = table, pages
        self.permissions = self._permissions()
        self.notification_kinds = [
            f"{name}.{kind['name']}"
            for name, module in sorted(self.modules.items())
            for kind in module.manifest.get("notification_kinds") or ()
        ]
        self.revision += 1

    def _route(self, module: Module, crews: list[Crew]) -> None:
        """Have each operation called where somebody is who offers just that."""
        working = [crew for crew in crews if crew.workers > 0]
        for operation in module.operations:
            wanted = signature(operation.manifest)
            operation.target.serve(
                [crew for crew in working if crew.signatures.get(operation.key) == wanted]
            )
        module.answers_until = float("inf") if working else 0.0
        if not self.presence.may_answer(module.name):
            self._on_silence(module.name)


def _together(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """The newest manifest, with what older operations and events need of the older ones."""
    newest = dict(manifests[0])
    schemas: dict[str, Any] = {}
    events: dict[str, Any] = {}
    for manifest in reversed(manifests):
        schemas |= manifest.get("schemas") or {}
        events |= {event["type"]: event for event in manifest.get("events") or ()}
    newest["schemas"] = schemas
    newest["events"] = list(events.values())
    return newest
