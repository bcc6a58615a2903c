"""People and companies: the shared record."""
