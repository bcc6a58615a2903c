"""Whose a new opportunity should be: plugins are asked, with facts about every rep."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.plugins import Hooks
from liaison_sdk.hooks import OpportunityFacts, OwnerSuggestion, RepFacts

_REPS = text("""
    SELECT r.id, r.name, r.region, coalesce(n.open, 0) AS open
      FROM reps r
      LEFT JOIN (SELECT owner_id, count(*) AS open FROM opportunities
                  WHERE status = 'open' AND owner_id IS NOT NULL GROUP BY owner_id) n
        ON n.owner_id = r.id
     WHERE r.active ORDER BY r.name, r.id
""")


def suggest(
    session: Session, hooks: Hooks, opportunity: OpportunityFacts
) -> OwnerSuggestion | None:
    """The first suggestion that names an active rep; none where no plugin has an opinion."""
    if not hooks.names:
        return None
    reps = [RepFacts(row.id, row.name, row.region, row.open) for row in session.execute(_REPS)]
    known = {rep.id for rep in reps}
    # Each plugin is shown the same facts: none may change them for the next.
    for answer in hooks.ask("sales_suggest_owner", opportunity=opportunity, reps=tuple(reps)):
        if answer.user_id in known:
            found: OwnerSuggestion = answer
            return found
    return None
