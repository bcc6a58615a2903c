"""The reps: users as identity tells them, kept here so that lists and sums can name them."""

from liaison_kit.copies import KeptCopy
from liaison_sales.models import Rep
from liaison_sdk.contracts.identity import UserRemoved, UsersSaved
from liaison_sdk.contracts.questions import KnownUsers

REPS = KeptCopy(
    "users",
    Rep,
    saved=UsersSaved,
    removed=UserRemoved,
    known=KnownUsers,
    found_by=("name", "email"),
    gone={"active": False, "email": None},
)
"""Deals of who is gone stay theirs, and new ones are not given to them."""
