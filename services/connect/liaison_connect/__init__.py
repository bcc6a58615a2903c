"""Every message out: the ledger, templates, and the way to the mail server."""

HEARS = ("contacts", "identity", "sales")
"""Who may hand it messages, by their events: the broker lets it hear no others."""

ASKS = ("identity",)
"""Whom it asks: identity for what somebody may do by now whose job goes on."""
