"""Row rules: whose records somebody sees."""

from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.records.recordtype import RecordType
from liaison_kit.sight import peers_of

OUT_OF_SIGHT = (
    "out_of_sight",
    "Your role shows you some owners' records only, and this would no longer be one",
)
"""Nobody loses sight of a record by writing it: how that is refused, as code and message."""


def row_rule(session: Session, kind: RecordType) -> tuple[str, list[str] | None]:
    """Which owners' rows the caller sees: ("all", None) or ("peers", [ids])."""
    peers = None if kind.owner is None else peers_of(context(session).principal, kind.name)
    return ("all", None) if peers is None else ("peers", peers)
