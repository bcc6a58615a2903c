"""Owners: the users whom people and companies may belong to, as identity tells of them."""

from liaison_contacts.models import Owner
from liaison_kit.copies import KeptCopy
from liaison_sdk.contracts.identity import UserRemoved, UsersSaved
from liaison_sdk.contracts.questions import KnownUsers

OWNERS = KeptCopy(
    "users",
    Owner,
    saved=UsersSaved,
    removed=UserRemoved,
    known=KnownUsers,
    found_by=("name", "email"),
    gone={"email": None},
)
"""Who is removed keeps what they own, and is given nothing more."""
