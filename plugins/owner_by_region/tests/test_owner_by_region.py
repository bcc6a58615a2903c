"""The least busy rep of the region is suggested, and why."""

from uuid import UUID, uuid4

import pluggy
from hypothesis import given
from hypothesis import strategies as st

import liaison_owner_by_region as plugin
from liaison_sdk import hooks
from liaison_sdk.hooks import OpportunityFacts, RepFacts


def rep(name: str, region: str | None, busy: int) -> RepFacts:
    return RepFacts(uuid4(), name, region, busy)


def deal(region: str | None) -> OpportunityFacts:
    return OpportunityFacts("Ten robots", "1000.00", "EUR", region, {})


def test_the_rep_with_the_fewest_open_ones_is_suggested_with_the_reason() -> None:
    anna, bruno = rep("Anna", "West", 4), rep("Bruno", "West", 2)

    answer = plugin.sales_suggest_owner(deal("West"), [anna, bruno, rep("Carla", "East", 0)])

    assert answer is not None
    assert answer.user_id == bruno.id
    assert answer.reason == "Bruno has the fewest open opportunities (2) of the 2 in West"


def test_case_and_spacing_of_a_region_do_not_matter() -> None:
    anna = rep("Anna", "Île-de-France", 1)

    answer = plugin.sales_suggest_owner(deal("  île-de-france "), [anna])

    assert answer is not None
    assert answer.user_id == anna.id


def test_there_is_no_opinion_without_a_region_or_a_rep_in_it() -> None:
    reps = [rep("Anna", "West", 1), rep("Nobody's", None, 0)]

    assert plugin.sales_suggest_owner(deal(None), reps) is None
    assert plugin.sales_suggest_owner(deal(" "), reps) is None
    assert plugin.sales_suggest_owner(deal("North"), reps) is None


@given(
    st.lists(
        st.tuples(
            st.uuids(), st.text(max_size=5), st.sampled_from(["West", "East", None]), st.integers(0)
        ),
        unique_by=lambda facts: facts[0],
    )
)
def test_nobody_of_the_region_is_less_busy_than_the_one_suggested(
    facts: list[tuple[UUID, str, str | None, int]],
) -> None:
    reps = [RepFacts(*fact) for fact in facts]

    answer = plugin.sales_suggest_owner(deal("West"), reps)

    busy = {rep.id: rep.open_opportunities for rep in reps if rep.region == "West"}
    if answer is None:
        assert not busy
    else:
        assert busy[answer.user_id] == min(busy.values())
        assert answer == plugin.sales_suggest_owner(deal("West"), list(reversed(reps)))


def test_it_answers_the_hook_that_the_sdk_specifies() -> None:
    manager = pluggy.PluginManager("liaison")
    manager.add_hookspecs(hooks)

    manager.register(plugin)

    manager.check_pending()
    assert manager.hook.sales_suggest_owner.get_hookimpls()
