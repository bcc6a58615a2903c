"""What plugins add to screens is checked when it is asked for; a bad one costs its own only."""

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from liaison_kit import additions
from liaison_kit.plugins import Hooks
from liaison_kit.records import custom
from liaison_sdk.hooks import Action, AddedField, Additions, FormField, Panel, Said, hook

SAID = Said("Points", "Points")
KINDS: Any = [SimpleNamespace(name="contacts", fields={"custom": None})]


def plugin(answer: Any) -> ModuleType:
    made = ModuleType("plugin")
    vars(made)["screen_additions"] = hook(lambda service: answer if service == "contacts" else None)
    return made


def gathered(**answers: Any) -> additions.Added:
    hooks = Hooks("contacts", 5)
    for name, answer in answers.items():
        hooks.register(plugin(answer), name)
    return additions.gather("contacts", hooks, KINDS)


def points(name: str = "good_points", **facts: Any) -> AddedField:
    told = {"record": "contacts", "name": name, "label": SAID, "kind": "number"}
    return AddedField(**told | facts)


GOOD = Additions(
    fields=(points(),),
    panels=(Panel("contacts", "card", SAID, "star"),),
    actions=(Action("contacts", "give", SAID, "gift", (FormField("amount", SAID, "number"),)),),
)


@pytest.fixture(autouse=True)
def _nothing_added() -> Any:
    yield
    custom.add("contacts", ())


def test_what_is_declared_well_is_there_with_its_plugin() -> None:
    added = gathered(good=GOOD)

    (field,) = custom.of_plugins("contacts")
    assert (field.name, field.plugin, field.label.fr) == ("good_points", "good", "Points")
    assert [key for key, _, _ in added.panels_of("contacts")] == ["good.card"]
    assert [key for key, _, _ in added.actions_of("contacts")] == ["good.give"]
    assert field.id == gathered_again()


def gathered_again() -> Any:
    gathered(good=GOOD)
    return custom.of_plugins("contacts")[0].id


BAD = {
    "a label without French": points("bad_points", label=Said("Points", "")),
    "no label": points("bad_points", label="Points"),
    "an unknown kind": points("bad_points", kind="stars"),
    "another's name": points("good_more"),
    "records that are not there": points("bad_points", record="dragons"),
    "a choice of nothing": points("bad_points", kind="choice"),
    "choices of a number": points("bad_points", choices=("a",)),
    "a name that is none": points("bad_Points!"),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_declaration_is_named_and_costs_that_plugins_additions_only(
    bad: AddedField, capsys: pytest.CaptureFixture[str]
) -> None:
    panels = (Panel("contacts", "card", SAID, "star"),)

    added = gathered(bad=Additions(fields=(bad,), panels=panels), good=GOOD)

    assert [field.name for field in custom.of_plugins("contacts")] == ["good_points"]
    assert [key for key, _, _ in added.panels_of("contacts")] == ["good.card"]
    assert "plugin=bad" in capsys.readouterr().out


@pytest.mark.parametrize(
    "bad",
    [
        Additions(fields=(points("bad_a"), points("bad_a"))),
        Additions(panels=(GOOD.panels[0], GOOD.panels[0])),
        Additions(actions=(GOOD.actions[0], GOOD.actions[0])),
        Additions(
            actions=(Action("contacts", "x", SAID, "star", (FormField("a", SAID, "text"),) * 2),)
        ),
        Additions(
            actions=(Action("contacts", "x", SAID, "star", (FormField("a", SAID, "choice"),)),)
        ),
    ],
    ids=["fields", "panels", "actions", "form", "choice"],
)
def test_what_contradicts_itself_is_left_out(bad: Additions) -> None:
    added = gathered(bad=bad)

    assert (custom.of_plugins("contacts"), added.panels, added.actions) == ((), {}, {})


def test_each_service_asks_for_its_own() -> None:
    hooks = Hooks("nobody", 5)
    hooks.register(plugin(GOOD), "good")

    assert additions.gather("nobody", hooks, KINDS) == additions.Added()


def test_one_plugin_is_asked_alone() -> None:
    hooks = Hooks("contacts", 5)
    for name in ("a", "b"):
        hooks.register(plugin(Additions(panels=(Panel("contacts", name, SAID, "star"),))), name)

    asked: dict[str, Any] = {"hook": "screen_additions", "service": "contacts"}
    assert hooks.ask_one("b", **asked).panels[0].name == "b"
    assert hooks.ask_one("c", **asked) is None
    assert [name for name, _ in hooks.ask_each(**asked)] in (["a", "b"], ["b", "a"])
