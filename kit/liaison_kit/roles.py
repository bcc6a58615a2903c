"""Roles: the parts of a service that a process may play, together or each in a process of its own."""

from liaison_kit.settings import settings

ROLES = ("rpc", "events", "relay", "jobs")


def plays(role: str) -> bool:
    """Whether this process plays the role."""
    return role in settings().roles.split(",")
