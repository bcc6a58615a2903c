"""What a plugin adds to opportunities works by their rules, as it does for people."""

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from liaison_kit import additions
from liaison_kit.calls.manifest import manifest
from liaison_sales.opportunities import OPPORTUNITIES
from liaison_sales.products import PRODUCTS
from liaison_sales.service import Sales
from liaison_sdk.hooks import (
    Action,
    AddedField,
    Additions,
    Done,
    Drawn,
    FormField,
    Panel,
    Row,
    Said,
    hook,
)

RISK = Said("Risk", "Risque")


def screen_additions(service: str) -> Additions | None:
    if service != "sales":
        return None
    return Additions(
        fields=(AddedField("opportunities", "risk_points", RISK, "number"),),
        panels=(
            Panel("opportunities", "card", RISK, "alert"),
            Panel("products", "product", RISK, "alert"),
        ),
        actions=(
            Action("opportunities", "rate", RISK, "alert", (FormField("points", RISK, "number"),)),
        ),
    )


def draw_panel(panel: str, record: Any) -> Drawn:
    points = record.values["custom"].get("risk_points", "none")
    return Drawn(rows=(Row(RISK, f"{record.record}: {record.values['name']}, {points}"),))


def do_action(action: str, record: Any, form: Any) -> Done:
    return Done({"risk_points": form["points"] * 2})


@pytest.fixture
def rated(desk: Any) -> Iterator[Any]:
    """A desk whose sales has the plugin."""
    plugin = ModuleType("risk")
    for answer in (screen_additions, draw_panel, do_action):
        vars(plugin)[answer.__name__] = hook(answer)
    desk.hooks.register(plugin, "risk")
    kinds = [OPPORTUNITIES, PRODUCTS]
    before = Sales.added
    type(desk.service).added = additions.gather("sales", desk.hooks, kinds)
    yield desk
    additions.gather("sales", type(desk.hooks)("sales", 5), kinds)
    type(desk.service).added = before


def made(desk: Any, one: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(desk.call(f"create_{one}", b'{"name": "Robots"}').body)
    return found


def shown(desk: Any, one: str, id: str, panel: str = "risk.card") -> str:
    reply = desk.call(f"draw_{one}_panel", path={"id": id, "panel": panel})
    said: str = json.loads(reply.body)["rows"][0]["value"]
    return said


def test_an_action_changes_an_opportunity_by_its_rules_and_a_panel_shows_it(rated: Any) -> None:
    deal = made(rated, "opportunity")
    path = {"id": deal["id"], "action": "risk.rate"}

    reply = rated.call("act_on_opportunity", b'{"form": {"points": 21}}', 1, path=path)

    changed = json.loads(reply.body)
    assert (reply.status, changed["version"], changed["custom"]) == (200, 2, {"risk_points": 42})
    assert shown(rated, "opportunity", deal["id"]) == "opportunities: Robots, 42"
    stale = rated.call("act_on_opportunity", b'{"form": {"points": 1}}', 1, path=path)
    assert stale.status == 412


def test_each_kind_of_record_has_what_was_added_to_it(rated: Any) -> None:
    product = made(rated, "product")

    assert shown(rated, "product", product["id"], "risk.product") == "products: Robots, none"
    kinds = {each["name"]: each for each in manifest(type(rated.service))["records"]}
    told = {name: (kind["panels"], kind["actions"]) for name, kind in kinds.items()}
    assert [panel["name"] for panel in told["products"][0]] == ["risk.product"]
    assert [action["name"] for action in told["opportunities"][1]] == ["risk.rate"]
    assert told["products"][1] == []
