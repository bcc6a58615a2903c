"""Roles: the parts of a service, played by one process together or by one each."""

from liaison_kit.settings import settings

ROLES = ("rpc", "events", "relay", "jobs")


def plays(role: str) -> bool:
    """Whether this process plays the role."""
    return role in settings().roles.split(",")
