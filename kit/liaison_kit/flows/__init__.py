"""Flows: what happens step by step over days, as a tenant draws it.

A definition (`frame`, `reading`, `graph`) is kept as a draft however wrong it is, and activated
once nothing is (`definitions`). What happens with a record begins runs of it (`runs`); each step is
one transaction of a timer's (`engine`), and so happens once, whatever dies. `steps` are the kinds
that every service has; it adds its own (`kinds`), and offers the operations (`api`). `tracing`
tells where runs stand, `operating` is what people do with them, and `following` what becomes of
them when their records are merged or erased (docs/decisions/flows.md).
"""

from liaison_kit.flows.api import FLOW_TIDIES, PERMISSIONS, FlowOperations
from liaison_kit.flows.kinds import (
    Did,
    Ends,
    FlowRecord,
    Flows,
    Heard,
    Here,
    Kind,
    Shown,
    StartKind,
    Waits,
    Went,
    just_changed,
    just_made,
)
from liaison_kit.flows.steps import FLOW_NOTICE, KINDS, STARTS

__all__ = [
    "FLOW_NOTICE",
    "FLOW_TIDIES",
    "KINDS",
    "PERMISSIONS",
    "STARTS",
    "Did",
    "Ends",
    "FlowOperations",
    "FlowRecord",
    "Flows",
    "Heard",
    "Here",
    "Kind",
    "Shown",
    "StartKind",
    "Waits",
    "Went",
    "just_changed",
    "just_made",
]
