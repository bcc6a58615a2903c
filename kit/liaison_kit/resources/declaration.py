"""What is declared of a kind of record, so that the usual operations follow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy.orm import Session

from liaison_kit import boards
from liaison_kit.boards import Board
from liaison_kit.database.tables import Searched
from liaison_kit.events.resend import Told
from liaison_kit.exports.columns import Spread
from liaison_kit.imports.drawing import importable
from liaison_kit.imports.fields import Importable
from liaison_kit.listing.asked import ListQuery
from liaison_kit.records import trash
from liaison_kit.records.plain import Plain
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.labels import Label

TIDIES = ("tidy_exports", "tidy_bulk_changes")
"""What clears up behind the operations of resources; their services' migrations make it."""


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

    def bring_back(self, session: Session, id: UUID, told: Told | None) -> None:
        """Restore a deleted record, and have it told to who keeps copies."""
        trash.restore(session, self.kind, id)
        if told is not None:
            told.saved(session, [id])
            if told.restored is not None:
                told.restored(session, [id])
