"""Warns when a person being created looks like one who exists.

The same e-mail address is nearly certain, the same phone number likely (families and switchboards
share theirs), names are compared by how many letters differ, in either order.
"""

import unicodedata

from rapidfuzz import fuzz

from liaison_sdk.hooks import Match, PersonFacts, hook

SAME_EMAIL = 0.98
SAME_PHONE = 0.8
SAME_NAME = 0.75


@hook
def contacts_score_match(new: PersonFacts, existing: PersonFacts) -> Match | None:
    """Score two people by e-mail, phone and name."""
    likeness = _names_alike(new, existing)
    if set(new.emails) & set(existing.emails):
        return Match(SAME_EMAIL, "same e-mail address")
    if set(new.phones) & set(existing.phones):
        if likeness > 0.8:
            return Match(0.95, "same phone number and nearly the same name")
        return Match(SAME_PHONE, "same phone number")
    if likeness > 0.9:
        return Match(SAME_NAME * likeness, "nearly the same name")
    return None


def _names_alike(new: PersonFacts, existing: PersonFacts) -> float:
    ours = _plain(f"{new.first_name} {new.last_name}")
    theirs = _plain(f"{existing.first_name} {existing.last_name}")
    return fuzz.token_sort_ratio(ours, theirs) / 100


def _plain(name: str) -> str:
    bare = unicodedata.normalize("NFKD", name)
    return "".join(c for c in bare if not unicodedata.combining(c)).casefold().strip()
