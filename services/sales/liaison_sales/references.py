"""References of opportunities.

Products are ours, companies and users are known from events, and contacts knows people. Whoever is
not known here may have been added a moment ago, so its owner is asked, who also tells what the
caller may see: a record that is hidden from them is answered like one that never was.
"""

import json
from collections.abc import Container, Iterable
from contextlib import suppress
from typing import cast
from uuid import UUID

from sqlalchemy.orm import Session

from liaison_kit import conditions
from liaison_kit.calls.outside import answer_to
from liaison_kit.context import NOBODY, context
from liaison_kit.database.statements import Statement
from liaison_kit.listing.asked import WHERE, ListQuery
from liaison_kit.privacy.moved import where_it_is
from liaison_kit.records.references import unknown
from liaison_kit.sight import peers_of
from liaison_sales.accounts import ACCOUNTS
from liaison_sales.reps import REPS
from liaison_sdk.contracts.questions import Ids
from liaison_sdk.contracts.sales import Opportunity
from liaison_sdk.errors import InvalidInput

_PERSON = "contact_id"
_MOST = 1000

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
    if not found["company_id"]:
        # It may have been merged: the database writes the survivor in its place.
        company = where_it_is(session, company)
        found, region = _found(session, product, company, owner)
    if not found["company_id"] and company is not None:
        ACCOUNTS.look_up(session, company)
    if not found["owner_id"] and owner is not None:
        REPS.look_up(session, owner)
    if not (found["company_id"] and found["owner_id"]):
        found, region = _found(session, product, company, owner)
    missing = [path for path, known in found.items() if not known] + missing
    if missing:
        raise unknown(missing)
    return region


def seen(session: Session, query: ListQuery[Opportunity]) -> ListQuery[Opportunity]:
    """The list's parameters, in which people whom the caller may not see are nobody's ids.

    Which people there are contacts knows alone, and it is asked only for who may not see all.
    """
    principal = context(session).principal
    if principal is None or peers_of(principal, "contacts") is None:
        return query
    return ListQuery([(name, _seen(session, name, value)) for name, value in query.pairs])


def _seen(session: Session, name: str, value: str) -> str:
    if name.partition("[")[0] == _PERSON:
        return _without(value, _hidden(session, [value]))
    return _seen_by_condition(session, value) if name == WHERE else value


def _seen_by_condition(session: Session, value: str) -> str:
    """A list's condition, in which they are nobody's ids as well."""
    try:
        tree = conditions.read(value)
        rules = [rule for rule in conditions.raw_rules(tree) if rule.get("field") == _PERSON]
        hidden = _hidden(session, [text for rule in rules for text in _texts(rule.get("value"))])
        for rule in rules if hidden else ():
            several = isinstance(rule.get("value"), list)
            shown = [_without(text, hidden) for text in _texts(rule.get("value"))]
            rule["value"] = shown if several else "".join(shown)
        return json.dumps(tree) if hidden else value
    except (InvalidInput, RecursionError):
        # What is wrong with it the list will say.
        return value


def _texts(value: object) -> list[str]:
    parts = value if isinstance(value, list) else [value]
    return [part for part in parts if isinstance(part, str)]


def _without(value: str, hidden: Container[str]) -> str:
    return ",".join(str(NOBODY) if part in hidden else part for part in value.split(","))


def _hidden(session: Session, values: Iterable[str]) -> set[str]:
    """Which parts of these texts, between commas, name somebody whom the caller may not see."""
    ids: dict[str, UUID] = {}
    for part in dict.fromkeys(part for value in values for part in value.split(",")):
        # In every way in which a filter may write an id.
        with suppress(ValueError):
            ids[part] = UUID(part.strip())
    if not ids:
        return set()
    question = Ids(ids=list(ids.values())[:_MOST]).model_dump_json().encode()
    answer = answer_to(session, "contacts", "known_people", question)
    known = set(Ids.model_validate_json(answer).ids)
    return {part for part, id in ids.items() if id not in known}


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
    question = Ids(ids=[contact]).model_dump_json().encode()
    answer = answer_to(session, "contacts", "known_people", question)
    return contact in Ids.model_validate_json(answer).ids
