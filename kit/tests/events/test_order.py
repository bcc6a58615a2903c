"""Whichever events fail, for a while or for good, each record's good ones keep their order."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liaison_kit.run.process import wait_until

from .conftest import Flow

Step = tuple[str, str]
STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["good", "good", "good", "heals", "broken"])),
    min_size=1,
    max_size=14,
)


@given(steps=STEPS)
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_good_events_apply_once_and_in_order_and_bad_ones_are_parked(
    shared: Flow, steps: list[Step]
) -> None:
    shared.rows("TRUNCATE effects, broken, inbox, failed_events")
    for number, (record, kind) in enumerate(steps):
        if kind != "good":
            shared.rows("INSERT INTO broken VALUES (:r, :n)", r=record, n=number)

    for number, (record, _kind) in enumerate(steps):
        shared.say(record, number)
    for number, (record, kind) in enumerate(steps):
        if kind == "heals":
            shared.rows("DELETE FROM broken WHERE record = :r AND number = :n", r=record, n=number)

    parked = sum(kind == "broken" for _, kind in steps)
    shared.settles(len(steps) - parked, seconds=40)
    assert wait_until(lambda: shared.failed() == [("parked", 5)] * parked, seconds=20)
    for record in "abc":
        applied = [n for n, (r, kind) in enumerate(steps) if r == record and kind != "broken"]
        assert shared.effects(record) == applied
