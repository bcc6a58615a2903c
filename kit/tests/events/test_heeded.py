"""What means nothing to a handler is through without a trace; all else is handled as ever."""

from typing import Any

import pytest

from liaison_kit.events.inbox import Handling

from .conftest import Flow
from .test_states import World


@pytest.fixture
def world(flow: Flow) -> World:
    """Two events, numbered one and two, of two records."""
    made = World(flow)
    made.tell("a")
    made.tell("b")
    return made


def handled(world: World, heeded: Any, *, redelivered: bool = False) -> list[int]:
    """The numbers of the events that the method was called with."""
    called: list[int] = []
    call = lambda _session, event: called.append(event.number)  # noqa: E731
    handling = Handling("s", "on_said", call, world.flow.db, (0.0,), heeded)
    for copy in world.ready:
        arrival = world.read(copy)
        arrival.redelivered = redelivered
        handling.handle([arrival])
    return called


def test_what_nobody_heeds_leaves_no_trace(world: World) -> None:
    called = handled(world, lambda _session, events: any(event.number == 2 for event in events))

    assert called == [2]
    assert world.flow.rows("SELECT count(*) FROM inbox") == [(1,)]
    assert world.flow.failed() == []


def test_what_has_been_here_before_is_looked_at_closely(world: World) -> None:
    assert handled(world, lambda *_: False, redelivered=True) == [1, 2]


def test_where_it_can_not_be_told_whether_it_means_anything_it_does(world: World) -> None:
    def broken(_session: Any, _events: Any) -> bool:
        raise ValueError

    assert handled(world, broken) == [1, 2]
