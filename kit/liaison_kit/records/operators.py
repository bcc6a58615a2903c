"""Operators: what a condition may ask of a field, by the names that React Query Builder gives them.

They follow from the field's kind, and the manifest tells them field by field, so that a screen
offers what is understood here and nothing else.
"""

from collections.abc import Mapping
from typing import Final

SAME: Final = ("=", "!=", "in", "notIn")
ORDER: Final = ("<", "<=", ">", ">=", "between", "notBetween")
PARTS: Final = (
    "contains",
    "beginsWith",
    "endsWith",
    "doesNotContain",
    "doesNotBeginWith",
    "doesNotEndWith",
)
EMPTY: Final = ("null", "notNull")

BY_KIND: Final[Mapping[str, tuple[str, ...]]] = {
    "text": SAME + PARTS + EMPTY,
    "integer": SAME + ORDER + EMPTY,
    "decimal": SAME + ORDER + EMPTY,
    "money": SAME + ORDER + EMPTY,
    "date": SAME + ORDER + EMPTY,
    "datetime": SAME + ORDER + EMPTY,
    "boolean": ("=", "!=", *EMPTY),
    "id": SAME + EMPTY,
    "list": (*SAME, "contains", "doesNotContain", *EMPTY),
}
"""What may be asked of a field of each kind; a field of another kind can't be asked anything."""


def operators_of(kind: str, has_choices: bool) -> tuple[str, ...]:
    """What may be asked of a field; of one of some choices nobody needs to ask for parts."""
    return SAME + EMPTY if has_choices else BY_KIND.get(kind, ())
