"""Flows about opportunities: which events they can name, and who is told of them."""

from liaison_kit.flows import KINDS, STARTS, FlowRecord, Flows, Heard
from liaison_kit.flows.calling import Call, Offer, answers
from liaison_kit.resources import Resource
from liaison_sales.reps import REPS
from liaison_sdk.contracts import sales
from liaison_sdk.contracts.flows import NoteAsked


def flows(opportunities: Resource) -> Flows:
    """What sales says of its flows."""
    about = FlowRecord(
        opportunities,
        events=(
            Heard("opened", sales.OpportunityOpened, lambda event: [event.opportunity_id]),
            Heard("changed", sales.OpportunityChanged, lambda event: [event.opportunity_id]),
            Heard("moved", sales.OpportunityMoved, lambda event: [event.opportunity_id]),
            Heard("won", sales.DealWon, lambda event: [event.opportunity_id]),
            Heard("lost", sales.DealLost, lambda event: [event.opportunity_id]),
        ),
    )
    return Flows("sales", (about,), REPS, (*KINDS, Call(_CALLS)), STARTS, answers("contacts"))


_CALLS = {"contacts": {"add_note": Offer(NoteAsked, ("contacts:write", "companies:write"))}}
"""What others do for flows about opportunities."""
