"""Searching: what people mean by a few words, over all kinds of record of a service, best first.

It finds what the `?q=` of a list finds. What is called so comes first, then what begins so, then
what has a word that does; of those that are alike, what was changed last.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import (
    ColumnElement,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from liaison_kit.database.queries import Rows, read_from
from liaison_kit.listing.composing import any_of, statement_of
from liaison_kit.listing.row_rules import row_rule
from liaison_kit.records.recordtype import RecordType, as_json
from liaison_kit.records.search import digits, escaped, fold, needles
from liaison_kit.records.values import TEXT_LENGTH
from liaison_sdk.types import Closed

How = Literal["exact", "begins", "word", "part"]
HOW: tuple[How, ...] = ("exact", "begins", "word", "part")
"""The title is just that, begins so, a word begins so, or the words are somewhere; best first."""


class SearchAsked(Closed):
    """What is searched for, in which kinds of record, and how many of each are wanted."""

    q: Annotated[str, Field(max_length=TEXT_LENGTH)]
    records: Annotated[list[str], Field(max_length=100)]
    limit: Annotated[int, Field(ge=1, le=50)]


class Because(BaseModel):
    """A field in which the words were found that are not in the title."""

    field: str
    text: str


class Hit(BaseModel):
    """A record that was found, as people know it, and what was found in it."""

    id: UUID
    title: str
    subtitle: str
    how: How
    because: Because | None


class Group(BaseModel):
    """What was found of one kind of record; `more` says that there is more than is shown."""

    record: str
    items: list[Hit]
    more: bool


class Groups(BaseModel):
    """What was found of each kind, of those that anything was found of."""

    groups: list[Group]


def search(session: Session, kinds: Iterable[RecordType], asked: SearchAsked) -> Groups:
    """What the caller may see of these kinds and was asked for; a statement for each."""
    wanted = needles(asked.q)
    found = [_group(session, kind, wanted, asked.limit) for kind in kinds] if wanted else []
    return Groups(groups=[group for group in found if group.items])


def _group(session: Session, kind: RecordType, wanted: Sequence[str], limit: int) -> Group:
    rule = row_rule(session, kind)
    shape = ("search", kind.name, len(wanted), rule[0])
    statement = statement_of(shape, lambda: _best(kind, len(wanted), rule), kind)
    whole = escaped(" ".join(needle.strip() for needle in wanted))
    values: dict[str, Any] = {f"t{i}": f"%{escaped(n)}%" for i, n in enumerate(wanted)}
    values |= {"begins": f" {whole}%", "word": f"% {whole}%", "length": _length(wanted)}
    values |= {"limit": limit + 1, "peers": rule[1]}
    rows = statement.run(session, values)
    items = [_hit(kind, wanted, json.loads(text), HOW[int(how)]) for text, how in rows[:limit]]
    return Group(record=kind.name, items=items, more=len(rows) > limit)


def _best(kind: RecordType, words: int, rule: tuple[str, Any]) -> Rows:
    """The best of what is found, each as JSON of the fields that tell of it, and how it was found.

    The rows are picked first: only of those that are shown is anything else looked up.
    """
    assert kind.search is not None
    conditions: list[ColumnElement[bool]] = [
        kind.search.like(bindparam(f"t{i}")) for i in range(words)
    ]
    if rule[1] is not None:
        assert kind.owner is not None
        conditions.append(any_of(kind.owner, "peers"))
    how = _how(kind)
    newest = (kind.model.updated_at.desc(), kind.model.id.desc())
    picked = select(*kind.table.c, how.label("how")).where(*conditions).order_by(how, *newest)
    picked = picked.limit(cast(bindparam("limit"), postgresql.BIGINT))
    found: ColumnElement[int] = literal_column(f"{kind.table.name}.how")
    shown = select(*(kind.expression(name).label(name) for name in _shown(kind)))
    shown = shown.add_columns(found.label("how")).order_by(found, *newest)
    return as_json(read_from(shown, kind.table, picked.subquery(kind.table.name)), "how")


def _how(kind: RecordType) -> ColumnElement[int]:
    assert kind.search is not None
    begins = kind.search.like(bindparam("begins"))
    title = func.btrim(
        func.concat_ws(literal_column("' '"), *(kind.expression(name) for name in kind.title))
    )
    # A search text begins with the title without its accents, of which it has as many letters.
    whole = func.char_length(title) == cast(bindparam("length"), postgresql.INTEGER)
    return case(
        (and_(begins, whole), literal_column("0")),
        (begins, literal_column("1")),
        (kind.search.like(bindparam("word")), literal_column("2")),
        else_=literal_column("3"),
    )


def _shown(kind: RecordType) -> list[str]:
    searched = [name for name, info in kind.fields.items() if info.searchable]
    return list(dict.fromkeys(["id", *kind.title, *kind.subtitle, *searched]))


def _length(wanted: Sequence[str]) -> int:
    return sum(len(needle.strip()) for needle in wanted) + len(wanted) - 1


def _hit(kind: RecordType, wanted: Sequence[str], record: dict[str, Any], how: How) -> Hit:
    title = _together(record, kind.title, " ")
    return Hit(
        id=record["id"],
        title=title,
        subtitle=_together(record, kind.subtitle, " · "),
        how=how,
        because=_because(kind, [n for n in wanted if not _says(title, n)], record),
    )


def _together(record: dict[str, Any], names: Iterable[str], between: str) -> str:
    return between.join(filter(None, (record[name] for name in names)))


def _because(kind: RecordType, missing: Sequence[str], record: dict[str, Any]) -> Because | None:
    """Where the first of the words is that the title does not have, if any field shows it."""
    if not missing:
        return None
    for name, info in kind.fields.items():
        if info.searchable and name not in kind.title:
            for text in _texts(record[name]):
                if _says(text, missing[0]):
                    return Because(field=name, text=text)
    return None


def _texts(value: Any) -> Iterator[str]:
    """The texts that a field holds: itself, or those of its addresses or numbers."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _says(text: str, needle: str) -> bool:
    return needle in f" {fold(text)}" or (needle.isdecimal() and needle in digits(text))
