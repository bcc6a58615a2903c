"""Events between services: `emit` tells a fact, `@handles` acts on one."""

from liaison_kit.events.handlers import handles
from liaison_kit.events.outbox import emit

__all__ = ["emit", "handles"]
