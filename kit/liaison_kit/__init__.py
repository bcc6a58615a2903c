"""The ground that a Liaison service stands on."""
