"""What is wrong with a definition is all said at once, by step, with what to do."""

import json
from typing import Any

import jsonschema_rs
import pytest

from liaison_kit.flows.frame import LONGEST, MOST_STEPS
from liaison_kit.flows.reading import CannotRun, TooLargeFlow, read
from liaison_kit.flows.schema import schema
from liaison_kit.flows.written import BadYaml, load
from liaison_sdk.errors import InvalidInput

from .conftest import Workshop
from .workshop import FLOWS, UNREACHED

MARK = {"kind": "mark", "say": "x", "next": "end"}
SET = {"kind": "set", "next": "end"}
WHOLE: dict[str, Any] = {
    "key": "whole",
    "record": "works",
    "start": [{"kind": "event", "event": "created"}],
    "steps": {"first": MARK},
}


def faults(shop: Workshop, steps: Any = None, flows: Any = FLOWS, **more: Any) -> list[Any]:
    definition = WHOLE | ({} if steps is None else {"steps": steps}) | more
    with shop.writing() as session:
        _flow, found = read(session, flows, "works", definition)
    return [(fault.step, fault.path, fault.code) for fault in found]


def rule(field: str, value: Any = 1) -> dict[str, Any]:
    rules = [{"field": field, "operator": "=", "value": value}]
    return {"combinator": "and", "rules": rules}


def test_nothing_is_wrong_with_what_can_run(shop: Workshop) -> None:
    assert faults(shop) == []


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        ({"kind": "dance"}, ("steps.a.kind", "unknown_kind")),
        ({"kind": "mark", "say": "x"}, ("steps.a.next", "missing")),
        (MARK | {"next": "nowhere"}, ("steps.a.next.done", "unknown_step")),
        (MARK | {"next": {"done": "end", "x": "end"}}, ("steps.a.next.x", "unknown_way")),
        (MARK | {"colour": "red"}, ("steps.a.colour", "extra_forbidden")),
        ({"kind": "exit", "next": "end"}, ("steps.a.next", "unexpected")),
        ({"kind": "wait", "for": "a while", "next": "end"}, ("steps.a.for", "duration")),
        ({"kind": "wait", "for": "9 years", "next": "end"}, ("steps.a.for", "duration")),
        ({"kind": "wait", "for": "9999 days", "next": "end"}, ("steps.a.for", "duration")),
        ({"kind": "wait", "until": "name", "next": "end"}, ("steps.a.until", "unknown_field")),
        ({"kind": "wait", "next": "end"}, ("steps.a", "value_error")),
        (
            {"kind": "wait_until", "event": "sneezed", "at_most": "1 day", "next": "end"},
            ("steps.a.event", "unknown_event"),
        ),
        (
            {"kind": "wait_until", "event": "moved", "next": "end"},
            ("steps.a.at_most", "missing"),
        ),
        (
            {"kind": "branch", "cases": [{"when": rule("hue"), "way": "x"}], "next": "end"},
            ("steps.a.cases.0.when.rules[0].field", "unknown_field"),
        ),
        (
            {"kind": "split", "shares": {"a": 60, "b": 60}, "next": "end"},
            ("steps.a", "value_error"),
        ),
        (
            {"kind": "set", "field": "id", "value": 1, "next": "end"},
            ("steps.a.field", "unknown_field"),
        ),
        (
            {"kind": "set", "field": "name", "value": 7, "next": "end"},
            ("steps.a.value", "string_type"),
        ),
        ({"kind": "set", "field": "name", "add": 7, "next": "end"}, ("steps.a.add", "no_number")),
        (
            {"kind": "set", "field": "name", "value": "{{ work.secret }}", "next": "end"},
            ("steps.a.value", "unknown_field"),
        ),
        (MARK | {"undo": {"kind": "wait", "for": "1 day"}}, ("steps.a.undo.kind", "no_undo")),
        (MARK | {"undo": {"kind": "mark"}}, ("steps.a.undo.say", "missing")),
    ],
)
def test_a_bad_step_is_named_with_what_is_wrong_in_it(
    shop: Workshop, step: dict[str, Any], wrong: tuple[str, str]
) -> None:
    assert faults(shop, {"a": step}) == [("a", *wrong)]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{{ work.name }} {% for tag in work.custom %}{{ tag }}{% endfor %}", None),
        ("{{ settings.password }}", "unknown_name"),
        ("{{ work.__class__ }}", "unknown_field"),
        ("{% include 'other' %}", "bad_template"),
        ("{{ work.name", "bad_template"),
    ],
)
def test_a_template_reaches_for_nothing_but_the_record(
    shop: Workshop, text: str, code: str | None
) -> None:
    tell = {"kind": "notify", "to": "owner", "subject": "x", "text": text, "next": "end"}

    found = faults(shop, {"tell": tell})

    assert found == ([] if code is None else [("tell", "steps.tell.text", code)])


