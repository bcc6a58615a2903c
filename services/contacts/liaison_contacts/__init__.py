"""People and companies: the shared record."""

from liaison_sdk.contracts.privacy import HOLDERS

HEARS = tuple(sorted({"identity", "sales", *HOLDERS}))
"""Whose events its handlers take: the broker lets it hear no others."""

ASKS = ("identity",)
"""Whom it asks: identity, what somebody may do whose work goes on."""
