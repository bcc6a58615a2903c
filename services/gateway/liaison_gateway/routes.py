"""Routes: the operations of all services as one table, looked up by method and path."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

from liaison_gateway.bus import Target

PREFIX = "/api/v1"
BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Module:
    """A service as the gateway knows it: what it offers, and whether it answers."""

    __slots__ = (
        "answers_until",
        "composed_of",
        "left",
        "manifest",
        "name",
        "offered",
        "operations",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.manifest: dict[str, Any] = {}
        self.offered: list[dict[str, Any]] = []
        """Its operations as they are declared, the newest declaration of each."""
        self.left: dict[tuple[str, str], tuple[dict[str, Any], float]] = {}
        """Operations that nobody offers since a moment ago, and until when they are remembered."""
        self.operations: list[Operation] = []
        self.composed_of: object = None
        self.answers_until = 0.0
        """Monotonic time until which calls are sent; after it they are refused at once."""


class Timing:
    """How often and how long: one histogram, kept as plain numbers until somebody scrapes it."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one request."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds


class Operation:
    """One operation of one service, as its manifest declares it."""

    __slots__ = (
        "download",
        "guessable",
        "key",
        "manifest",
        "module",
        "name",
        "page",
        "permission",
        "public",
        "records",
        "service",
        "target",
        "upload",
    )

    def __init__(self, module: Module, manifest: dict[str, Any]) -> None:
        self.module = module
        self.manifest = manifest
        self.service = module.name
        self.name: str = manifest["name"]
        self.key: tuple[str, str] = (manifest["method"].upper(), manifest["path"])
        self.permission: str | None = manifest.get("permission")
        self.public = bool(manifest.get("public"))
        self.upload = bool(manifest.get("upload"))
        self.download = bool(manifest.get("download"))
        self.page = bool(manifest.get("page"))
        self.guessable = bool(manifest.get("guessable"))
        self.records = frozenset(manifest.get("records") or ())
        self.target = Target(
            module.name,
            self.name,
            safe=self.key[0] == "GET",
            sealed=bool(manifest.get("sealed")),
        )
        self.target.serve([])


class Route:
    """A method and a path: one operation, or several services' when it is shared."""

    __slots__ = (
        "method",
        "name",
        "operation",
        "operations",
        "params",
        "path",
        "shared",
        "timings",
        "whole_path",
    )

    def __init__(self, method: str, path: str, shared: str | None, prefix: str = PREFIX) -> None:
        self.method = method
        self.path = path
        self.whole_path = prefix + path
        self.name = f"{method} {self.whole_path}"
        self.shared = shared
        self.params = tuple(s[1:-1] for s in path.split("/") if s.startswith("{"))
        self.operations: list[Operation] = []
        self.operation: Operation
        self.timings: dict[int, Timing] = {}

    def add(self, operation: Operation) -> None:
        """One more service answers here."""
        if not self.operations:
            self.operation = operation
        self.operations.append(operation)

    def count(self, status: int, seconds: float) -> None:
        """Remember one answer for the metrics."""
        timing = self.timings.get(status)
        if timing is None:
            timing = self.timings[status] = Timing()
        timing.add(seconds)


class _Node:
    __slots__ = ("any", "literal", "methods")

    def __init__(self) -> None:
        self.literal: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.methods: dict[str, Route] = {}


Methods = dict[str, Route]


class Table:
    """All routes below a prefix; a literal segment wins over a parameter."""

    def __init__(self, prefix: str = PREFIX) -> None:
        self._prefix = prefix
        self._root = _Node()
        self._routes: dict[tuple[str, str], Route] = {}

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes.values())

    def add(self, operation: Operation) -> bool:
        """Add an operation; False when another service has this method and path to itself."""
        method, path = operation.key
        shared = operation.manifest.get("shared")
        node = self._root
        for segment in path.strip("/").split("/"):
            if segment.startswith("{"):
                if node.any is None:
                    node.any = _Node()
                node = node.any
            else:
                node = node.literal.setdefault(segment, _Node())
        route = node.methods.get(method)
        if route is None:
            route = node.methods[method] = Route(method, path, shared, self._prefix)
            self._routes[method, path] = route
        elif not shared or route.shared != shared:
            return False
        route.add(operation)
        return True

    def find(self, path: str) -> tuple[Methods, list[str]] | None:
        """The routes at a raw path, less the prefix (`/contacts/17`), and its parameters."""
        node = self._root
        values: list[str] = []
        segments = path.split("/")
        for i in range(1, len(segments)):
            segment = segments[i]
            child = node.literal.get(segment)
            if child is None:
                child = node.any
                if child is None or not segment:
                    break
                values.append(segment)
            node = child
        else:
            if node.methods:
                return node.methods, values
        return self._search(self._root, segments, 1, [])

    def _search(
        self, node: _Node, segments: list[str], at: int, values: list[str]
    ) -> tuple[Methods, list[str]] | None:
        """The thorough way: a literal that leads nowhere gives way to a parameter."""
        if at == len(segments):
            return (node.methods, values) if node.methods else None
        segment = segments[at]
        if segment in node.literal:
            found = self._search(node.literal[segment], segments, at + 1, values)
            if found is not None:
                return found
        if node.any is not None and segment:
            return self._search(node.any, segments, at + 1, [*values, segment])
        return None

    def keep_timings(self, old: "Table") -> None:
        """Take over the counts of the table that this one replaces."""
        for key, route in self._routes.items():
            before = old._routes.get(key)
            if before is not None:
                route.timings = before.timings