def test_a_circle_needs_a_wait(shop: Workshop) -> None:
    around = {"a": MARK | {"next": "b"}, "b": {"kind": "branch", "next": {"x": "a", "else": "end"}}}
    around["b"]["cases"] = [{"when": rule("size"), "way": "x"}]
    calm = {"kind": "wait", "for": "1 minute", "next": "a"}
    paused = around | {"b": around["b"] | {"next": {"x": "calm", "else": "end"}}, "calm": calm}

    assert [(step, code) for step, _, code in faults(shop, around)] == [
        ("a", "circle"),
        ("b", "circle"),
    ]
    assert faults(shop, paused) == []


def test_every_step_is_reached_and_gets_to_an_end(shop: Workshop) -> None:
    steps = {
        "a": MARK | {"next": "b"},
        "b": {"kind": "wait", "for": "1 day", "next": "a"},
        "alone": MARK,
    }

    assert [(step, code) for step, _, code in faults(shop, steps)] == [
        ("alone", "unreachable"),
        ("a", "no_end"),
        ("b", "no_end"),
    ]


def test_all_that_is_wrong_is_said_at_once(shop: Workshop) -> None:
    found = faults(
        shop,
        {"Bad Name": MARK, "end": MARK, "b": {"kind": "dance"}},
        start=[{"kind": "moon"}],
        again="sometimes",
        goal={"event": "sneezed"},
    )

    assert {code for _, _, code in found} >= {
        "string_pattern_mismatch",
        "reserved",
        "unknown_kind",
        "literal_error",
    }
    assert [code for _, _, code in faults(shop, goal={"event": "sneezed"})] == ["unknown_event"]


def test_nobody_is_written_to_where_nobody_is_reached(shop: Workshop) -> None:
    step = {"kind": "message", "purpose": "x", "template": "x", "next": "end"}

    assert faults(shop, {"a": step}) == []
    assert faults(shop, {"a": step}, UNREACHED) == [("a", "steps.a.kind", "nobody")]


@pytest.mark.parametrize(
    "many", [{"steps": dict.fromkeys(map(str, range(10_000)), MARK)}, {"x": "y" * LONGEST}]
)
def test_what_is_too_large_is_not_even_kept(shop: Workshop, many: dict[str, Any]) -> None:
    with pytest.raises(TooLargeFlow):
        shop.flow(**({"steps": WHOLE["steps"]} | many))


def test_as_many_steps_as_there_may_be_are_read(shop: Workshop) -> None:
    names = [f"s{number}" for number in range(MOST_STEPS)]
    steps = {
        name: MARK | {"next": following}
        for name, following in zip(names, [*names[1:], "end"], strict=True)
    }

    assert faults(shop, steps) == []


@pytest.mark.parametrize("what", ["x", None, [], {"steps": []}, {"steps": {"a": 7}}, {"start": 7}])
def test_what_is_no_flow_at_all_has_faults_and_breaks_nothing(shop: Workshop, what: Any) -> None:
    with shop.writing() as session:
        flow, found = read(session, FLOWS, "works", what)

    assert flow is None
    assert found


def test_a_draft_is_kept_however_wrong_and_does_not_run(shop: Workshop) -> None:
    with pytest.raises(CannotRun) as refused:
        shop.flow({"a": {"kind": "dance"}})

    assert refused.value.errors[0].path == "definition.steps.a.kind"


# --- how it is written ----------------------------------------------------------------------------


def test_the_published_schema_takes_what_can_run_and_refuses_what_cannot() -> None:
    validator = jsonschema_rs.validator_for(schema(FLOWS))
    set_it = {"kind": "set", "field": "size", "add": 1, "next": "end"}
    branch = {"kind": "branch", "next": {"x": "end", "else": "end"}}
    branch["cases"] = [{"when": rule("size"), "way": "x"}]

    for steps in ({"a": MARK}, {"a": set_it}, {"a": branch}, {"a": {"kind": "exit"}}):
        assert validator.is_valid(WHOLE | {"steps": steps}), list(
            validator.iter_errors(WHOLE | {"steps": steps})
        )
    for steps in ({"a": {"kind": "dance"}}, {"a": {"kind": "mark", "say": "x"}}, {}):
        assert not validator.is_valid(WHOLE | {"steps": steps})


def test_yaml_is_the_json_that_it_looks_like() -> None:
    written = """
    key: whole
    next: {yes: a, no: b, on: c}
    at: 2026-01-31
    eight: 010
    flag: true
    none: null
    text: "{{ work.name }}"
    """

    found = load(written)

    assert json.loads(json.dumps(found)) == found
    assert found["next"] == {"yes": "a", "no": "b", "on": "c"}
    assert found["at"] == "2026-01-31"
    assert found["eight"] == "010"
    assert (found["flag"], found["none"]) == (True, None)


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x",
        "a: 1\na: 2",
        "!!python/object/apply:os.system ['true']",
        "a: [",
        "1: 2",
        "[" * 5000,
        "- !!binary aGk=",
    ],
)
def test_yaml_that_says_more_than_json_could_is_refused(text: str) -> None:
    with pytest.raises(BadYaml):
        load(text)


def test_yaml_of_any_length_is_not_read() -> None:
    with pytest.raises(InvalidInput):
        load(" " * (LONGEST + 1))
