"""Tenants, users, teams, roles, tokens and the audit trail."""

HEARS = ("connect", "contacts", "identity", "sales")
"""Whose events its handlers take: the broker lets it hear no others."""

ASKS = ("identity",)
"""Whom it asks: identity, what somebody may do whose work goes on."""
