"""Boards: a list in columns, each with its first cards, how many it has, and what they add up to.

    GET /contacts/board?by=stage&limit=20&owner_id=…

The columns of a field are its choices, unless its kind declares others (`Board`). The cards of all
columns are one statement, and a column goes on where its cards end: `next` is the cursor of the
list with the same filters and the column's key.
"""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from liaison_kit.listing.asked import Filter, ListQuery, Plan, parse
from liaison_kit.listing.composing import (
    UNSET,
    board_counts_of,
    board_of,
    is_search,
    statement_of,
    values_of,
)
from liaison_kit.listing.pages import behind
from liaison_kit.listing.row_rules import row_rule
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.errors import FieldError, InvalidInput
from liaison_sdk.labels import Label
from liaison_sdk.types import Money

COUNTED = 10_000
"""How far the cards of a column are counted where nobody keeps their number."""

MOST_COLUMNS = 200

Cards = Annotated[int, Field(ge=1, le=100)]
T = TypeVar("T", bound=BaseModel)


class BoardColumn(BaseModel, Generic[T]):
    """A column: what its cards have in the board's field, and the first of them.

    `more` says that there are more than `count`. `sums` are what the cards' money adds up to, one
    amount for each currency, where that is known; else null.
    """

    key: str | None
    label: Label | str
    count: int
    more: bool
    sums: list[Money] | None
    items: list[T]
    next: str | None


class BoardShape(BaseModel, Generic[T]):
    """A list in columns."""

    by: str
    columns: list[BoardColumn[T]]


@dataclass(frozen=True, slots=True)
class Column:
    """A column as a kind declares it; the key None is that of records which have nothing there."""

    key: str | None
    label: Label | str


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a column without counting: its number of cards, and their sums."""

    count: int
    sums: Sequence[Mapping[str, str]]


KeptSums = Mapping[str | None, Kept]


@dataclass(frozen=True, eq=False)
class Board:
    """A board by a field: which columns there are, and what moving a card to one of them does.

    `kept` knows the counts and sums of the columns for these parameters of a list, or returns None
    where it does not.
    """

    by: str
    columns: Callable[[Session, Plan], Sequence[Column]]
    move: Callable[[Session, UUID, int, str | None], Any]
    kept: Callable[[Session, ListQuery[Any]], KeptSums | None] | None = None


def by_choice(kind: RecordType, by: str, changed: Callable[..., Any]) -> Board:
    """A board by the choices of a field; `changed(session, id, version, key)` moves a card."""
    info = kind.fields[by]
    columns = [Column(choice, info.choice_labels.get(choice, choice)) for choice in info.choices]
    if kind.table.c[by].nullable:
        columns.append(Column(None, Label(en="None", fr="Aucun")))

    def move(session: Session, id: UUID, version: int, key: str | None) -> Any:
        if all(key != column.key for column in columns):
            raise no_column(key, columns)
        return changed(session, id, version, key)

    return Board(by, lambda _session, _plan: columns, move)


def no_column(key: str | None, columns: Sequence[Column]) -> InvalidInput:
    """A card can't be moved to where there is no column."""
    known = ", ".join(str(column.key) for column in columns)
    return InvalidInput.field("to", "unknown_column", f"No column {str(key)[:80]}, only {known}")


def show(
    session: Session, kind: RecordType, board: Board, query: ListQuery[Any], limit: int
) -> bytes:
    """A board as JSON, narrowed to the rows that the caller's role may see."""
    plan = dataclasses.replace(parse(session, kind, query), limit=limit)
    _demand_no_page(query)
    columns = board.columns(session, plan)[:MOST_COLUMNS]
    keys = [column.key for column in columns if column.key is not None]
    unset = len(keys) < len(columns)
    rule = row_rule(session, kind)
    values = values_of(plan, rule) | {"keys": keys}
    searched = kind if is_search(kind, plan) else None
    shape = (
        kind.name,
        board.by,
        unset,
        plan.narrowing,
        len(plan.terms),
        plan.sort,
        plan.descending,
        rule[0],
    )
    statement = statement_of(
        ("board", *shape),
        lambda: board_of(kind, plan, rule, board.by, unset),
        searched,
        plan.where,
    )
    cards: dict[int, list[Any]] = defaultdict(list)
    for place, *card in statement.run(session, values):
        cards[place].append(card)
    kept = None if board.kept is None else board.kept(session, query)
    counts: dict[int, int] = {}
    if kept is None:
        counting = statement_of(
            ("board counts", *shape),
            lambda: board_counts_of(kind, plan, rule, board.by, unset, COUNTED),
            searched,
            plan.where,
        )
        counts = {place: count for place, count in counting.run(session, values)}  # noqa: C416
    shown = []
    for column in columns:
        place = UNSET if column.key is None else keys.index(column.key) + 1
        if kept is None:
            known: dict[str, Any] = {
                "count": min(counts[place], COUNTED),
                "more": counts[place] > COUNTED,
                "sums": None,
            }
        else:
            found = kept.get(column.key, Kept(0, ()))
            known = {"count": found.count, "more": False, "sums": list(found.sums)}
        shown.append(_shown(kind, board.by, plan, column, known, cards[place]))
    return b'{"by":%b,"columns":[%b]}' % (json.dumps(board.by).encode(), b",".join(shown))


def _shown(
    kind: RecordType,
    by: str,
    plan: Plan,
    column: Column,
    known: Mapping[str, Any],
    cards: Sequence[Sequence[Any]],
) -> bytes:
    after = None
    if len(cards) > plan.limit:
        cards = cards[: plan.limit]
        here = Filter(by, "null", True) if column.key is None else Filter(by, "eq", column.key)
        after = behind(kind, plan.narrowed(here), cards[-1])
    label = column.label if isinstance(column.label, str) else column.label.model_dump()
    head = json.dumps({"key": column.key, "label": label, **known, "next": after}).encode()
    items = ",".join([card[0] for card in cards]).encode()
    return b'%b,"items":[%b]}' % (head[:-1], items)


def _demand_no_page(query: ListQuery[Any]) -> None:
    """A board has no pages of its own: its columns are gone on with as lists."""
    errors = [
        FieldError(name, "unknown_parameter", f"A board has no {name}; its columns' lists have")
        for name, _ in query.pairs
        if name in ("cursor", "count")
    ]
    if errors:
        raise InvalidInput("Some parameters need another look", errors)
