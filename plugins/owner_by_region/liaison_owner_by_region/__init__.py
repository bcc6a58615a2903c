"""Suggests an owner for a new opportunity: of the reps of its region, who has the fewest open."""

from collections.abc import Sequence

from liaison_sdk.hooks import OpportunityFacts, OwnerSuggestion, RepFacts, hook


@hook
def sales_suggest_owner(
    opportunity: OpportunityFacts, reps: Sequence[RepFacts]
) -> OwnerSuggestion | None:
    """The least busy rep of the opportunity's region; no opinion where it has none."""
    region = _same(opportunity.region)
    if not region:
        return None
    here = [rep for rep in reps if _same(rep.region) == region]
    if not here:
        return None
    # Equally busy reps go by name, so that the same question gets the same answer.
    chosen = min(here, key=lambda rep: (rep.open_opportunities, rep.name, rep.id))
    return OwnerSuggestion(
        chosen.id,
        f"{chosen.name} has the fewest open opportunities ({chosen.open_opportunities}) of the"
        f" {len(here)} in {chosen.region}",
    )


def _same(region: str | None) -> str:
    return " ".join((region or "").casefold().split())
