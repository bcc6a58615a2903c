"""Resources: what every kind of record is asked to do, from one declaration.

    class Sales(Service):
        resources = (
            Resource(PRODUCTS, "product", contract.NewProduct, contract.ProductChanges, products),
        )

makes `list_products`, `create_product`, `get_product`, `change_product`, `delete_product` and
`restore_product`, under `/products`, `export_products`, `change_many_products`, and where the kind
has boards `show_products_board` and `move_product_card`. A service that has an operation of that
name of its own keeps it: it does something more. Where files may belong to its records, it lists
and keeps those as well (`records.attachments`).

What people call the kind is said here once (`called`, `words`), and how others are told of it by
its rules; the service's records, permissions, menu, live events, imports and what it tells again
follow.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal, Protocol
from uuid import UUID

from pydantic import BaseModel, StringConstraints, create_model
from sqlalchemy.orm import Session

from liaison_kit import additions, boards, listing, records
from liaison_kit.additions import DrawnPanel, FilledForm
from liaison_kit.boards import Board
from liaison_kit.bulk import api as bulk
from liaison_kit.calls.operations import delete, get, patch, post
from liaison_kit.calls.wire import Accepted, Raw, Upload, Version
from liaison_kit.database.tables import Searched
from liaison_kit.events.resend import Told
from liaison_kit.exports import api as exporting
from liaison_kit.exports.api import NewExport
from liaison_kit.exports.columns import Spread
from liaison_kit.imports.drawing import importable
from liaison_kit.imports.fields import Importable
from liaison_kit.listing.asked import ListQuery, Page
from liaison_kit.records import attachments, trash
from liaison_kit.records.plain import Plain
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.errors import NotFound
from liaison_sdk.labels import Label
from liaison_sdk.records import Attachment
from liaison_sdk.types import WITHOUT_NUL, Closed

TIDIES = ("tidy_exports", "tidy_bulk_changes")
"""What clears up behind the operations of resources; their services' migrations make it."""

