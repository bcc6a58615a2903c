"""Records: created, read, changed and removed the same way in every service.

A kind of record is declared once (`recordtype`). `writing` creates and changes them with the
statements of `sql`, and hands them out as frozen copies (`held`); `references` must point at
something, `history` keeps who changed what, `custom` fields are the tenant's own, `search` is what
they are found by, `files` are kept in parts.
"""

from liaison_kit.records.held import Held, values_of
from liaison_kit.records.history import history, history_of, removals
from liaison_kit.records.references import demand
from liaison_kit.records.writing import (
    Along,
    answer,
    change,
    create,
    external_id_taken,
    load,
    load_with,
    locked,
    remove,
    stay_in_sight,
)

__all__ = [
    "Along",
    "Held",
    "answer",
    "change",
    "create",
    "demand",
    "external_id_taken",
    "history",
    "history_of",
    "load",
    "load_with",
    "locked",
    "removals",
    "remove",
    "stay_in_sight",
    "values_of",
]
