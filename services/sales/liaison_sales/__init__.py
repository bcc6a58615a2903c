"""Sales force automation: products, pipelines, opportunities."""

HEARS = ("contacts", "identity", "sales")
"""Whose events its handlers take: the broker lets it hear no others."""

ASKS = ("contacts", "identity")
"""Whom it asks: contacts for people, identity for users and what somebody may do."""
