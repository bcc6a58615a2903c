"""Random small flows: the engine does what a plain interpreter of the same definition does."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from liaison_kit.flows import definitions
from liaison_kit.flows.reading import read
from liaison_kit.flows.steps import share_of

from .conftest import Workshop
from .workshop import FLOWS, WorkMoved

NAMES = ("a", "b", "c", "d", "e")
PAUSING = ("wait", "wait_until")
FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def over(size: int) -> dict[str, Any]:
    rule = {"field": "size", "operator": ">", "value": size}
    return {"combinator": "and", "rules": [rule]}


@st.composite
def steps(draw: st.DrawFn, names: tuple[str, ...]) -> dict[str, Any]:
    """Steps of every kind whose effects can be told, leading anywhere."""
    targets = st.sampled_from((*names, "end"))
    made: dict[str, Any] = {}
    for name in names:
        kind = draw(
            st.sampled_from(("mark", "set", "branch", "split", "wait", "wait_until", "exit"))
        )
        step: dict[str, Any] = {"kind": kind}
        match kind:
            case "mark":
                step |= {"say": name, "next": draw(targets)}
                step["fails"] = draw(st.integers(0, 1))
            case "set":
                step |= {"field": "size", "add": draw(st.integers(1, 3)), "next": draw(targets)}
            case "branch":
                case = {"when": over(draw(st.integers(0, 9))), "way": "more"}
                ways = {"more": draw(targets), "else": draw(targets)}
                step |= {"cases": [case], "next": ways}
            case "split":
                share = draw(st.integers(1, 99))
                step["shares"] = {"left": share, "right": 100 - share}
                step["next"] = {"left": draw(targets), "right": draw(targets)}
            case "wait":
                step |= {"for": "1 day", "next": draw(targets)}
            case "wait_until":
                ways = {"happened": draw(targets), "timeout": draw(targets)}
                step |= {"event": "moved", "at_most": "1 day", "next": ways}
            case "exit":
                step["outcome"] = f"out_{name}"
        made[name] = step
    return {name: made[name] for name in names if name in reached(made)}


def reached(made: dict[str, Any]) -> set[str]:
    """The steps that there is a way to."""
    found, ahead = {"a"}, ["a"]
    while ahead:
        following = made[ahead.pop()].get("next", {})
        for target in [following] if isinstance(following, str) else following.values():
            if target != "end" and target not in found:
                found.add(target)
                ahead.append(target)
    return found


@st.composite
def flows(draw: st.DrawFn) -> dict[str, Any]:
    """A definition, which may be wrong in its graph."""
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    exits = [{"when": over(draw(st.integers(5, 12))), "outcome": "large"}]
    return {"steps": draw(steps(names)), "exit": draw(st.sampled_from(([], exits)))}


def interpreted(
    definition: dict[str, Any], key: str, work: UUID, size: int, moves: list[bool], most: int
) -> tuple[list[tuple[str, str | None]], str | None, int]:
    """What a run does, without anything that lasts: its log, its outcome, the size at last."""
    step, log, answers = "a", [], iter(moves)
    for _ in range(most):
        if any(size > exit["when"]["rules"][0]["value"] for exit in definition["exit"]):
            return log, "large", size
        said = definition["steps"][step]
        match said["kind"]:
            case "exit":
                return [*log, (step, said["outcome"])], said["outcome"], size
            case "set":
                way, size = "done", size + said["add"]
            case "branch":
                over_it = size > said["cases"][0]["when"]["rules"][0]["value"]
                way = "more" if over_it else "else"
            case "split":
                way = share_of(key, step, work, said["shares"])
            case "wait_until":
                way = "happened" if next(answers, False) else "timeout"
            case _:
                way = "done"
        log.append((step, way))
        following = said["next"]
        step = following if isinstance(following, str) else following[way]
        if step == "end":
            return log, "done", size
    return log, None, size


@FEW
@given(flows(), st.integers(0, 9), st.lists(st.booleans(), max_size=6))
def test_a_run_does_what_its_definition_says(
    shop: Workshop, made: dict[str, Any], size: int, moves: list[bool]
) -> None:
    whole = {
        "key": "any",
        "record": "works",
        "start": [{"kind": "by_hand"}],
        "again": "always",
    } | made
    with shop.writing() as session:
        _flow, faults = read(session, FLOWS, "works", whole)
    if faults:
        # Its graph is all that can be wrong with it.
        assert {fault.code for fault in faults} <= {"no_end", "circle"}
        reject()
    shop.empty()
    with shop.writing() as session:
        flow = definitions.create(session, FLOWS, "works", whole)
        definitions.activate(session, FLOWS, flow, 1)
    work = shop.work(size=size)
    (run,) = shop.begin(flow, work)

    answers = iter(moves)
    asked = 0
    for _ in range(60):
        shop.run()
        ((state, step, number, standing),) = shop.rows("state, step, number, standing")
        if state == "ended" or number > 30:
            break
        # Once for each time that the run comes to wait for it.
        if standing and made["steps"][step]["kind"] == "wait_until" and asked != number:
            asked = number
            if next(answers, False):
                shop.tell(WorkMoved(work_id=work))
                continue
        shop.pass_time()

    expected, outcome, last = interpreted(made, "any", work, size, moves, 200)
    ((state, found),) = shop.rows("state, outcome")
    if state == "ended":
        assert found == outcome
        assert shop.log(run) == expected
        assert shop.ground.look("SELECT size FROM works") == [(last,)]
        marked = [name for name, _ in expected if made["steps"][name]["kind"] == "mark"]
        assert shop.marks() == marked
    else:
        assert shop.log(run)[:20] == expected[:20]


@pytest.mark.parametrize("turn", range(3))
def test_shares_are_as_large_as_they_say_and_each_record_has_its_own(turn: int) -> None:
    shares = {"left": 20, "right": 80}
    ids = [UUID(int=number * 7919 + turn) for number in range(5000)]

    ways = [share_of("flow", f"step{turn}", id, shares) for id in ids]

    assert 900 < ways.count("left") < 1100
    assert ways == [
        share_of("flow", f"step{turn}", id, dict(reversed(shares.items()))) for id in ids
    ]
