"""Records that somebody chooses by a list's parameters, and works on one batch after the other.

Which they are is settled once, in one statement: whoever changes records meanwhile moves none out
of the way and puts none in twice. Their ids wait in parts of a file, in the order of the list.
"""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StringConstraints
from sqlalchemy import func, literal_column
from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.database.queries import read_from, stand_in, text_of
from liaison_kit.listing.asked import PAGING, WHERE, ListQuery, Plan, parse
from liaison_kit.listing.composing import conditions_of, is_search, order_of, values_of
from liaison_kit.listing.row_rules import row_rule
from liaison_kit.records import files
from liaison_kit.records.recordtype import RecordType
from liaison_kit.records.values import TEXT_LENGTH
from liaison_sdk.errors import FieldError, InvalidInput
from liaison_sdk.types import WITHOUT_NUL, Closed

BATCH = 1000
_ID_BYTES = 16

_Text = Annotated[str, StringConstraints(max_length=20 * TEXT_LENGTH, pattern=WITHOUT_NUL)]
_Name = Annotated[str, StringConstraints(max_length=120, pattern=WITHOUT_NUL)]


class Chosen(Closed):
    """Which records, by the parameters of their list."""

    filters: dict[_Name, _Text] = Field(
        default_factory=dict,
        max_length=50,
        description='As the list takes them: `{"stage": "lead", "created_at[gte]": "2026-01-01"}`.',
    )
    q: _Text | None = Field(default=None, description="As the list's search.")

    where: _Text | None = Field(default=None, description="As the list's condition, a JSON text.")

    def query(self) -> ListQuery[Any]:
        """The same as parameters of a list; what is for its pages is refused."""
        errors = [
            FieldError(f"filters.{name}", "unknown_parameter", f"{name} is no filter")
            for name in self.filters
            if name in PAGING or name in ("q", WHERE)
        ]
        if errors:
            raise InvalidInput("Some filters need another look", errors)
        beside = [(name, text) for name, text in (("q", self.q), (WHERE, self.where)) if text]
        return ListQuery([*self.filters.items(), *beside])


def pick(
    session: Session,
    kind: RecordType,
    query: ListQuery[Any],
    file_id: UUID,
    most: int | None = None,
) -> int:
    """Settle which records a list has, as far as its caller sees them; how many, of at `most`."""
    plan = parse(session, kind, query)
    rule = row_rule(session, kind)
    about = context(session)
    values = values_of(plan, rule) | {"file": file_id, "tenant": about.tenant, "now": about.now}
    values["most"] = most
    done: Any = session.connection().exec_driver_sql(
        f"""
        INSERT INTO file_parts (tenant_id, file_id, part, body, claimed, created_at)
        SELECT %(tenant)s::uuid, %(file)s::uuid, place / {BATCH},
               string_agg(uuid_send(id), ''::bytea ORDER BY place), true, %(now)s
          FROM ({_picked(kind, plan, rule)} LIMIT %(most)s) picked
         GROUP BY place / {BATCH}
        RETURNING octet_length(body)
        """,
        {name: str(value) if isinstance(value, UUID) else value for name, value in values.items()},
    )
    return int(sum(size for (size,) in done)) // _ID_BYTES


def keep(session: Session, file_id: UUID, ids: Sequence[UUID]) -> None:
    """Keep ids that somebody has sent like those of a list."""
    for number, start in enumerate(range(0, len(ids), BATCH)):
        body = b"".join(id.bytes for id in ids[start : start + BATCH])
        files.put(session, file_id, number, body, claimed=True)


def batch(session: Session, file_id: UUID, number: int) -> list[UUID]:
    """Some of the records that were picked, in their order."""
    body = files.get(session, file_id, number)
    return [UUID(bytes=body[at : at + _ID_BYTES]) for at in range(0, len(body), _ID_BYTES)]


def _picked(kind: RecordType, plan: Plan, rule: tuple[str, Any]) -> str:
    place = func.row_number().over(order_by=order_of(kind, plan)) - literal_column("1")
    rows = kind.select().with_only_columns(kind.table.c.id, place.label("place"))
    rows = rows.where(*conditions_of(kind, plan, rule, []))
    if is_search(kind, plan):
        found = stand_in(f"{kind.table.name}_found", kind.table)
        rows = read_from(rows, kind.table, found)
    return text_of(rows)
