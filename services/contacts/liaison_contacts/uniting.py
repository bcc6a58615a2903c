"""What becomes of two records that are one: whose value counts for each field. No database here."""

from collections.abc import Collection, Mapping
from typing import Any

STAGES = ("visitor", "subscriber", "lead", "mql", "sql", "opportunity", "churned", "customer")
"""How far the relation has come; who is a customer with one of two records is one."""

LISTS = {"emails": "address", "phones": "number"}
"""Lists that are united, and what tells their elements apart."""

TEXTS = ("tags", "languages", "websites")
"""Lists of texts that are united."""

RELATION = ("stage", "customer_since", "customer_because", "because_id")
"""What tells how far the relation has come goes together."""

MONEY = ("annual_revenue_amount", "annual_revenue_currency")

ALONE = (
    "first_name",
    "last_name",
    "title",
    "salutation",
    "middle_name",
    "suffix",
    "department",
    "birthday",
    "company_id",
    "owner_id",
    "external_id",
    "name",
    "parent_id",
    "industry",
    "website",
    "year_founded",
    "employees",
)
"""Fields of which one value is kept: the survivor's, or where that is empty the other's."""

Values = Mapping[str, Any]


def united(into: Values, other: Values, take: Collection[str]) -> dict[str, Any]:
    """The survivor's columns as they are to be.

    Of the fields in `take` the other's value counts.
    """
    found: dict[str, Any] = {}
    for name in ALONE:
        if name in into:
            found[name] = _one(into, other, name, name in take)
    for name, key in LISTS.items():
        first, second = (other, into) if name in take else (into, other)
        found[name] = _each_once([*first[name], *second[name]], key)
    found["addresses"] = _lists(into, other, "addresses", take)
    for name in TEXTS:
        if name in into:
            found[name] = _lists(into, other, name, take)
    first, second = (into, other) if "custom" in take else (other, into)
    found["custom"] = {**first["custom"], **second["custom"]}
    if MONEY[0] in into:
        theirs = "annual_revenue" in take or into[MONEY[0]] is None
        found |= {name: (other if theirs else into)[name] for name in MONEY}
    found |= _relation(into, other, "stage" in take)
    return found


def _one(into: Values, other: Values, name: str, take: bool) -> Any:
    mine, theirs = into[name], other[name]
    if take:
        return theirs
    return theirs if mine in (None, "") else mine


def _lists(into: Values, other: Values, name: str, take: Collection[str]) -> list[Any]:
    first, second = (other, into) if name in take else (into, other)
    return list(first[name]) + [each for each in second[name] if each not in first[name]]


def _each_once(elements: list[Any], key: str) -> list[Any]:
    found: dict[str, Any] = {}
    for element in elements:
        found.setdefault(element[key].casefold(), element)
    return list(found.values())


def _relation(into: Values, other: Values, take: bool) -> dict[str, Any]:
    chosen = into
    if take or STAGES.index(other["stage"]) > STAGES.index(into["stage"]):
        chosen = other
    elif into["stage"] == other["stage"] == "customer":
        chosen = min((into, other), key=_since)
    return {name: chosen[name] for name in RELATION}


def _since(party: Values) -> Any:
    since = party["customer_since"]
    return (since is None, since)
