"""Who is asking and who is telling: keys, signed principals, signed events, sealed secrets."""
