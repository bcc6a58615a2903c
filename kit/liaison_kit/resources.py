"""Resources: what every kind of record is asked to do, from one declaration.

    class Sales(Service):
        resources = (
            Resource(PRODUCTS, "product", contract.NewProduct, contract.ProductChanges, products),
        )

makes `list_products`, `create_product`, `get_product`, `change_product`, `delete_product` and
`restore_product`, under `/products`. A service that has an operation of that name of its own keeps
it: it does something more.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy.orm import Session

from liaison_kit import listing, records
from liaison_kit.calls.operations import delete, get, patch, post
from liaison_kit.calls.wire import Raw, Version
from liaison_kit.events.resend import Told
from liaison_kit.listing.asked import ListQuery, Page
from liaison_kit.records import trash
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.errors import NotFound


class Rules(Protocol):
    """The feature behind a kind of record, as a rule its module.

    It has `create(session, new)` as well, unless the service has that operation of its own.
    """

    @property
    def change(self) -> Callable[[Session, UUID, int, Any], Any]:
        """The record of an id at a version, with what was sent of it changed."""

    @property
    def remove(self) -> Callable[[Session, UUID, int], None]:
        """Delete the record of an id at a version."""


@dataclass(frozen=True, eq=False)
class Resource:
    """A kind of record with its operations; `one` is what a single record is called in English.

    `new` and `changes` are what is sent to add and to change one; a service that adds them by an
    operation of its own says None. `<kind>:read` and `<kind>:write` are the permissions.
    """

    kind: RecordType
    one: str
    new: type[BaseModel] | None
    changes: type[BaseModel]
    rules: Rules

    def operations(self, tells: tuple[Told, ...]) -> Iterator[Callable[..., Any]]:
        """The operations that follow from the declaration."""
        name = self.kind.name
        read, write = f"{name}:read", f"{name}:write"
        path, one = f"/{name}", f"/{name}/{{id}}"
        yield get(path, allow=read, record=self.kind)(self._list())
        if self.new is not None:
            yield post(path, allow=write, problems=[409])(self._create())
        yield get(one, allow=read, problems=[404])(self._get())
        yield patch(one, allow=write, problems=[404, 409])(self._change())
        yield delete(one, allow=write, problems=[404, 409])(self._delete())
        if self.kind.restorable:
            back = post(f"{one}/restore", allow=write, status=200, problems=[404, 409])
            yield back(self._restore(tells))

    def _list(self) -> Callable[..., Any]:
        kind, shape = self.kind, self.kind.shape

        def operation(_service: Any, session: Session, query: ListQuery[shape]) -> Raw[Page[shape]]:  # type: ignore[valid-type]
            return Raw(listing.page(session, kind, query))

        title = kind.name.capitalize()
        return _named(operation, f"list_{kind.name}", f"{title}, filtered, searched and sorted.")

    def _create(self) -> Callable[..., Any]:
        kind, shape, sent = self.kind, self.kind.shape, self.new
        create: Callable[[Session, Any], Any] = getattr(self.rules, "create")  # noqa: B009

        def operation(_service: Any, session: Session, new: sent) -> Raw[shape]:  # type: ignore[valid-type]
            return Raw(*records.answer(session, kind, create(session, new)))

        return _named(operation, f"create_{self.one}", f"Add {_a(self.one)}.")

    def _get(self) -> Callable[..., Any]:
        kind, one, shape = self.kind, self.one, self.kind.shape

        def operation(_service: Any, session: Session, id: UUID) -> Raw[shape]:  # type: ignore[valid-type]
            found = listing.read(session, kind, id)
            if found is None:
                raise NotFound(f"There is no such {one}")
            return Raw(found[0].encode(), found[1])

        return _named(operation, f"get_{one}", f"One {one}.")

    def _change(self) -> Callable[..., Any]:
        kind, rules, shape, sent = self.kind, self.rules, self.kind.shape, self.changes

        def operation(
            _service: Any,
            session: Session,
            id: UUID,
            changes: sent,  # type: ignore[valid-type]
            version: Version,
        ) -> Raw[shape]:  # type: ignore[valid-type]
            return Raw(*records.answer(session, kind, rules.change(session, id, version, changes)))

        said = f"Change what is sent of {_a(self.one)}; what is left out stays."
        return _named(operation, f"change_{self.one}", said)

    def _delete(self) -> Callable[..., Any]:
        rules = self.rules

        def operation(_service: Any, session: Session, id: UUID, version: Version) -> None:
            rules.remove(session, id, version)

        said = f"Delete {_a(self.one)}."
        if self.kind.restorable:
            said += f"\n\nIt can be restored for {trash.KEPT_DAYS} days."
        return _named(operation, f"delete_{self.one}", said)

    def _restore(self, tells: tuple[Told, ...]) -> Callable[..., Any]:
        kind, shape = self.kind, self.kind.shape
        told = next((each.saved for each in tells if each.kind is kind), None)

        def operation(_service: Any, session: Session, id: UUID) -> Raw[shape]:  # type: ignore[valid-type]
            trash.restore(session, kind, id)
            if told is not None:
                told(session, [id])
            return Raw(*records.answer(session, kind, id))

        said = f"Bring a deleted {self.one} back, with all that went with it."
        return _named(operation, f"restore_{self.one}", said)


def _named(operation: Callable[..., Any], name: str, said: str) -> Callable[..., Any]:
    operation.__name__ = name
    operation.__doc__ = said
    return operation


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"
