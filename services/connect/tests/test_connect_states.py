"""Whatever happens to senders, a message is handed over once: any order of deaths and answers."""

from contextlib import suppress
from typing import Any

import pytest
from connect_desk import Desk, Pretend, intent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liaison_connect.ledger import Lost
from liaison_connect.sending import CLAIMED_S, DELAYS_S, HANDED_S
from liaison_connect.smtp import OutcomeUnknown, Refused, TryLater

LATER = max(CLAIMED_S, HANDED_S, *DELAYS_S) + 1


class Died(BaseException):
    """The process ended here, and nothing after it was done."""


STEPS = st.lists(
    st.sampled_from(
        [
            "taken",
            "later",
            "refused",
            "later, when it had it",
            "nobody knows",
            "dies before",
            "dies after",
            "waits",
            "retried",
        ]
    ),
    max_size=14,
)


class Model:
    """What the ledger should say."""

    def __init__(self) -> None:
        self.state = "queued"
        self.attempts = 0
        self.asleep = False
        self.handed = 0
        """How often it may be with the recipient since somebody last asked for it."""

    def is_due(self) -> bool:
        return self.state in ("queued", "claimed", "handed") and not self.asleep

    def failed_try(self) -> None:
        self.state = "failed" if self.attempts > len(DELAYS_S) else "queued"
        self.asleep = self.state == "queued"


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_a_message_is_handed_over_once_whoever_dies_when(desk: Desk, steps: list[str]) -> None:
    # What the last sequence left is none of this one's.
    desk.forget()
    message = intent()
    desk.hand_in(message)
    model, way = Model(), Pretend()

    for step in steps:
        _do(desk, model, way, message.id, step)

        kept = _row(desk, message.id)
        shown = {"handed": "claimed"}.get(model.state, model.state)
        assert kept["state"] == shown, (step, steps)
        assert model.handed <= 1, steps
        assert kept["state"] != "sent" or model.handed == 1


def _do(desk: Desk, model: Model, way: Pretend, id: Any, step: str) -> None:
    if step == "waits":
        desk.let_pass(LATER)
        model.asleep = False
        return
    if step == "retried":
        kept = _row(desk, id)
        reply = desk.call("retry_message", version=kept["version"], id=kept["id"])
        assert (reply.status == 200) == (model.state in ("failed", "unknown"))
        if reply.status == 200:
            model.state, model.attempts, model.handed, model.asleep = "queued", 0, 0, False
        return
    _plan(desk, way, step)
    was_due, was_handed = model.is_due(), model.state == "handed"
    before = len(way.taken)
    with suppress(Died):
        desk.sender(way).send_next()
    if not was_due:
        assert len(way.taken) == before
        return
    if was_handed:
        assert len(way.taken) == before
        model.state = "unknown"
        return
    model.attempts += 1
    if model.attempts > len(DELAYS_S) + 1:
        model.state = "failed"
        assert len(way.taken) == before
        return
    _expect(model, step)


def _plan(desk: Desk, way: Pretend, step: str) -> None:
    way.before = way.after = None
    way.meanwhile = lambda: None
    if step == "later":
        way.before = TryLater("451 later")
    elif step == "refused":
        way.after = Refused("550 no")
    elif step == "later, when it had it":
        way.after = TryLater("451 later")
    elif step == "nobody knows":
        way.after = OutcomeUnknown("gone")
    elif step == "dies before":
        way.before = Died()  # type: ignore[assignment]
    elif step == "dies after":
        way.after = Died()  # type: ignore[assignment]


def _expect(model: Model, step: str) -> None:
    if step == "taken":
        model.state, model.handed = "sent", model.handed + 1
    elif step in ("later", "later, when it had it"):
        model.failed_try()
    elif step == "refused":
        model.state = "failed"
    elif step == "nobody knows":
        model.state, model.handed = "unknown", model.handed + 1
    elif step == "dies before":
        model.state, model.asleep = "claimed", True
    elif step == "dies after":
        model.state, model.asleep, model.handed = "handed", True, model.handed + 1


def _row(desk: Desk, id: Any) -> dict[str, Any]:
    return next(m for m in desk.messages() if m["intent_id"] == str(id))


def test_who_is_overtaken_hands_nothing_over_while_another_is_at_it(desk: Desk) -> None:
    desk.hand_in(intent())
    taken: list[str] = []

    class Overtaking:
        def __init__(self, slow: Any) -> None:
            self._slow = slow

        def hand_over(self, _mail: Any, handing: Any) -> str:
            # It has claimed the message, and not handed it over yet.
            with pytest.raises(Lost):
                self._slow()
            handing()
            taken.append("overtaking")
            return "250 taken"

    class Slow:
        def hand_over(self, _mail: Any, handing: Any) -> str:
            desk.let_pass(LATER)
            desk.sender(Overtaking(handing)).send_next()
            handing()
            taken.append("slow")
            return "250 taken"

    desk.sender(Slow()).send_next()

    assert taken == ["overtaking"]
    assert desk.message()["state"] == "sent"


@pytest.mark.parametrize("late", [False, True])
def test_who_has_lost_its_claim_hands_nothing_over(desk: Desk, late: bool) -> None:
    desk.hand_in(intent())
    first, second = Pretend(), Pretend()

    class Slow(Pretend):
        def hand_over(self, mail: Any, handing: Any) -> str:
            # Longer than the claim lasts: another sender has begun, and perhaps ended.
            desk.let_pass(LATER)
            if late:
                desk.sender(second).send_next()
            else:
                second.before = TryLater("451 later")
                desk.sender(second).send_next()
            return first.hand_over(mail, handing)

    desk.sender(Slow()).send_next()

    assert first.taken == []
    assert len(second.taken) == (1 if late else 0)
    assert desk.message()["state"] == ("sent" if late else "queued")
