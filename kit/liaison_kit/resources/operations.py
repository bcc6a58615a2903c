"""The usual operations of a kind of record, drawn from its declaration."""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import StringConstraints, create_model
from sqlalchemy.orm import Session

from liaison_kit import additions, boards, listing, records
from liaison_kit.additions import DrawnPanel, FilledForm
from liaison_kit.bulk import api as bulk
from liaison_kit.calls.operations import delete, get, patch, post
from liaison_kit.calls.wire import Accepted, Raw, Upload, Version
from liaison_kit.events.resend import Told
from liaison_kit.exports import api as exporting
from liaison_kit.exports.api import NewExport
from liaison_kit.listing.asked import ListQuery, Page
from liaison_kit.records import attachments, trash
from liaison_kit.resources.declaration import Resource
from liaison_sdk.errors import NotFound
from liaison_sdk.records import Attachment
from liaison_sdk.types import WITHOUT_NUL, Closed

BoardKey = Annotated[str, StringConstraints(max_length=200, pattern=WITHOUT_NUL)]


def operations_of(of: Resource, tells: Sequence[Told]) -> Iterator[Callable[..., Any]]:
    """The operations that follow from a declaration."""
    name = of.kind.name
    read, write = f"{name}:read", f"{name}:write"
    path, one = f"/{name}", f"/{name}/{{id}}"
    yield get(path, allow=read, record=of.kind)(_list(of))
    if of.new is not None:
        yield post(path, allow=write, problems=[409])(_create(of))
    yield get(one, allow=read, problems=[404])(_get(of))
    yield patch(one, allow=write, problems=[404, 409])(_change(of))
    yield delete(one, allow=write, problems=[404, 409])(_delete(of))
    if of.kind.restorable:
        back = post(f"{one}/restore", allow=write, status=200, problems=[404, 409])
        yield back(_restore(of, tells))
    if of.kind.attachments:
        held = f"{one}/attachments"
        yield get(held, allow=read, problems=[404])(_attachments(of))
        yield post(held, allow=write, problems=[404, 413])(_attach(of))
    yield post(f"{path}/exports", allow=f"{name}:export")(_export(of))
    yield post(f"{path}/bulk", allow=write)(_bulk(of))
    yield get(f"{one}/panels/{{panel}}", allow=read, problems=[404])(_panel(of))
    yield post(f"{one}/actions/{{action}}", allow=write, status=200, problems=[404, 409])(_act(of))
    if of.all_boards:
        board = f"{path}/board"
        yield get(board, allow=read, record=of.kind)(_board(of))
        yield post(board, allow=write, status=200, problems=[404, 409])(_move_card(of))


def _list(of: Resource) -> Callable[..., Any]:
    kind, shape, asked = of.kind, of.kind.shape, of.asked

    def operation(_service: Any, session: Session, query: ListQuery[shape]) -> Raw[Page[shape]]:  # type: ignore[valid-type]
        return Raw(listing.page(session, kind, asked(session, query)))

    title = kind.name.capitalize()
    return _named(operation, f"list_{kind.name}", f"{title}, filtered, searched and sorted.")


def _create(of: Resource) -> Callable[..., Any]:
    kind, shape, sent = of.kind, of.kind.shape, of.new
    create: Callable[[Session, Any], Any] = getattr(of.rules, "create")  # noqa: B009

    def operation(_service: Any, session: Session, new: sent) -> Raw[shape]:  # type: ignore[valid-type]
        return Raw(*records.answer(session, kind, create(session, new)))

    return _named(operation, f"create_{of.one}", f"Add {_a(of.one)}.")


def _get(of: Resource) -> Callable[..., Any]:
    kind, one, shape = of.kind, of.one, of.kind.shape

    def operation(_service: Any, session: Session, id: UUID) -> Raw[shape]:  # type: ignore[valid-type]
        found = listing.read(session, kind, id)
        if found is None:
            raise NotFound(f"There is no such {one}")
        return Raw(found[0].encode(), found[1])

    return _named(operation, f"get_{one}", f"One {one}.")


def _change(of: Resource) -> Callable[..., Any]:
    kind, rules, shape, sent = of.kind, of.rules, of.kind.shape, of.changes

    def operation(
        _service: Any,
        session: Session,
        id: UUID,
        changes: sent,  # type: ignore[valid-type]
        version: Version,
    ) -> Raw[shape]:  # type: ignore[valid-type]
        return Raw(*records.answer(session, kind, rules.change(session, id, version, changes)))

    said = f"Change what is sent of {_a(of.one)}; what is left out stays."
    return _named(operation, f"change_{of.one}", said)


