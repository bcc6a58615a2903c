"""References of opportunities.

Products are ours, companies and users are known from events, and contacts knows people. Whoever is
not known here may have been added a moment ago, so its owner is asked, who also tells what the
caller may see: a record that is hidden from them is answered like one that never was.
"""

from typing import cast
from uuid import UUID

from sqlalchemy.orm import Session

from liaison_kit.calls.outside import answer_to
from liaison_kit.database.statements import Statement
from liaison_kit.records.references import unknown
from liaison_sales import accounts, reps
from liaison_sdk.contracts.questions import Ids, KnownCompanies, KnownUsers

_CHECK = Statement("""
    SELECT %(product)s::uuid IS NULL OR EXISTS (SELECT FROM products WHERE id = %(product)s),
           %(company)s::uuid IS NULL
             OR EXISTS (SELECT FROM seen_accounts WHERE id = %(company)s),
           %(owner)s::uuid IS NULL OR EXISTS (SELECT FROM reps WHERE id = %(owner)s AND active),
           (SELECT r.region FROM seen_accounts a JOIN reps r ON r.id = a.owner_id
             WHERE a.id = %(company)s)
""")


def check(
    session: Session,
    product: UUID | None,
    company: UUID | None,
    owner: UUID | None,
    contact: UUID | None,
) -> str | None:
    """Name every reference that points at nothing of ours; else the region of the company's owner.

    `Unavailable` when who has to be asked does not answer.
    """
    missing = []
    if contact is not None and not _is_known(session, contact):
        missing.append("contact_id")
    found, region = _found(session, product, company, owner)
    if not found["company_id"] and company is not None:
        answer = answer_to(session, "contacts", "known_companies", _question(company))
        accounts.saved(session, KnownCompanies.model_validate_json(answer).companies)
    if not found["owner_id"] and owner is not None:
        answer = answer_to(session, "identity", "known_users", _question(owner))
        reps.saved(session, KnownUsers.model_validate_json(answer).users)
    if not (found["company_id"] and found["owner_id"]):
        found, region = _found(session, product, company, owner)
    missing = [path for path, known in found.items() if not known] + missing
    if missing:
        raise unknown(missing)
    return region


def _found(
    session: Session, product: UUID | None, company: UUID | None, owner: UUID | None
) -> tuple[dict[str, bool], str | None]:
    if product is None and company is None and owner is None:
        return dict.fromkeys(("product_id", "company_id", "owner_id"), True), None
    given = {"product": product, "company": company, "owner": owner}
    ((*found, region),) = _CHECK.run(session, given)
    known = dict(zip(("product_id", "company_id", "owner_id"), map(bool, found), strict=True))
    return known, cast("str | None", region)


def _is_known(session: Session, contact: UUID) -> bool:
    """Whether contacts knows this person, and lets the caller know."""
    answer = answer_to(session, "contacts", "known_people", _question(contact))
    return contact in Ids.model_validate_json(answer).ids


def _question(id: UUID) -> bytes:
    return Ids(ids=[id]).model_dump_json().encode()
