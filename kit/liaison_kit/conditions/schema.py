"""The JSON Schema of conditions, for programs and for the OpenAPI document.

It tells the form of a tree. Which fields there are, and which operators and values each takes,
depends on the kind of record: the manifest tells the operators, `reading` checks all of it.
"""

from typing import Any, Final

from liaison_kit.conditions.moments import ANCHORS, UNITS
from liaison_kit.conditions.tree import TESTS


def schemas(prefix: str) -> dict[str, Any]:
    """The schemas by name; they refer to one another by the prefix and the name."""
    rule = {"$ref": f"{prefix}ConditionRule"}
    group = {"$ref": f"{prefix}Condition"}
    value = {"$ref": f"{prefix}ConditionValue"}
    return {
        "Condition": {
            "title": "Condition",
            "description": "Rules and groups of which all (and), or one at least (or), hold.",
            "type": "object",
            "required": ["combinator", "rules"],
            "properties": {
                "combinator": {"enum": ["and", "or"]},
                "not": {"type": ["boolean", "null"], "description": "Turns the group round."},
                "rules": {"type": "array", "minItems": 1, "items": {"anyOf": [rule, group]}},
            },
        },
        "ConditionRule": {
            "title": "ConditionRule",
            "description": "One thing that is asked of one field of a record.",
            "type": "object",
            "required": ["field", "operator"],
            "properties": {
                "field": {"type": "string"},
                "operator": {"enum": list(TESTS)},
                "value": {
                    "description": "in and notIn take several, between and notBetween two: as a"
                    " list, or as one text with commas. null and notNull take none. In lists, me"
                    " is whoever asks, where the field holds a user.",
                    "anyOf": [value, {"type": "array", "items": value}, {"type": "null"}],
                },
                "valueSource": {"enum": ["value", None]},
            },
        },
        "ConditionValue": {
            "title": "ConditionValue",
            "anyOf": [
                {"type": ["string", "number", "boolean"]},
                {
                    "description": "An amount of one currency.",
                    "type": "object",
                    "required": ["amount", "currency"],
                    "properties": {
                        "amount": {"type": ["string", "number"]},
                        "currency": {"type": "string"},
                    },
                    "additionalProperties": False,
                },
                {
                    "description": "A day or moment that depends on when it is looked at.",
                    "type": "object",
                    "required": ["mode", "anchor"],
                    "properties": {
                        "mode": {"const": "relative"},
                        "anchor": {"enum": list(ANCHORS)},
                        "offset": {"type": "integer", "default": 0},
                        "unit": {"enum": list(UNITS), "default": "day"},
                    },
                    "additionalProperties": False,
                },
            ],
        },
    }


SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$ref": "#/$defs/Condition",
    "$defs": schemas("#/$defs/"),
}
"""The schema of a condition by itself."""
