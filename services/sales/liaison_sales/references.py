"""References of opportunities: products are ours, companies and users are known from events."""

import time
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from liaison_sdk.errors import FieldError, InvalidInput

# An event takes milliseconds to come; what is not here after this long is not ours.
_PATIENCE_S = 1.5
_LOOK_EVERY_S = 0.05
_FRESH_MS = 10_000

_CHECK = text("""
    SELECT :product IS NULL OR EXISTS (SELECT FROM products WHERE id = CAST(:product AS uuid))
             AS product_id,
           :company IS NULL
             OR EXISTS (SELECT FROM accounts WHERE id = CAST(:company AS uuid) AND NOT removed)
             AS company_id,
           :owner IS NULL OR EXISTS (SELECT FROM reps WHERE id = CAST(:owner AS uuid) AND active)
             AS owner_id,
           (SELECT r.region FROM accounts a JOIN reps r ON r.id = a.owner_id
             WHERE a.id = CAST(:company AS uuid)) AS region
""")


def check(
    session: Session, product: UUID | None, company: UUID | None, owner: UUID | None
) -> str | None:
    """Name every reference that points at nothing of ours; else the region of the company's owner.

    Somebody may open an opportunity with a company that they have added a moment ago. Its event is
    on the way then, and is waited for; ids tell when they were made, so others are refused at once.
    """
    if product is None and company is None and owner is None:
        return None
    given = {"product": product, "company": company, "owner": owner}
    values = {name: None if id is None else str(id) for name, id in given.items()}
    until = time.monotonic() + _PATIENCE_S
    while True:
        found = session.execute(_CHECK, values).one()
        missing = _missing(found)
        if not missing:
            region: str | None = found.region
            return region
        on_the_way = [
            id
            for path, id in (("company_id", company), ("owner_id", owner))
            if path in missing and id is not None and _fresh(id)
        ]
        if len(on_the_way) < len(missing) or time.monotonic() > until:
            raise InvalidInput(
                "Some references point at nothing",
                [
                    FieldError(path, "unknown_reference", f"{path} names no record of yours")
                    for path in missing
                ],
            )
        time.sleep(_LOOK_EVERY_S)


def _missing(found: "Row[tuple[bool, bool, bool, str | None]]") -> list[str]:
    return [path for path in ("product_id", "company_id", "owner_id") if not getattr(found, path)]


def _fresh(id: UUID) -> bool:
    """Whether this id was made within the last seconds: a UUIDv7 starts with its time."""
    return id.version == 7 and abs(time.time() * 1000 - (id.int >> 80)) < _FRESH_MS
