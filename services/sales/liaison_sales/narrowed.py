"""Aggregates over the very rows that a list would show: the same filters, the same row rules."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select
from sqlalchemy.orm import Session

from liaison_kit import listing
from liaison_kit.listing import ListQuery
from liaison_kit.recordtype import RecordType

Build = Callable[[Sequence[ColumnElement[bool]]], Select[Any]]


def rows(
    session: Session, kind: RecordType, query: ListQuery[Any], name: str, build: Build
) -> Sequence[Sequence[Any]]:
    """Run the statement that `build` makes of the list's conditions; `name` tells its shape."""
    plan = listing._parse(session, kind, query)
    rule = listing.row_rule(session, kind)
    shape = (name, kind.name, tuple((f.field, f.operator) for f in plan.filters), rule[0])
    composed = listing._composed(shape, lambda: build(listing._conditions(kind, plan, rule, [])))
    return composed.run(session, listing._values(plan, rule))
