"""Row rules: whose records somebody sees."""

from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.records.recordtype import RecordType


def row_rule(session: Session, kind: RecordType) -> tuple[str, list[str] | None]:
    """Which owners' rows the caller sees: ("all", None) or ("peers", [ids])."""
    principal = context(session).principal
    if kind.owner is None or principal is None:
        return "all", None
    rule = principal.rows.get(kind.name, "all")
    if rule == "own":
        return "peers", [str(principal.user)]
    if rule == "team":
        return "peers", [str(peer) for peer in principal.peers] or [str(principal.user)]
    return "all", None
