"""Conditions: one language for the rules that tenants edit, and for what lists are narrowed by.

A condition is the JSON tree of React Query Builder. `reading` checks one against a kind of record,
`giving` understands its values and `moments` its days; what comes of it is a `tree`. `composing`
makes SQL of it, `matching` tells whether one record matches it, and both say the same of every
record (docs/decisions/conditions.md). `saying` puts it into words, `schema` describes it to
programs.
"""

from liaison_kit.conditions.composing import sql, values
from liaison_kit.conditions.matching import matches
from liaison_kit.conditions.reading import parse, raw_rules, read
from liaison_kit.conditions.saying import said
from liaison_kit.conditions.schema import SCHEMA
from liaison_kit.conditions.tree import Condition

__all__ = ["SCHEMA", "Condition", "matches", "parse", "raw_rules", "read", "said", "sql", "values"]
