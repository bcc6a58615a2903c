"""A call is asked for once, done once, and answered either way."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from liaison_kit.flows import calling
from liaison_kit.flows.reading import read
from liaison_sdk.contracts.flows import OperationAnswered, OperationAsked
from liaison_sdk.errors import Conflict

from .conftest import Workshop
from .workshop import FLOWS, Errand, leave

CALL: dict[str, Any] = {
    "kind": "call",
    "module": "other",
    "operation": "run",
    "with": {"errand": "{{ work.name }}", "times": 2},
    "next": {"done": "thank", "refused": "end"},
}
STEPS = {"call": CALL, "thank": {"kind": "mark", "say": "thanks", "next": "end"}}


def asked(shop: Workshop) -> list[OperationAsked]:
    found = shop.ground.look("SELECT body FROM outbox WHERE body LIKE '%%operation_asked%%'")
    return [OperationAsked.model_validate(json.loads(body)["data"]) for (body,) in found]


@pytest.mark.parametrize(("done", "marks"), [(True, ["thanks"]), (False, [])])
def test_a_step_asks_once_and_goes_on_by_the_answer(
    shop: Workshop, done: bool, marks: list[str]
) -> None:
    flow = shop.flow(STEPS)
    shop.begin(flow, shop.work())
    shop.run()
    (question,) = asked(shop)

    shop.tell(OperationAnswered(key_of_step=uuid4(), done=True, said=""))
    shop.run()
    assert shop.rows("state") == [("active",)]
    shop.tell(OperationAnswered(key_of_step=question.key_of_step, done=done, said=""))
    shop.run()

    assert question.arguments == {"errand": "desk", "times": 2}
    assert (question.module, question.operation) == ("other", "run")
    assert shop.rows("state") == [("ended",)]
    assert shop.marks() == marks


def test_what_does_not_fit_is_refused_before_anybody_is_asked(shop: Workshop) -> None:
    shop.begin(shop.flow(STEPS), shop.work(name="too long a name for it"))

    shop.run()

    assert shop.log() == [("call", "refused")]
    assert asked(shop) == []


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"operation": "jump"}, ("operation", "unknown_operation")),
        ({"module": "moon"}, ("operation", "unknown_operation")),
        ({"with": {"errand": "x", "colour": "red"}}, ("with.colour", "unknown_field")),
        ({"with": {}}, ("with.errand", "missing")),
        ({"with": {"errand": "{{ secret }}"}}, ("with.errand", "unknown_name")),
    ],
)
def test_what_cannot_be_called_is_named(
    shop: Workshop, more: dict[str, Any], wrong: tuple[str, str]
) -> None:
    definition = {
        "key": "calls",
        "record": "works",
        "start": [{"kind": "by_hand"}],
        "steps": STEPS | {"call": CALL | more},
    }

    with shop.writing() as session:
        _flow, faults = read(session, FLOWS, "works", definition)

    assert [(fault.path, fault.code) for fault in faults] == [(f"steps.call.{wrong[0]}", wrong[1])]


def test_whoever_is_asked_does_it_or_says_why_not_and_keeps_nothing_then(shop: Workshop) -> None:
    def run(session: Session, errand: Errand) -> None:
        leave(session, UUID(int=1), UUID(int=2), errand.errand)
        if errand.errand == "bad":
            raise Conflict("It is raining")

    def ask(operation: str, module: str = "other", **arguments: Any) -> None:
        event = OperationAsked(
            key_of_step=uuid4(), module=module, operation=operation, arguments=arguments
        )
        with shop.writing() as session:
            calling.answer(session, "other", event, {"run": (Errand, run)})

    ask("run", errand="good")
    ask("run", errand="bad")
    ask("run", errand=7)
    ask("jump")
    ask("run", module="another", errand="good")

    answers = [
        json.loads(body)["data"]
        for (body,) in shop.ground.look("SELECT body FROM outbox ORDER BY seq")
    ]
    assert [(answer["done"], answer["said"]) for answer in answers] == [
        (True, ""),
        (False, "It is raining"),
        (False, "other takes something else for run"),
        (False, "other has no operation jump"),
    ]
    assert shop.marks() == ["good"]
