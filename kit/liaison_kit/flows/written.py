"""Definitions in YAML: read as the JSON that they stand for, and as nothing else.

There are no anchors, tags, dates and octal numbers, and `yes` is a text: what is written is what is
meant.
"""

import re
from typing import Any

import yaml
from yaml.nodes import MappingNode

from liaison_kit.flows.frame import LONGEST
from liaison_sdk.errors import InvalidInput


class BadYaml(InvalidInput):
    """This is no YAML, or more than JSON could say."""

    code, title = "bad_yaml", "This YAML can't be read"


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML's types as JSON has them."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it repeats a part by an anchor: write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, value in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str) or name in found:
                raise yaml.YAMLError(f"a key is a text, and there once: {str(name)[:80]}")
            found[name] = self.construct_object(value, deep=True)
        return found


_NUMBER = "-?(?:0|[1-9][0-9]*)"
_SCALARS = {
    "null": "null|~|",
    "bool": "true|false",
    "int": _NUMBER,
    "float": _NUMBER + r"(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?",
}
"""What a plain word or number stands for, where it is no text: as JSON writes them."""

_KINDS = ("str", "seq", "map", *_SCALARS)


def _tag(name: str) -> str:
    return f"tag:yaml.org,2002:{name}"


_Loader.add_constructor(_tag("map"), _Loader.construct_mapping)
_Loader.yaml_constructors = {tag: _Loader.yaml_constructors[tag] for tag in map(_tag, _KINDS)} | {
    None: yaml.SafeLoader.construct_undefined
}
_Loader.yaml_implicit_resolvers = {}
for _name, _shape in _SCALARS.items():
    _Loader.add_implicit_resolver(_tag(_name), re.compile(f"^(?:{_shape})$"), None)


def load(text: str) -> Any:
    """What the YAML says; `BadYaml` with its line."""
    if len(text) > LONGEST:
        raise InvalidInput.field("yaml", "too_long", f"It has at most {LONGEST} characters")
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadYaml(" ".join(str(error).split())[:300] or "It is nested too deeply") from None
