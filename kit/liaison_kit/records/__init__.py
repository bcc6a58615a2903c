"""Records: created, read, changed and removed the same way in every service."""

from liaison_kit.records.history import history
from liaison_kit.records.references import demand
from liaison_kit.records.writing import (
    answer,
    change,
    create,
    external_id_taken,
    load,
    locked,
    remove,
    stay_in_sight,
)

__all__ = [
    "answer",
    "change",
    "create",
    "demand",
    "external_id_taken",
    "history",
    "load",
    "locked",
    "remove",
    "stay_in_sight",
]
