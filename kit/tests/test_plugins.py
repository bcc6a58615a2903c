"""One bad plugin costs its own answer only."""

import dataclasses
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from liaison_sdk.hooks import Match, PersonFacts, hook

SOMEBODY = PersonFacts(id=None, first_name="Zoé", last_name="Martin")


def in_service_process(program: str) -> str:
    """Run a program as service processes run: patched before anything else is imported."""
    start = """
        import warnings
        warnings.simplefilter("ignore")
        import eventlet
        eventlet.monkey_patch()
        import time
        from types import ModuleType
        from liaison_kit.plugins import Hooks
        from liaison_sdk.hooks import Match, PersonFacts, hook
        somebody = PersonFacts(id=None, first_name="Zoé", last_name="Martin")
        def plugin(answer):
            made = ModuleType("plugin")
            made.contacts_score_match = hook(answer)
            return made
    """
    code = textwrap.dedent(start) + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_raising_plugin_leaves_the_others_answers() -> None:
    said = in_service_process("""
        hooks = Hooks("contacts", 0.2)
        hooks.register(plugin(lambda new, existing: Match(0.5, "first")), "first")
        def broken(new, existing):
            raise RuntimeError("broken")
        hooks.register(plugin(broken), "broken")
        hooks.register(plugin(lambda new, existing: Match(0.7, "last")), "last")
        answers = hooks.ask("contacts_score_match", new=somebody, existing=somebody)
        print(sorted(a.reason for a in answers))
    """)

    assert said.splitlines()[-1] == "['first', 'last']"


@pytest.mark.parametrize(
    "hang",
    [
        "while True: pass",
        "time.sleep(60)",
        "try:\n        while True: pass\n    except Exception: pass",
    ],
)
def test_a_hanging_plugin_is_cut_off_and_leaves_the_others_answers(hang: str) -> None:
    said = in_service_process(f"""
hooks = Hooks("contacts", 0.2)
def hanging(new, existing):
    {hang}
hooks.register(plugin(hanging), "hanging")
hooks.register(plugin(lambda new, existing: Match(0.7, "well")), "well")
print([a.reason for a in hooks.ask("contacts_score_match", new=somebody, existing=somebody)])
""")

    assert said.splitlines()[-1] == "['well']"


def test_a_plugin_that_hangs_again_and_again_is_left_out_for_a_while() -> None:
    said = in_service_process("""
        calls = []
        def hanging(new, existing):
            calls.append(1)
            while True: pass
        hooks = Hooks("contacts", 0.05)
        hooks.register(plugin(hanging), "hanging")
        for _ in range(10):
            hooks.ask("contacts_score_match", new=somebody, existing=somebody)
        print(len(calls))
    """)

    assert said.splitlines()[-1] == "3"


def test_a_waiting_plugin_does_not_keep_other_work_from_going_on() -> None:
    said = in_service_process("""
        hooks = Hooks("contacts", 0.5)
        hooks.register(plugin(lambda new, existing: time.sleep(60)), "waiting")
        ticks = []
        def tick():
            while True:
                eventlet.sleep(0.05)
                ticks.append(1)
        eventlet.spawn(tick)
        hooks.ask("contacts_score_match", new=somebody, existing=somebody)
        print(len(ticks) >= 3)
    """)

    assert said.splitlines()[-1] == "True"


def module(**functions: Any) -> ModuleType:
    made = ModuleType("plugin")
    vars(made).update(functions)
    return made


def entry(name: str, load: Any) -> SimpleNamespace:
    return SimpleNamespace(name=name, value=f"{name}:plugin", load=load)


def test_a_second_plugin_of_a_name_and_one_that_does_not_import_are_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from liaison_kit.plugins import Hooks

    def scores(score: float) -> ModuleType:
        def contacts_score_match(new: PersonFacts, existing: PersonFacts) -> Match:
            return Match(score, str(score))

        return module(contacts_score_match=hook(contacts_score_match))

    def fails() -> None:
        raise ImportError("no such module")

    installed = [
        entry("similar", lambda: scores(0.5)),
        entry("similar", lambda: scores(0.9)),
        entry("broken", fails),
        entry("other", lambda: scores(0.7)),
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: installed)
    hooks = Hooks("contacts", 5.0)

    hooks.load()

    assert hooks.names == ["other", "similar"]
    answers = hooks.ask("contacts_score_match", new=SOMEBODY, existing=SOMEBODY)
    assert sorted(match.score for match in answers) == [0.5, 0.7]
    said = capsys.readouterr().out
    assert "same name" in said
    assert "ImportError" in said


