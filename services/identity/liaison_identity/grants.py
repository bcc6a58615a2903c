"""What a set of roles allows, and the rule that nobody gives away what they do not hold."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from liaison_kit.context import Principal
from liaison_sdk.contracts.identity import RowRule
from liaison_sdk.errors import Forbidden

EVERYTHING = "*"
ACCOUNT = frozenset({"account:read", "account:write"})
"""What one does about one's own tokens and password: everybody may, a narrowed token only if it was
made for that."""
_BREADTH: Mapping[str, int] = {"own": 0, "team": 1, "all": 2}


class BeyondYou(Forbidden):
    """The act would give, or take over, rights that the actor does not hold."""

    code, title = "beyond_you", "You can't give rights that you do not have yourself"


def together(roles: Iterable[Mapping[str, Any]]) -> tuple[set[str], dict[str, RowRule]]:
    """The permissions and row rules of several roles: what one of them allows is allowed.

    Only roles that grant something about a kind of record say which of its rows are seen, so that a
    second role about other things does not open them. A kind that is open whole is left out.
    """
    held = list(roles)
    permissions = {permission for role in held for permission in role["permissions"]}
    rows: dict[str, RowRule] = {}
    for record in sorted({record for role in held for record in role["rows"]}):
        says = [role for role in held if about(role["permissions"], record)]
        says = says or [role for role in held if record in role["rows"]]
        rule = max((role["rows"].get(record, "all") for role in says), key=_BREADTH.__getitem__)
        if rule != "all":
            rows[record] = rule
    return permissions, rows


def narrowed(permissions: set[str], to: Sequence[str] | None) -> set[str]:
    """The permissions of a session or token, and what is left of them if it was made for some."""
    held = permissions if EVERYTHING in permissions else permissions | ACCOUNT
    if to is None:
        return held
    return set(to) if EVERYTHING in held else held & set(to)


def demand(
    principal: Principal | None, permissions: Iterable[str], rows: Mapping[str, str]
) -> None:
    """Raise `BeyondYou` unless the actor holds all of this; the system itself holds everything."""
    if principal is None:
        return
    asked = set(permissions)
    missing = sorted(p for p in asked if not principal.may(p))
    if missing:
        raise BeyondYou(f"You do not have {', '.join(missing)} yourself")
    for record, mine in principal.rows.items():
        given = rows.get(record, "all")
        if about(asked, record) and _BREADTH[given] > _BREADTH[mine]:
            raise BeyondYou(f"You see {mine} rows of {record} yourself, not {given}")


def widened(
    before: tuple[Iterable[str], Mapping[str, str]],
    after: tuple[Iterable[str], Mapping[str, str]],
    records: Iterable[str],
) -> set[str]:
    """Those of these kinds of record of which a role shows more rows than it did."""
    return {record for record in records if _breadth(record, *after) > _breadth(record, *before)}


def _breadth(record: str, permissions: Iterable[str], rows: Mapping[str, str]) -> int:
    return _BREADTH[rows.get(record, "all")] if about(permissions, record) else -1


def about(permissions: Iterable[str], record: str) -> bool:
    """Whether any of the permissions is about this kind of record."""
    return any(p == EVERYTHING or p.startswith(f"{record}:") for p in permissions)
