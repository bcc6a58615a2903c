"""What the gateway itself answers, as the OpenAPI document tells of it."""

from typing import Any

from liaison_gateway.looking import SCREEN
from liaison_gateway.search import LONGEST, MOST_SHOWN, SHORTEST, SHOWN

TAG = "gateway"
LABEL = {"en": "All modules", "fr": "Tous les modules"}
_PROBLEMS = (400, 401, 403, 414, 422, 429, 431, 503)
_TEXT = {"type": "string"}
_ID = {"type": "string", "format": "uuid"}
_LABEL = {
    "type": "object",
    "required": ["en", "fr"],
    "properties": {"en": _TEXT, "fr": _TEXT},
}


def _closed(name: str, description: str, /, **properties: Any) -> dict[str, Any]:
    return {
        "title": name,
        "type": "object",
        "description": description,
        "required": list(properties),
        "properties": properties,
    }


def _list(of: Any) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _or_null(of: Any) -> dict[str, Any]:
    return {"anyOf": [of, {"type": "null"}]}


SCHEMAS: dict[str, Any] = {
    "SearchHit": _closed(
        "SearchHit",
        "A record that was found; `because` tells where, when the title does not.",
        id=_ID,
        title=_TEXT,
        subtitle=_TEXT,
        how={"type": "string", "enum": ["exact", "begins", "word", "part"]},
        because=_or_null(_closed("Because", "A field and its text.", field=_TEXT, text=_TEXT)),
    ),
    "SearchGroup": _closed(
        "SearchGroup",
        "What was found of one kind of record, best first.",
        service=_TEXT,
        record=_TEXT,
        label=_or_null(_LABEL),
        items=_list({"$ref": "#/components/schemas/SearchHit"}),
        more={"type": "boolean"},
    ),
    "SearchMissing": _closed(
        "SearchMissing",
        "A module that is not in the answer, and why.",
        service=_TEXT,
        records=_list(_TEXT),
        reason={"type": "string", "enum": ["down", "slow", "failed"]},
    ),
    "SearchFound": _closed(
        "SearchFound",
        "What was found, the kind with the best hit first.",
        groups=_list({"$ref": "#/components/schemas/SearchGroup"}),
        missing=_list({"$ref": "#/components/schemas/SearchMissing"}),
    ),
    "Look": {
        **_closed(
            "Look",
            "What a screen shows; both null when it shows no record any more.",
            screen={"type": "string", "pattern": SCREEN},
            record=_or_null(_TEXT),
            id=_or_null(_ID),
        ),
        "additionalProperties": False,
    },
    "Face": _closed(
        "Face", "Somebody who looks at a record.", user=_ID, name=_TEXT, typing={"type": "boolean"}
    ),
    "Onlookers": _closed(
        "Onlookers",
        "Who else looks at a record, and in how many seconds a screen has to say it again.",
        record=_or_null(_TEXT),
        id=_or_null(_ID),
        faces=_list({"$ref": "#/components/schemas/Face"}),
        say_again_s={"type": "integer"},
    ),
}
SCHEMAS["Look"]["properties"]["typing"] = {"type": "boolean", "default": False}

# A query holds no NUL, UTF-8 no surrogate; and spaces around what is searched for do not count.
_ANY = r"[^\x00\ud800-\udfff]"
_SIGN = r"[^\s\x00\ud800-\udfff]"
_RECORD = [
    {"name": "record", "in": "query", "required": True, "schema": _TEXT},
    {"name": "id", "in": "query", "required": True, "schema": _ID},
]


def paths(titles: dict[int, str]) -> dict[str, dict[str, Any]]:
    """The operations by path, less the prefix, and method."""

    def operation(name: str, summary: str, answer: str, *more: int, **facts: Any) -> dict[str, Any]:
        problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
        refused = {
            str(status): {
                "description": titles[status],
                "content": {"application/problem+json": problem},
            }
            for status in sorted((*_PROBLEMS, *more))
        }
        schema = {"$ref": f"#/components/schemas/{answer}"}
        done = {"description": "Done", "content": {"application/json": {"schema": schema}}}
        return {
            "operationId": f"{TAG}_{name}",
            "tags": [TAG],
            "summary": summary,
            "parameters": [],
            **facts,
            "responses": {"200": done, **refused},
        }

    return {
        "/search": {
            "get": operation(
                "search",
                "What is found in all modules, of what the caller may read.",
                "SearchFound",
                description="Modules that are down or slow are named, and keep nobody waiting.",
                parameters=[
                    {
                        "name": "q",
                        "in": "query",
                        "required": True,
                        "description": "Parts of words, accents ignored, or digits of a phone.",
                        "schema": {
                            "type": "string",
                            "minLength": SHORTEST,
                            "maxLength": LONGEST,
                            "pattern": f"^{_SIGN}{_ANY}*{_SIGN}$",
                        },
                    },
                    {
                        "name": "limit",
                        "in": "query",
                        "description": "How many of each kind of record are wanted.",
                        "schema": {
                            "type": "integer",
                            "minimum": 1,
                            "maximum": MOST_SHOWN,
                            "default": SHOWN,
                        },
                    },
                ],
            )
        },
        "/looking": {
            "get": operation(
                "onlookers", "Who else looks at a record.", "Onlookers", 404, parameters=_RECORD
            ),
            "post": operation(
                "look",
                "A screen says which record it shows; gives who else looks at it.",
                "Onlookers",
                404,
                408,
                413,
                415,
                description="Who looks at the same record hears of it by `GET /live`. A screen says"
                " it again every ten seconds, or is forgotten after thirty.",
                requestBody={
                    "required": True,
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Look"}}
                    },
                },
            ),
        },
    }
