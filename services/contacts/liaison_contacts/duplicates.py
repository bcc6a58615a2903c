"""Duplicates: who may be the same person, as the plugins see it."""

from sqlalchemy import MetaData, Table, and_, or_, select
from sqlalchemy.orm import Session

from liaison_contacts import parties
from liaison_contacts.models import Person
from liaison_kit.plugins import Hooks
from liaison_kit.search import digits, fold
from liaison_sdk.contracts.contacts import NewContact, PossibleDuplicate
from liaison_sdk.hooks import PersonFacts

CANDIDATES = 20
LIKELY = 0.6

_people = Person.__table__
assert isinstance(_people, Table)
# Through the search view, for its trigram index.
_found = _people.to_metadata(MetaData(), name="people_found")


def warn(session: Session, hooks: Hooks, new: NewContact) -> list[PossibleDuplicate]:
    """People who may be the one that is about to be added, the likeliest first.

    Candidates share an e-mail address, a phone number or both names; the plugins score them.
    """
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
    keys = [*facts.emails, *(digits(number) for number in numbers)]
    alike = [_found.c.search.like(f"% {_escape(key)} %") for key in keys if key]
    names = [fold(n) for n in (new.first_name, new.last_name) if n]
    if len(names) == 2:
        alike.append(and_(*(_found.c.search.like(f"% {_escape(name)} %") for name in names)))
    if not alike:
        return []
    rows = session.execute(
        select(
            _found.c.id, _found.c.first_name, _found.c.last_name, _found.c.emails, _found.c.phones
        )
        .where(or_(*alike))
        .limit(CANDIDATES)
    )
    warnings = []
    for row in rows:
        existing = PersonFacts(
            id=row.id,
            first_name=row.first_name,
            last_name=row.last_name,
            emails=tuple(e["address"] for e in row.emails),
            phones=tuple(p["number"] for p in row.phones),
        )
        matches = hooks.ask("contacts_score_match", new=facts, existing=existing)
        best = max(matches, key=lambda match: match.score, default=None)
        if best is not None and best.score >= LIKELY:
            warnings.append(
                PossibleDuplicate(
                    id=row.id,
                    name=f"{row.first_name} {row.last_name}".strip(),
                    score=round(min(best.score, 1.0), 3),
                    reason=best.reason,
                )
            )
    return sorted(warnings, key=lambda warning: -warning.score)


def _escape(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
