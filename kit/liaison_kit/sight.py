"""What of others' records somebody sees: their permissions and row rules, told to PostgreSQL.

Whoever may not see a record must not meet a trace of it: not by a name beside an id, not by a
reference that is taken, not by a warning. Those are looked up in many statements; so the person's
permissions and row rules travel in front of a transaction's first statement, beside the tenant,
and views show what this person sees of a kind of record (`seen_view` of the migrations). Where
nobody asks (events, the system's own work), and for who sees everything, nothing is sent and a view
shows all.
"""

import json
import re
from dataclasses import dataclass

from liaison_kit.context import Principal

PERMISSIONS = "NULLIF(current_setting('liaison.permissions', true), '')::text[]"
"""SQL of what the person may do; NULL for who may do everything."""

ROWS = "NULLIF(current_setting('liaison.rows', true), '')::jsonb"
"""SQL of whose records the person sees, by kind of record; NULL for who sees everybody's."""

UNRESTRICTED = f"(SELECT {PERMISSIONS} IS NULL AND {ROWS} IS NULL)"
"""SQL of whether nobody asks, or somebody who sees everything."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A kind of record, and the view of those that the person who asks may see."""

    kind: str
    view: str


# What is called otherwise is no permission and no kind of record; SQL is written with these.
_NAME = re.compile(r"[A-Za-z0-9_.:-]+")


def peers_of(principal: Principal | None, kind: str) -> list[str] | None:
    """The owners whose records of a kind this person sees; None stands for everybody's."""
    if principal is None:
        return None
    rule = principal.rows.get(kind, "all")
    if rule == "all":
        return None
    own = [str(principal.user)]
    return ([str(peer) for peer in principal.peers] or own) if rule == "team" else own


def switch(principal: Principal | None) -> str:
    """SQL that tells a transaction what the person may see; empty for who sees everything."""
    if principal is None:
        return ""
    told = ""
    if "*" not in principal.permissions:
        listed = ",".join(sorted(filter(_NAME.fullmatch, principal.permissions)))
        told = f"SET LOCAL liaison.permissions = '{{{listed}}}'; "
    narrowed = {kind: peers_of(principal, kind) for kind in filter(_NAME.fullmatch, principal.rows)}
    narrowed = {kind: peers for kind, peers in narrowed.items() if peers is not None}
    if narrowed:
        told += f"SET LOCAL liaison.rows = '{json.dumps(narrowed)}'; "
    return told


def condition(permission: str, kind: str, owner: str) -> str:
    """SQL of whether the person sees a record: of these SQL values, the last is its owner's id."""
    # Subqueries, so that the settings are read once a statement and not for each row.
    peers = f"((SELECT {ROWS}) -> {kind})"
    return (
        f"coalesce({permission} = ANY((SELECT {PERMISSIONS})::text[]), true)"
        f" AND coalesce(jsonb_exists({peers}, {owner}::text), {peers} IS NULL)"
    )


def everything(kind: str) -> str:
    """SQL of whether the person sees every record of this kind."""
    return (
        f"(SELECT coalesce('{kind}:read' = ANY({PERMISSIONS}), true)"
        f" AND ({ROWS} -> '{kind}') IS NULL)"
    )