def _delete(of: Resource) -> Callable[..., Any]:
    rules = of.rules

    def operation(_service: Any, session: Session, id: UUID, version: Version) -> None:
        rules.remove(session, id, version)

    said = f"Delete {_a(of.one)}."
    if of.kind.restorable:
        said += f"\n\nIt can be restored for {trash.KEPT_DAYS} days."
    return _named(operation, f"delete_{of.one}", said)


def _restore(of: Resource, tells: Sequence[Told]) -> Callable[..., Any]:
    kind, shape = of.kind, of.kind.shape
    told = next((each for each in tells if each.kind is kind), None)

    def operation(_service: Any, session: Session, id: UUID) -> Raw[shape]:  # type: ignore[valid-type]
        of.bring_back(session, id, told)
        return Raw(*records.answer(session, kind, id))

    said = f"Bring a deleted {of.one} back, with all that went with it."
    return _named(operation, f"restore_{of.one}", said)


def _attachments(of: Resource) -> Callable[..., Any]:
    kind = of.kind

    def operation(_service: Any, session: Session, id: UUID) -> Page[Attachment]:
        return Page[Attachment](items=attachments.of(session, kind, id), next=None)

    said = f"The latest files of {_a(of.one)}."
    return _named(operation, f"list_{of.one}_attachments", said)


def _attach(of: Resource) -> Callable[..., Any]:
    kind = of.kind

    def operation(_service: Any, session: Session, id: UUID, upload: Upload) -> Attachment:
        return attachments.attach(session, kind, id, upload)

    said = f"Keep a file with {_a(of.one)}."
    return _named(operation, f"create_{of.one}_attachment", said)


def _export(of: Resource) -> Callable[..., Any]:
    kind, spread, asked = of.kind, of.spread, of.asked

    def operation(_service: Any, session: Session, new: NewExport) -> Accepted:
        return Accepted(exporting.start(session, kind, spread, asked, new))

    said = f"Make a CSV or XLSX file of {kind.name}.\n\nWhen the job has ended, the file is at"
    return _named(operation, f"export_{kind.name}", f"{said} `/exports/{{id}}/content`.")


def _bulk(of: Resource) -> Callable[..., Any]:
    sent = bulk.body_of(of)

    def operation(_service: Any, session: Session, new: sent) -> Accepted:  # type: ignore[valid-type]
        return Accepted(bulk.start(session, of, new))

    name = of.kind.name
    said = f"Do the same to many {name}, each by its own rules.\n\n"
    said += "What became of them is at `/bulk/{id}`, and `/bulk/{id}/undo` takes it back."
    return _named(operation, f"change_many_{name}", said)


def _panel(of: Resource) -> Callable[..., Any]:
    kind = of.kind

    def operation(service: Any, session: Session, id: UUID, panel: str) -> DrawnPanel:
        return additions.draw(service, session, kind, id, panel)

    said = f"What a plugin's panel shows beside {_a(of.one)}."
    return _named(operation, f"draw_{of.one}_panel", said)


def _act(of: Resource) -> Callable[..., Any]:
    kind, rules, shape = of.kind, of.rules, of.kind.shape

    def operation(
        service: Any,
        session: Session,
        id: UUID,
        action: str,
        filled: FilledForm,
        version: Version,
    ) -> Raw[shape]:  # type: ignore[valid-type]
        custom = additions.changes_by(service, session, kind, id, action, filled)
        changes = of.changes(custom=dict(custom))
        return Raw(*records.answer(session, kind, rules.change(session, id, version, changes)))

    said = f"Do what a plugin's action does with {_a(of.one)}."
    return _named(operation, f"act_on_{of.one}", said)


def _board(of: Resource) -> Callable[..., Any]:
    kind, shape, asked, known = of.kind, of.kind.shape, of.asked, of.all_boards
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


def _move_card(of: Resource) -> Callable[..., Any]:
    kind, shape, known = of.kind, of.kind.shape, of.all_boards
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

    said = f"Move {_a(of.one)} to another column of a board.\n\nIt is changed by its own rules."
    return _named(operation, f"move_{of.one}_card", said)


def _named(operation: Callable[..., Any], name: str, said: str) -> Callable[..., Any]:
    operation.__name__ = name
    operation.__doc__ = said
    return operation


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"