def test_a_misspelt_hook_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from liaison_kit.plugins import Hooks

    def contacts_score_mach(new: PersonFacts, existing: PersonFacts) -> None:
        return None

    plugin = module(contacts_score_mach=hook(contacts_score_mach))
    monkeypatch.setattr(metadata, "entry_points", lambda group: [entry("typo", lambda: plugin)])

    Hooks("contacts", 5.0).load()

    assert "contacts_score_mach" in capsys.readouterr().out


class Lying(str):
    """Text that raises as soon as somebody looks at it."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("looked at")

    __hash__ = str.__hash__


@dataclasses.dataclass(frozen=True)
class Never:
    """What only looks like a match."""

    score: float = 0.9
    reason: str = "like"


def _later() -> Iterator[Match]:
    yield Match(0.9, "later")
    raise RuntimeError("later")


WRONG: dict[str, Any] = {
    "a number": 0.9,
    "a text": "0.9",
    "a list": [Match(0.9, "in a list")],
    "a generator": _later(),
    "what looks like a match": Never(),
    "a score that is no number": Match("0.9", "text"),  # type: ignore[arg-type]
    "no score": Match(None, "none"),  # type: ignore[arg-type]
    "a score that is a truth": Match(True, "true"),
    "no number at all": Match(float("nan"), "nan"),
    "an endless score": Match(float("inf"), "inf"),
    "a score over one": Match(1.5, "sure"),
    "a score below none": Match(-0.1, "unsure"),
    "a reason that is none": Match(0.9, None),  # type: ignore[arg-type]
    "a reason with a NUL": Match(0.9, "a\x00b"),
    "a reason with half a character": Match(0.9, "\ud800"),
    "an endless reason": Match(0.9, "because " * 1000),
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_dropped_named_and_counted_and_the_others_stay(
    answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from liaison_kit.plugins import Hooks
    from liaison_kit.process.metrics import HOOK_FAILURES

    hooks = Hooks("contacts", 5.0)
    hooks.register(module(contacts_score_match=hook(_answering(answer))), "wrong")
    hooks.register(module(contacts_score_match=hook(_answering(Match(0.7, "well")))), "well")
    labels = ("contacts", "contacts_score_match", "wrong", "bad answer")
    before = HOOK_FAILURES.labels(*labels)._value.get()

    answers = hooks.ask("contacts_score_match", new=SOMEBODY, existing=SOMEBODY)

    assert answers == [Match(0.7, "well")]
    assert HOOK_FAILURES.labels(*labels)._value.get() == before + 1
    assert "bad answer" in capsys.readouterr().out


def _answering(answer: Any) -> Callable[..., Any]:
    def contacts_score_match(new: PersonFacts, existing: PersonFacts) -> Any:
        return answer

    return contacts_score_match


def test_a_good_answer_comes_without_anything_of_the_plugins_own() -> None:
    from liaison_kit.plugins import Hooks

    hooks = Hooks("contacts", 5.0)
    lying = Match(1, Lying("same"))
    hooks.register(module(contacts_score_match=hook(_answering(lying))), "lying")

    (answer,) = hooks.ask("contacts_score_match", new=SOMEBODY, existing=SOMEBODY)

    assert (type(answer.score), type(answer.reason)) == (float, str)
    assert answer == Match(1.0, "same")


def test_a_plugin_that_ends_the_program_costs_its_own_answer_only() -> None:
    from liaison_kit.plugins import Hooks

    def contacts_score_match(new: PersonFacts, existing: PersonFacts) -> Match:
        sys.exit("enough")

    hooks = Hooks("contacts", 5.0)
    hooks.register(module(contacts_score_match=hook(contacts_score_match)), "leaving")

    assert hooks.ask("contacts_score_match", new=SOMEBODY, existing=SOMEBODY) == []


def test_every_hook_declares_what_it_is_answered() -> None:
    from liaison_kit.plugins import checked
    from liaison_sdk import hooks as specs

    declared = [name for name in vars(specs) if hasattr(getattr(specs, name), "liaison_spec")]

    assert declared
    for name in declared:
        with pytest.raises(Exception, match=r"."):
            checked(name, object())


@pytest.mark.parametrize("answer", [[1] * 2000, iter([1]), 7, ["x"], {"a": object()}])
def test_a_hook_that_lists_is_answered_by_a_bounded_list_of_what_it_lists(
    answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from liaison_kit import plugins

    def lists_things() -> Sequence[int] | None: ...

    monkeypatch.setattr(plugins.specs, "lists_things", lists_things, raising=False)

    with pytest.raises(plugins.BadAnswer):
        plugins.checked("lists_things", answer)
    assert plugins.checked("lists_things", [1, 2]) == [1, 2]
