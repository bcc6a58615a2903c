"""Pages: what a list answers.

`GET /contacts?stage=won&amount[gte]=100&q=dupont&sort=-updated_at&limit=50&cursor=…&count=true`,
and `where=…`, a condition beside the filters.

A page starts where the last one ended (keyset), so page 1,000 costs what page 1 costs.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from liaison_kit.database.queries import Rows
from liaison_kit.listing.asked import ListQuery, Plan, cursor_at, parse
from liaison_kit.listing.composing import (
    conditions_of,
    count_of,
    is_search,
    one_record,
    page_of,
    some_records,
    statement_of,
    values_of,
)
from liaison_kit.listing.row_rules import row_rule
from liaison_kit.records.recordtype import RecordType


def page(
    session: Session,
    kind: RecordType,
    query: ListQuery[Any],
    *where: tuple[str, ColumnElement[bool], Any],
) -> bytes:
    """One page of records as JSON, narrowed to the rows that the caller's role may see.

    `where` adds fixed conditions: a name that tells its shape, the clause with a bind parameter of
    that name, and the value.
    """
    plan = parse(session, kind, query)
    rule = row_rule(session, kind)
    shape = (
        "page",
        kind.name,
        plan.narrowing,
        len(plan.terms),
        plan.sort,
        plan.descending,
        None if plan.after is None else plan.after[0] is None,
        rule[0],
        tuple(name for name, _, _ in where),
    )
    values = values_of(plan, rule) | {name: value for name, _, value in where}
    conditions = [clause for _, clause, _ in where]
    searched = kind if is_search(kind, plan) else None
    statement = statement_of(
        shape, lambda: page_of(kind, plan, rule, conditions), searched, plan.where
    )
    rows = statement.run(session, values)
    after = None
    if len(rows) > plan.limit:
        rows = rows[: plan.limit]
        after = behind(kind, plan, rows[-1])
    counted = b""
    if plan.count:
        statement = statement_of(
            ("count", *shape),
            lambda: count_of(kind, plan, rule, conditions),
            searched,
            plan.where,
        )
        counted = b',"count":%d' % statement.run(session, values)[0][0]
    items = ",".join([row[0] for row in rows])
    return b'{"items":[%b],"next":%b%b}' % (items.encode(), json.dumps(after).encode(), counted)


def behind(kind: RecordType, plan: Plan, row: Sequence[Any]) -> str:
    """The cursor of what follows a row: its JSON, the value that it is sorted by, its id."""
    _, last, id = row
    if last is not None and kind.fields[plan.sort].kind == "money":
        last = json.loads(last)["amount"]
    return cursor_at(plan, last, id)


Build = Callable[[Sequence[ColumnElement[bool]]], Rows]


def aggregate(
    session: Session, kind: RecordType, query: ListQuery[Any], name: str, build: Build
) -> Sequence[Sequence[Any]]:
    """Figures over the very rows that a list would show: the same filters, the same row rules.

    `build` makes the statement of the list's conditions; `name` tells its shape. There is no page,
    so nothing that a page is asked for by.
    """
    plan = parse(session, kind, query, paged=False)
    rule = row_rule(session, kind)
    shape = (name, kind.name, plan.narrowing, rule[0])
    statement = statement_of(
        shape, lambda: build(conditions_of(kind, plan, rule, [])), where=plan.where
    )
    return statement.run(session, values_of(plan, rule))


def some(session: Session, kind: RecordType, ids: Sequence[UUID]) -> dict[UUID, str]:
    """Those of these records that the caller may see, as JSON."""
    rule = row_rule(session, kind)
    statement = statement_of(("some", kind.name, rule[0]), lambda: some_records(kind, rule))
    rows = statement.run(session, {"ids": list(ids), "peers": rule[1]})
    return {UUID(id): record for record, id in rows}


def read(session: Session, kind: RecordType, id: UUID) -> tuple[str, int] | None:
    """One record as JSON and its version, or nothing when there is none that the caller may see."""
    rule = row_rule(session, kind)
    statement = statement_of(("read", kind.name, rule[0]), lambda: one_record(kind, rule))
    found = statement.run(session, {"id": str(id), "peers": rule[1]})
    return (found[0][0], int(found[0][1])) if found else None
