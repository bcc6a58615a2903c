"""References of opportunities.

Products are ours, companies and users are known from events, and contacts is asked for people.
"""

import time
from collections.abc import Callable
from typing import cast
from uuid import UUID

from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.database.statements import Statement
from liaison_sdk.contracts.questions import Ids
from liaison_sdk.errors import FieldError, InvalidInput

# An event takes milliseconds to come; what is not here after this long is not ours.
_PATIENCE_S = 1.5
_LOOK_EVERY_S = 0.05
_FRESH_MS = 10_000

_ASKING_S = 3.0

_PATHS = ("product_id", "company_id", "owner_id")
_CHECK = Statement("""
    SELECT %(product)s::uuid IS NULL OR EXISTS (SELECT FROM products WHERE id = %(product)s),
           %(company)s::uuid IS NULL
             OR EXISTS (SELECT FROM accounts WHERE id = %(company)s AND NOT removed),
           %(owner)s::uuid IS NULL OR EXISTS (SELECT FROM reps WHERE id = %(owner)s AND active),
           (SELECT r.region FROM accounts a JOIN reps r ON r.id = a.owner_id
             WHERE a.id = %(company)s)
""")


def contact_known(ask: Callable[..., bytes], session: Session, contact: UUID | None) -> bool:
    """Whether contacts knows this person; `Unavailable` when it does not answer.

    To be asked before the session has its connection: others need that while this one waits.
    """
    if contact is None:
        return True
    question = Ids(ids=[contact]).model_dump_json().encode()
    answer = ask("contacts", "known_people", question, context(session), _ASKING_S)
    return contact in Ids.model_validate_json(answer).ids


def check(
    session: Session,
    product: UUID | None,
    company: UUID | None,
    owner: UUID | None,
    *,
    contact_known: bool,
) -> str | None:
    """Name every reference that points at nothing of ours; else the region of the company's owner.

    Somebody may open an opportunity with a company that they have added a moment ago. Its event is
    on the way then, and is waited for; ids tell when they were made, so others are refused at once.
    """
    if contact_known and product is None and company is None and owner is None:
        return None
    given = {"product": product, "company": company, "owner": owner}
    until = time.monotonic() + _PATIENCE_S
    while True:
        ((*found, region),) = _CHECK.run(session, given)
        missing = [path for path, exists in zip(_PATHS, found, strict=True) if not exists]
        if not contact_known:
            missing.append("contact_id")
        if not missing:
            return cast("str | None", region)
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


def _fresh(id: UUID) -> bool:
    """Whether this id was made within the last seconds: a UUIDv7 starts with its time."""
    return id.version == 7 and abs(time.time() * 1000 - (id.int >> 80)) < _FRESH_MS
