"""Duplicates: who may be the same person, as the plugins see it."""

from sqlalchemy.orm import Session

from liaison_contacts import parties
from liaison_contacts.people import PEOPLE
from liaison_kit import listing
from liaison_kit.context import context
from liaison_kit.database.statements import Statement
from liaison_kit.plugins import Hooks
from liaison_sdk.contracts.contacts import NewContact, PossibleDuplicate
from liaison_sdk.hooks import PersonFacts

CANDIDATES = 10
LIKELY = 0.6

# Through the search view, for its index of keys.
_ALIKE = Statement(
    "SELECT id, first_name, last_name, emails, phones FROM people_found"
    " WHERE keys && %(keys)s AND (%(peers)s::uuid[] IS NULL OR owner_id = ANY(%(peers)s::uuid[]))"
    f" LIMIT {CANDIDATES}"
)


def warn(session: Session, hooks: Hooks, new: NewContact) -> list[PossibleDuplicate]:
    """People who may be the one that is about to be added, the likeliest first.

    Candidates share an e-mail address, a phone number or the full name; the plugins score them.
    Of those whom the caller may not see nothing is said, not even that there are any: whoever adds
    a person could find out about an address by adding it.
    """
    principal = context(session).principal
    if principal is not None and not principal.may(f"{PEOPLE.name}:read"):
        return []
    if not hooks.answers("contacts_score_match"):
        return []
    numbers = [parties.e164(p.number) for p in new.phones]
    facts = PersonFacts(
        id=None,
        first_name=new.first_name,
        last_name=new.last_name,
        emails=tuple(e.address.lower() for e in new.emails),
        phones=tuple(numbers),
    )
    names = (new.first_name, new.last_name)
    wanted = parties.keys(
        names if all(names) else (),
        {
            "emails": [{"address": address} for address in facts.emails],
            "phones": [{"number": number} for number in numbers],
        },
    )
    if not wanted:
        return []
    warnings = []
    _, peers = listing.row_rule(session, PEOPLE)
    found = _ALIKE.run(session, {"keys": wanted, "peers": peers})
    for id, first_name, last_name, emails, phones in found:
        existing = PersonFacts(
            id=id,
            first_name=first_name,
            last_name=last_name,
            emails=tuple(e["address"] for e in emails),
            phones=tuple(p["number"] for p in phones),
        )
        matches = hooks.ask("contacts_score_match", new=facts, existing=existing)
        best = max(matches, key=lambda match: match.score, default=None)
        if best is not None and best.score >= LIKELY:
            warnings.append(
                PossibleDuplicate(
                    id=id,
                    name=f"{first_name} {last_name}".strip(),
                    score=round(best.score, 3),
                    reason=best.reason,
                )
            )
    return sorted(warnings, key=lambda warning: -warning.score)
