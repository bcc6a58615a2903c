"""Suggests an owner for a new opportunity by region."""