BoardKey = Annotated[str, StringConstraints(max_length=200, pattern=WITHOUT_NUL)]


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
    operation of its own says None. `<kind>:read`, `<kind>:write` and, to take lists out as files,
    `<kind>:export` are the permissions. `asked` is
    what becomes of a list's parameters before they are looked at. A kind has a board by each field
    with choices that may be changed; `boards` are its others. `spread` are the columns of files
    for fields which take several.

    `called` is what people call many of them, for permissions and the menu, with `icon`. Files can
    be imported then, where plain rules write; `words` are what those call the fields besides. A
    service may say how itself. Plain rules say how others are told.
    """

    kind: RecordType
    one: str
    new: type[BaseModel] | None
    changes: type[BaseModel]
    rules: Rules
    boards: tuple[Board, ...] = ()
    asked: Callable[[Session, ListQuery[Any]], ListQuery[Any]] = lambda _session, query: query
    spread: Spread = field(default_factory=dict)
    called: Label | None = None
    icon: str = "list"
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def told(self) -> Told | None:
        """How other services hear of it, where its rules are plain."""
        return self.rules.told if isinstance(self.rules, Plain) else None

    @property
    def permissions(self) -> dict[str, Label]:
        """What roles may grant of it, where the service says no more."""
        if self.called is None:
            return {}
        en, fr = (said[0].lower() + said[1:] for said in (self.called.en, self.called.fr))
        return {
            f"{self.kind.name}:read": Label(en=f"See {en}", fr=f"Voir les {fr}"),
            f"{self.kind.name}:write": Label(en=f"Change {en}", fr=f"Modifier les {fr}"),
            f"{self.kind.name}:export": Label(en=f"Export {en}", fr=f"Exporter les {fr}"),
        }

    @property
    def menu(self) -> list[dict[str, Any]]:
        """Its entry in the workspace."""
        if self.called is None:
            return []
        name = self.kind.name
        return [{"label": self.called.model_dump(), "path": f"/{name}", "icon": self.icon}]

    @property
    def live(self) -> list[dict[str, str]]:
        """Which events tell that one of them was changed."""
        name, types = self.kind.name, () if self.told is None else self.told.types
        return [{"type": type, "record": name, "permission": f"{name}:read"} for type in types]

    @cached_property
    def importables(self) -> tuple[Importable, ...]:
        """How files fill it, where that follows from its fields."""
        if self.called is None or self.new is None or not self._is_written_plainly:
            return ()
        return (importable(self.kind, self.new, self.called, self.told, self.words),)

    @property
    def _is_written_plainly(self) -> bool:
        """Whether no rule of its own says what may be written: files would not keep to it."""
        if not isinstance(self.rules, Plain):
            return False
        rules = type(self.rules)
        return rules.create is Plain.create and rules.change is Plain.change

    @property
    def tidies(self) -> tuple[str, ...]:
        """What clears up behind its operations."""
        refilled = issubclass(self.kind.model, Searched)
        return (*TIDIES, "refill_searches") if refilled else TIDIES

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
        if self.kind.attachments:
            held = f"{one}/attachments"
            yield get(held, allow=read, problems=[404])(self._attachments())
            yield post(held, allow=write, problems=[404, 413])(self._attach())
        yield post(f"{path}/exports", allow=f"{name}:export")(self._export())
        yield post(f"{path}/bulk", allow=write)(self._bulk())
        yield get(f"{one}/panels/{{panel}}", allow=read, problems=[404])(self._panel())
        yield post(f"{one}/actions/{{action}}", allow=write, status=200, problems=[404, 409])(
            self._act()
        )
        if self.all_boards:
            board = f"{path}/board"
            yield get(board, allow=read, record=self.kind)(self._board())
            yield post(board, allow=write, status=200, problems=[404, 409])(self._move_card())

    @cached_property
    def all_boards(self) -> dict[str, Board]:
        """The boards by their field: those declared, and one for each field that has choices."""
        found = {
            name: boards.by_choice(self.kind, name, self._changed(name))
            for name, info in self.kind.fields.items()
            if info.choices and info.filterable and name in self.changes.model_fields
        }
        return found | {board.by: board for board in self.boards}

    def _changed(self, name: str) -> Callable[..., Any]:
        def changed(session: Session, id: UUID, version: int, key: str | None) -> Any:
            return self.rules.change(session, id, version, self.changes(**{name: key}))

        return changed

    def _list(self) -> Callable[..., Any]:
        kind, shape, asked = self.kind, self.kind.shape, self.asked

        def operation(_service: Any, session: Session, query: ListQuery[shape]) -> Raw[Page[shape]]:  # type: ignore[valid-type]
            return Raw(listing.page(session, kind, asked(session, query)))

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
        told = next((each for each in tells if each.kind is kind), None)

        def operation(_service: Any, session: Session, id: UUID) -> Raw[shape]:  # type: ignore[valid-type]
            self.bring_back(session, id, told)
            return Raw(*records.answer(session, kind, id))

        said = f"Bring a deleted {self.one} back, with all that went with it."
        return _named(operation, f"restore_{self.one}", said)

    def _attachments(self) -> Callable[..., Any]:
        kind = self.kind

        def operation(_service: Any, session: Session, id: UUID) -> Page[Attachment]:
            return Page[Attachment](items=attachments.of(session, kind, id), next=None)

        said = f"The latest files of {_a(self.one)}."
        return _named(operation, f"list_{self.one}_attachments", said)

    def _attach(self) -> Callable[..., Any]:
        kind = self.kind

        def operation(_service: Any, session: Session, id: UUID, upload: Upload) -> Attachment:
            return attachments.attach(session, kind, id, upload)

        said = f"Keep a file with {_a(self.one)}."
        return _named(operation, f"create_{self.one}_attachment", said)

    def _export(self) -> Callable[..., Any]:
        kind, spread, asked = self.kind, self.spread, self.asked

        def operation(_service: Any, session: Session, new: NewExport) -> Accepted:
            return Accepted(exporting.start(session, kind, spread, asked, new))

        said = f"Make a CSV or XLSX file of {kind.name}.\n\nWhen the job has ended, the file is at"
        return _named(operation, f"export_{kind.name}", f"{said} `/exports/{{id}}/content`.")

    def _bulk(self) -> Callable[..., Any]:
        sent = bulk.body_of(self)

        def operation(_service: Any, session: Session, new: sent) -> Accepted:  # type: ignore[valid-type]
            return Accepted(bulk.start(session, self, new))

        name = self.kind.name
        said = f"Do the same to many {name}, each by its own rules.\n\n"
        said += "What became of them is at `/bulk/{id}`, and `/bulk/{id}/undo` takes it back."
        return _named(operation, f"change_many_{name}", said)

    def _panel(self) -> Callable[..., Any]:
        kind = self.kind

        def operation(service: Any, session: Session, id: UUID, panel: str) -> DrawnPanel:
            return additions.draw(service, session, kind, id, panel)

        said = f"What a plugin's panel shows beside {_a(self.one)}."
        return _named(operation, f"draw_{self.one}_panel", said)

    def _act(self) -> Callable[..., Any]:
        kind, rules, shape = self.kind, self.rules, self.kind.shape

        def operation(
            service: Any,
            session: Session,
            id: UUID,
            action: str,
            filled: FilledForm,
            version: Version,
        ) -> Raw[shape]:  # type: ignore[valid-type]
            custom = additions.changes_by(service, session, kind, id, action, filled)
            changes = self.changes(custom=dict(custom))
            return Raw(*records.answer(session, kind, rules.change(session, id, version, changes)))

        said = f"Do what a plugin's action does with {_a(self.one)}."
        return _named(operation, f"act_on_{self.one}", said)

    def bring_back(self, session: Session, id: UUID, told: Told | None) -> None:
        """Restore a deleted record, and have it told to who keeps copies."""
        trash.restore(session, self.kind, id)
        if told is not None:
            told.saved(session, [id])

    def _board(self) -> Callable[..., Any]:
        kind, shape, asked, known = self.kind, self.kind.shape, self.asked, self.all_boards
        By = Literal[tuple(known)]  # type: ignore[valid-type]  # noqa: N806

        def operation(
            _service: Any,
            session: Session,
            query: ListQuery[shape],  # type: ignore[valid-type]
            by: By,  # type: ignore[valid-type]
            limit: boards.Cards = 20,
        ) -> Raw[boards.BoardShape[shape]]:  # type: ignore[valid-type]
            return Raw(boards.show(session, kind, known[by], asked(session, query), limit))

        said = f"{kind.name.capitalize()} in columns, each with its first cards.\n\n"
        said += "Takes the filters, search and order of the list; so goes a column on after `next`."
        return _named(operation, f"show_{kind.name}_board", said)

    def _move_card(self) -> Callable[..., Any]:
        kind, shape, known = self.kind, self.kind.shape, self.all_boards
        By: Any = Literal[tuple(known)]  # noqa: N806
        Card: Any = create_model(  # noqa: N806
            f"{shape.__name__}Card",
            __base__=Closed,
            __doc__="A card to move: which, on the board by what, and the key of its new column.",
            id=(UUID, ...),
            by=(By, ...),
            to=(BoardKey | None, ...),
        )

        def operation(_service: Any, session: Session, card: Card, version: Version) -> Raw[shape]:  # type: ignore[valid-type]
            moved = known[card.by].move(session, card.id, version, card.to)
            return Raw(*records.answer(session, kind, moved))

        said = (
            f"Move {_a(self.one)} to another column of a board.\n\nIt is changed by its own rules."
        )
        return _named(operation, f"move_{self.one}_card", said)


def _named(operation: Callable[..., Any], name: str, said: str) -> Callable[..., Any]:
    operation.__name__ = name
    operation.__doc__ = said
    return operation


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"
