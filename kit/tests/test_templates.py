"""Templates: filled in with what is given, within limits, and nothing else is reached."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison_kit.templates import BadTemplate, check, render


class Guarded:
    """Something with attributes that no template may read."""

    secret = "hidden"

    def act(self) -> str:
        raise AssertionError("a template called it")


@given(name=st.text(max_size=50))
def test_what_a_person_wrote_is_text_in_html(name: str) -> None:
    made = render("<p>{{ name }}</p>", "html", {"name": name}, html=True)

    inner = made.removeprefix("<p>").removesuffix("</p>")
    assert not set(inner) & set("<>\"'")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("{{ name", 1),
        ("a\n{% if name %}\nb", None),
        ("a\n\n{% nowhere %}", 3),
        ("{% include 'other' %}", 1),
        ("{% render 'other' %}", 1),
        ("a\n{{ name | nothing }}", 2),
        ("a\n{{ name | safe }}", 2),
        ("a\n{{ unknown }}", 2),
        ("{{ name.unknown }}", 1),
        ("{% for x in unknown %}{% endfor %}", 1),
        ("{% if unknown %}{% endif %}", 1),
        ("{% if name == 'x' %}{% else %}\n{{ guarded.secret }}{% endif %}", 2),
        ("{{ guarded.act }}", 1),
        ("{{ name.__class__ }}", 1),
    ],
)
def test_an_error_names_its_path_and_line(source: str, line: int | None) -> None:
    with pytest.raises(BadTemplate) as refused:
        render(source, "body", {"name": "Ada", "guarded": Guarded()})

    (error,) = refused.value.errors
    assert error.path == "body"
    if line is not None:
        assert error.message.startswith(f"line {line}:"), error.message


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in (1..100000000) %}x{% endfor %}",
        "{% for a in (1..9000) %}{% for b in (1..9000) %}x{% endfor %}{% endfor %}",
        "{% for a in (1..9999) %}{{ long }}{% endfor %}",
        "{% assign a = 'xxxxxxxxxx' %}" + "{% assign a = a | append: a %}" * 40,
        "{{ long | replace: 'x', long }}",
        "{{ long | split: '' | join: long }}",
        "{% assign a = long | split: '' %}" + "{% assign a = a | concat: a %}" * 40,
        "{% if true %}" * 5000 + "{% endif %}" * 5000,
    ],
    ids=range(8),
)
def test_a_template_that_would_go_on_for_ever_or_fill_memory_is_stopped(source: str) -> None:
    with pytest.raises(BadTemplate):
        render(source, "body", {"long": "x" * 20_000})


def test_a_template_is_read_when_it_is_saved_and_filled_in_when_it_is_used() -> None:
    check("{{ any }} {% for x in list %}{{ x }}{% endfor %}", "text")

    fields: dict[str, Any] = {"any": None, "list": ["a", 1]}
    assert render("{{ any }} {% for x in list %}{{ x }}{% endfor %}", "text", fields) == " a1"
