"""The accounts: companies as contacts tells them, kept so that lists and files can name them."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import Text, Uuid, column, or_, select, table, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.database.statements import Statement
from liaison_kit.records.search import fold
from liaison_kit.sight import Seen
from liaison_sales.models import Account
from liaison_sdk.contracts.contacts import CompanyRef

SEEN = Seen("companies", "seen_accounts")
seen = table(
    SEEN.view,
    *(column(name, Text) for name in ("name", "folded", "external_id")),
    column("id", Uuid),
)
"""The companies that the person who asks may see."""

# Higher than any version that contacts will ever tell: what was removed stays so.
_LAST = 2**62

# In the same order everywhere, so that two batches never wait for each other in a circle.
_KEEP = Statement("""
INSERT INTO accounts (id, tenant_id, name, folded, external_id, owner_id, removed, version)
SELECT DISTINCT ON (id) id, %(tenant)s::uuid, name, folded, external_id, owner_id, false, version
FROM jsonb_to_recordset(%(rows)s) AS told(id uuid, name text, folded text, external_id text,
                                          owner_id uuid, version bigint)
ORDER BY id, version DESC
ON CONFLICT (id) DO UPDATE SET name = excluded.name, folded = excluded.folded,
    external_id = excluded.external_id, owner_id = excluded.owner_id, removed = false,
    version = excluded.version
WHERE accounts.version < excluded.version
""")


def saved(session: Session, companies: Sequence[CompanyRef]) -> None:
    """Remember companies; what is not newer than what is known is left out."""
    rows = [dict(company) | {"folded": fold(company.name)} for company in companies]
    told = {"tenant": context(session).tenant, "rows": to_json(rows).decode()}
    _KEEP.run(session, told)


def removed(session: Session, company_id: UUID) -> None:
    """A company is gone; its opportunities stay, with nobody's name on them."""
    session.execute(
        text(
            "INSERT INTO accounts (id, tenant_id, name, folded, removed, version)"
            " VALUES (:id, :tenant, '', '', true, :last)"
            " ON CONFLICT (id) DO UPDATE SET removed = true, version = :last"
            " WHERE accounts.version < :last"
        ),
        {"id": company_id, "tenant": context(session).tenant, "last": _LAST},
    )


def resolve(session: Session, values: Sequence[str]) -> dict[str, str]:
    """The ids of companies by name or external id; a name that several share names none."""
    folded = [fold(value) for value in values]
    rows = session.execute(
        select(seen.c.id, seen.c.folded, seen.c.external_id).where(
            or_(seen.c.folded.in_(folded), seen.c.external_id.in_(values))
        )
    ).all()
    by_name: dict[str, set[str]] = {}
    by_external_id: dict[str, str] = {}
    for row in rows:
        by_name.setdefault(row.folded, set()).add(str(row.id))
        if row.external_id is not None:
            by_external_id[row.external_id] = str(row.id)
    found: dict[str, str] = {}
    for value, key in zip(values, folded, strict=True):
        named = by_name.get(key, set())
        if len(named) == 1:
            found[value] = next(iter(named))
        elif value in by_external_id:
            found[value] = by_external_id[value]
    return found


def names(session: Session, near: Sequence[str]) -> list[str]:
    """Companies that misspelt names may have meant: all of a small book, else likely ones."""
    some = list(session.scalars(select(seen.c.name).limit(5001)))
    if len(some) <= 5000:
        return some
    starts = {fold(value)[:3] for value in near[:200]}
    likely = select(seen.c.name).where(
        or_(*(seen.c.folded.startswith(start, autoescape=True) for start in sorted(starts)))
    )
    return list(session.scalars(likely.limit(5000)))


def learnt(session: Session, found: Mapping[str, UUID]) -> None:
    """Remember what contacts answered about names; its events will tell the rest."""
    tenant = context(session).tenant
    rows = [
        {
            "id": id,
            "tenant_id": tenant,
            "name": name,
            "folded": fold(name),
            "removed": False,
            "version": 0,
        }
        for name, id in sorted(found.items(), key=lambda pair: pair[1])
    ]
    if rows:
        session.execute(insert(Account).on_conflict_do_nothing(), rows)
