"""The liaison command."""
