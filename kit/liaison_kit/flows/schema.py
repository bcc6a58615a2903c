"""The JSON Schema of a service's flows, by which editors help and check."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from liaison_kit.conditions.schema import schemas as condition_schemas
from liaison_kit.flows.frame import MOST_STEPS, Frame
from liaison_kit.flows.kinds import Flows


def schema(flows: Flows) -> dict[str, Any]:
    """The JSON Schema of this service's flows, with the settings of each kind of start and step."""
    defs: dict[str, Any] = dict(condition_schemas("#/$defs/"))
    starts = [_with_kind(kind.name, kind.settings, defs) for kind in flows.starts.values()]
    steps = []
    for kind in flows.kinds.values():
        made = _with_kind(kind.name, kind.settings, defs)
        made["properties"]["undo"] = {"type": "object", "description": "What undoes it."}
        if kind.goes_on:
            made["properties"]["next"] = {"$ref": "#/$defs/Next"}
            made["required"].append("next")
        steps.append(made)
    target = {"type": "string", "description": "A step, or `end`."}
    defs["Next"] = {"anyOf": [target, {"type": "object", "additionalProperties": target}]}
    frame = Frame.model_json_schema(ref_template="#/$defs/{model}")
    defs |= frame.pop("$defs", {})
    defs["Exit"]["properties"]["when"] = {"$ref": "#/$defs/Condition"}
    properties = frame["properties"]
    properties["record"] = {"enum": sorted(flows.records)}
    properties["start"]["items"] = {"oneOf": starts}
    properties["steps"] |= {"maxProperties": MOST_STEPS, "additionalProperties": {"oneOf": steps}}
    properties["steps"].pop("patternProperties", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **frame, "$defs": defs}


def _with_kind(name: str, settings: type[BaseModel], defs: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = settings.model_json_schema(ref_template="#/$defs/{model}")
    defs |= made.pop("$defs", {})
    made.setdefault("properties", {})["kind"] = {"const": name}
    made["required"] = ["kind", *made.get("required", [])]
    for field, shape in made["properties"].items():
        if field in ("where", "when"):
            made["properties"][field] = _as_condition(shape)
    return made


def _as_condition(shape: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"$ref": "#/$defs/Condition"}
    return {"anyOf": [found, {"type": "null"}]} if "anyOf" in shape else found
